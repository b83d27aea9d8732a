/* SPDX-License-Identifier: MIT */
/*
 * Families of Hugging Face with the shape of Llama, and Falcon with ALiBi: logits and greedy text of the models in
 * golden/families, which transformers wrote and ran (scripts/fixtures/families.py); the way back through
 * mep_model_export; the two forms of their config.json; windows and layers without rotary; and what is refused by name.
 */
#define _POSIX_C_SOURCE 200809L
#include "families.h"

#include "io/family.h"

static const char *const LLAMAS[] = {"llama",   "llama_tied", "mistral", "qwen2",   "qwen3",
                                     "smollm3", "olmo2",      "falcon",  "baichuan"};
enum { LLAMA_COUNT = sizeof LLAMAS / sizeof *LLAMAS };
static const double CLOSE = 1e-4; /* absolute; the logits are of size 10 */

/* ---- What transformers gave ---- */

static void test_logits(void **state)
{
    (void)state;
    for (int f = 0; f < LLAMA_COUNT; f++) {
        mep_model *model = load(family_folder(LLAMAS[f]), NULL);
        double off = logit_error(model, LLAMAS[f]);
        print_message("%s (%s): logits within %.2g\n", LLAMAS[f], model->config.position_encoding, off);
        if (!(off <= CLOSE)) fail_msg("%s: logits are off by %g", LLAMAS[f], off);
        mep_model_destroy(&model);
    }
}

/* 200 greedy tokens with the cache, each that of transformers. */
static void test_greedy(void **state)
{
    (void)state;
    for (int f = 0; f < LLAMA_COUNT; f++) {
        mep_model *model = load(family_folder(LLAMAS[f]), NULL);
        check_greedy(model, LLAMAS[f]);
        mep_model_destroy(&model);
    }
}

/* In this library's own form it is the same model; with another encoding its other tensors are the same. */
static void test_own_form(void **state)
{
    (void)state;
    for (int f = 0; f < LLAMA_COUNT; f++) {
        mep_model *model = load(family_folder(LLAMAS[f]), NULL), *own, *swapped;
        const char *folder_of = folder("own"), *family = NULL;
        assert_int_equal(mep_model_save(model, folder_of, NULL), MEP_OK);
        own = load(folder_of, NULL);
        assert_int_equal(own->size, model->size);
        assert_memory_equal(own->values, model->values, (size_t)model->size * sizeof(float));
        assert_true(logit_error(own, LLAMAS[f]) <= CLOSE);
        assert_int_equal(mep_model_family(family_folder(LLAMAS[f]), &family), MEP_OK);
        assert_true(strncmp(LLAMAS[f], family, strlen(family)) == 0);
        swapped = load(family_folder(LLAMAS[f]), "mep");
        assert_int_equal(swapped->count, model->count);
        assert_memory_equal(swapped->values, model->values, (size_t)model->size * sizeof(float));
        assert_true(logit_error(swapped, LLAMAS[f]) > 1e-2);
        mep_model_destroy(&model), mep_model_destroy(&own), mep_model_destroy(&swapped);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- Out ---- */

/* A model of a family that is written comes back as that family, bit-identical. */
static void test_export(void **state)
{
    (void)state;
    int written = 0;
    for (int f = 0; f < LLAMA_COUNT; f++) {
        mep_model *model = load(family_folder(LLAMAS[f]), NULL), *again;
        const char *out = folder("export"), *family = NULL;
        int is_read_only = strcmp(LLAMAS[f], "falcon") == 0 || strcmp(LLAMAS[f], "baichuan") == 0;
        assert_int_equal(mep_model_export(model, out, NULL, &family), MEP_OK);
        if (strncmp(is_read_only ? "mep" : LLAMAS[f], family, strlen(family)) != 0)
            fail_msg("%s is written as %s", LLAMAS[f], family);
        again = load(out, NULL);
        assert_memory_equal(again->values, model->values, (size_t)model->size * sizeof(float));
        assert_string_equal(mep_position_spec(again->position), mep_position_spec(model->position));
        assert_true(logit_error(again, LLAMAS[f]) <= CLOSE);
        written += !is_read_only;
        mep_model_destroy(&model), mep_model_destroy(&again);
    }
    assert_int_equal(written, LLAMA_COUNT - 2);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* The family that a Llama block is written as; it is read back with the same configuration. */
static void test_written_as(void **state)
{
    (void)state;
    static const struct {
        const char *position, *family;
        int qkv_bias, qk_norm, post_norm;
    } cases[] = {
        {"rotary", "llama", 0, 0, 0},
        {"rotary:scaling=yarn,factor=4,original=16", "llama", 0, 0, 0},
        {"rotary:scaling=llama3,factor=4,original=16", "llama", 0, 0, 0},
        {"rotary/window=8", "mistral", 0, 0, 0},
        {"rotary:scaling=linear,factor=4/window=8", "mistral", 0, 0, 0},
        {"rotary", "qwen2", 1, 0, 0},
        {"rotary|rotary/window=8", "qwen2", 1, 0, 0},
        {"rotary", "qwen3", 0, MEP_QK_NORM_HEAD, 0},
        {"rotary/window=8|rotary|rotary", "qwen3", 0, MEP_QK_NORM_HEAD, 0},
        {"rotary|rotary|nope", "smollm3", 0, 0, 0},
        {"nope/window=8|rotary:scaling=linear,factor=4", "smollm3", 0, 0, 0},
        {"rotary/window=8|rotary", "smollm3", 0, 0, 0},
        {"rotary", "olmo2", 0, MEP_QK_NORM_ALL, 1},
        {"rotary", "mep", 0, MEP_QK_NORM_ALL, 0},
        {"rotary", "mep", 0, 0, 1},
        {"rotary", "mep", 1, MEP_QK_NORM_HEAD, 0},
        {"rotary/window=8", "mep", 0, MEP_QK_NORM_ALL, 1},
        {"rotary/window=8|nope/window=9", "mep", 0, 0, 0},
        {"rotary|rotary:scaling=linear,factor=4", "mep", 0, 0, 0},
        {"rotary/sink", "mep", 0, 0, 0},
        {"rotary/forget|nope", "mep", 0, 0, 0},
        {"rotary:partial=0.5", "mep", 0, 0, 0},
        {"rotary:fraction=0.5", "mep", 0, 0, 0},
        {"nope", "mep", 0, 0, 0},
        {"mep", "mep", 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *out = folder("written"), *family = NULL;
        mep_model_config c;
        mep_model *model = NULL;
        assert_int_equal(mep_model_preset("nano-llama", &c), MEP_OK);
        c.vocab_size = 61, c.hidden_size = 32, c.num_attention_heads = 4, c.num_key_value_heads = 2, c.head_dim = 12;
        c.num_hidden_layers = 3, c.intermediate_size = 40, c.max_position_embeddings = 64, c.layer_norm_eps = 1e-4;
        c.rotary_emb_base = 500, c.tie_word_embeddings = (int)(i % 2);
        c.qkv_bias = cases[i].qkv_bias, c.qk_norm = (mep_qk_norm)cases[i].qk_norm, c.post_norm = cases[i].post_norm;
        snprintf(c.position_encoding, sizeof c.position_encoding, "%s", cases[i].position);
        if (mep_model_create(&model, &c, 1) != MEP_OK) fail_msg("%s: %s", cases[i].position, mep_error_message());
        if (mep_model_export(model, out, NULL, &family) != MEP_OK)
            fail_msg("%s: %s", cases[i].position, mep_error_message());
        if (strcmp(family, cases[i].family) != 0) fail_msg("%s is written as %s", cases[i].position, family);
        mep_model *again = load(out, NULL);
        assert_memory_equal(&again->config, &c, offsetof(mep_model_config, position_encoding));
        assert_memory_equal(&again->config.block, &c.block, sizeof c - offsetof(mep_model_config, block));
        assert_string_equal(mep_position_spec(again->position), mep_position_spec(model->position));
        assert_memory_equal(again->values, model->values, (size_t)model->size * sizeof(float));
        mep_model_destroy(&model), mep_model_destroy(&again);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- config.json ---- */

/* A config.json of `family` with no keys but the sizes and these, for 4 layers. */
static mep_status read_sizes(const char *family, const char *keys, mep_model_config *c)
{
    json_t *root = json_loads("{\"vocab_size\": 61, \"hidden_size\": 32, \"intermediate_size\": 40, "
                              "\"num_hidden_layers\": 4, \"num_attention_heads\": 4}",
                              0, NULL),
           *more = json_loads(keys, 0, NULL);
    assert_non_null(root);
    assert_non_null(more);
    json_object_set_new(root, "model_type", json_string(family));
    json_object_update(root, more);
    mep_status status = mep_model_config_from_json(root, "config.json", c);
    json_decref(root);
    json_decref(more);
    return status;
}

/* The encodings that keys give; a missing key has the default of transformers 5.24, null another in places. */
static void test_positions(void **state)
{
    (void)state;
    static const struct {
        const char *family, *keys, *want;
    } cases[] = {
        {"llama", "{}", "rotary"},
        {"llama", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}, \"rope_theta\": 500.0}",
         "rotary:scaling=linear,factor=2"},
        {"llama", "{\"rope_parameters\": {\"rope_type\": \"dynamic\", \"factor\": 4.0, \"rope_theta\": 500.0}}",
         "rotary:scaling=dynamic,factor=4,original=2048"},
        {"mistral", "{\"num_key_value_heads\": 2}", "rotary/window=4096"},
        {"mistral", "{\"num_key_value_heads\": 2, \"sliding_window\": null}", "rotary"},
        {"mistral", "{\"num_key_value_heads\": 2, \"sliding_window\": 128}", "rotary/window=128"},
        {"qwen2", "{\"num_key_value_heads\": 2, \"sliding_window\": 128}", "rotary"},
        {"qwen2", "{\"num_key_value_heads\": 2, \"sliding_window\": 128, \"use_sliding_window\": true}", "rotary"},
        {"qwen2",
         "{\"num_key_value_heads\": 2, \"sliding_window\": 128, \"use_sliding_window\": true, "
         "\"max_window_layers\": 3}",
         "rotary|rotary|rotary|rotary/window=128"},
        {"qwen2", "{\"num_key_value_heads\": 2, \"use_sliding_window\": true, \"max_window_layers\": 0}",
         "rotary/window=4096"},
        {"qwen3",
         "{\"num_key_value_heads\": 2, \"sliding_window\": 128, \"use_sliding_window\": true, \"layer_types\": "
         "[\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\"]}",
         "rotary/window=128|rotary"},
        {"qwen3",
         "{\"num_key_value_heads\": 2, \"use_sliding_window\": true, \"sliding_window\": null, "
         "\"max_window_layers\": 0}",
         "rotary"},
        {"smollm3", "{}", "rotary|rotary|rotary|nope"},
        {"smollm3", "{\"no_rope_layer_interval\": 2}", "rotary|nope"},
        {"smollm3", "{\"no_rope_layers\": [1, 1, 1, 1, 0]}", "rotary"}, /* more than there are layers */
        {"smollm3", "{\"no_rope_layers\": [false, true, true, true]}", "nope|rotary|rotary|rotary"},
        {"smollm3", "{\"no_rope_layer_interval\": 2, \"use_sliding_window\": true, \"sliding_window\": 64}",
         "rotary|nope/window=64"},
        {"smollm3",
         "{\"no_rope_layers\": [0, 0, 0, 0], \"use_sliding_window\": true, \"sliding_window\": 64, \"layer_types\": "
         "[\"full_attention\", \"full_attention\", \"full_attention\", \"sliding_attention\"]}",
         "nope|nope|nope|nope/window=64"},
        {"olmo2", "{}", "rotary"},
        {"falcon", "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": true}",
         "exp:c=0.35355339059327373"},
        {"baichuan", "{}", "alibi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_sizes(cases[i].family, cases[i].keys, &c) != MEP_OK) fail_msg("%s", mep_error_message());
        if (strcmp(c.position_encoding, cases[i].want) != 0)
            fail_msg("%s %s: %s", cases[i].family, cases[i].keys, c.position_encoding);
        assert_int_equal(mep_model_config_check(&c), MEP_OK);
    }
}

#define SIZE_FIELD(NAME) offsetof(mep_model_config, NAME), 0
#define REAL_FIELD(NAME) offsetof(mep_model_config, NAME), 1
#define FLAG_FIELD(NAME) offsetof(mep_model_config, NAME), 2

/* Defaults of missing keys, and of null. */
static void test_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *family, *keys;
        size_t field;
        int type;
        double value;
    } cases[] = {
        {"llama", "{}", SIZE_FIELD(num_key_value_heads), 0},
        {"llama", "{\"num_key_value_heads\": 1}", SIZE_FIELD(num_key_value_heads), 1},
        {"llama", "{\"head_dim\": null}", SIZE_FIELD(head_dim), 0},
        {"llama", "{\"head_dim\": 6}", SIZE_FIELD(head_dim), 6},
        {"llama", "{}", SIZE_FIELD(max_position_embeddings), 2048},
        {"llama", "{}", REAL_FIELD(layer_norm_eps), 1e-6},
        {"llama", "{}", REAL_FIELD(rotary_emb_base), 10000},
        {"llama", "{\"rope_theta\": 500}", REAL_FIELD(rotary_emb_base), 500},
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 700}, \"rope_theta\": 500}", REAL_FIELD(rotary_emb_base),
         700},
        {"llama", "{}", FLAG_FIELD(tie_word_embeddings), 0},
        {"llama", "{}", FLAG_FIELD(qkv_bias), 0},
        {"llama", "{}", FLAG_FIELD(qk_norm), MEP_QK_NORM_NONE},
        {"llama", "{}", FLAG_FIELD(post_norm), 0},
        {"llama", "{}", FLAG_FIELD(mlp), MEP_MLP_SWIGLU},
        {"llama", "{\"torch_dtype\": \"bfloat16\", \"dtype\": \"bfloat16\"}", FLAG_FIELD(norm), MEP_NORM_RMS},
        {"mistral", "{\"num_key_value_heads\": null}", SIZE_FIELD(num_key_value_heads), 0},
        {"mistral", "{\"num_attention_heads\": 16}", SIZE_FIELD(num_key_value_heads), 8},
        {"mistral", "{\"num_key_value_heads\": 2}", SIZE_FIELD(max_position_embeddings), 131072},
        {"qwen2", "{\"num_attention_heads\": 32, \"head_dim\": 2}", SIZE_FIELD(num_key_value_heads), 32},
        {"qwen2", "{\"num_key_value_heads\": null}", FLAG_FIELD(qkv_bias), 1},
        {"qwen3", "{\"num_key_value_heads\": null}", SIZE_FIELD(head_dim), 128},
        {"qwen3", "{\"num_key_value_heads\": null}", FLAG_FIELD(qk_norm), MEP_QK_NORM_HEAD},
        {"smollm3", "{}", SIZE_FIELD(num_key_value_heads), 4},
        {"smollm3", "{}", FLAG_FIELD(tie_word_embeddings), 1},
        {"smollm3", "{}", REAL_FIELD(rotary_emb_base), 2000000},
        {"olmo2", "{}", FLAG_FIELD(qk_norm), MEP_QK_NORM_ALL},
        {"olmo2", "{}", FLAG_FIELD(post_norm), 1},
        {"olmo2", "{}", REAL_FIELD(layer_norm_eps), 1e-5},
        {"baichuan", "{}", SIZE_FIELD(max_position_embeddings), 4096},
        {"falcon",
         "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": true, \"n_embed\": 64}",
         SIZE_FIELD(hidden_size), 64},
        {"falcon", "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": true}",
         SIZE_FIELD(intermediate_size), 128},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_sizes(cases[i].family, cases[i].keys, &c) != MEP_OK) fail_msg("%s", mep_error_message());
        const void *at = (const char *)&c + cases[i].field;
        double value = cases[i].type == 1   ? *(const double *)at
                       : cases[i].type == 2 ? (double)*(const int *)at
                                            : (double)*(const int64_t *)at;
        if (value != cases[i].value) fail_msg("%s %s: %g", cases[i].family, cases[i].keys, value);
    }
}

/* A config.json as transformers 4 writes it gives the model that the one of transformers 5 gives. */
static void test_older_config(void **state)
{
    (void)state;
    static const struct {
        const char *family, *older;
    } cases[] = {
        {"llama",
         "{\"rope_parameters\": null, \"rope_theta\": 10000.0, \"torch_dtype\": \"bfloat16\", \"dtype\": null, "
         "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 4.0, \"low_freq_factor\": 1.0, "
         "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}}"},
        {"mistral", "{\"rope_parameters\": null, \"rope_theta\": 10000.0}"},
        {"qwen2",
         "{\"rope_parameters\": null, \"rope_theta\": 10000.0, \"rope_scaling\": null, \"layer_types\": null}"},
        {"qwen3", "{\"rope_parameters\": null, \"rope_theta\": 1000.0, \"layer_types\": null, \"rope_scaling\": "
                  "{\"type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 64}}"},
        {"smollm3", "{\"rope_parameters\": null, \"rope_theta\": 2000000.0, \"layer_types\": null}"},
        {"olmo2", "{\"rope_parameters\": null, \"rope_theta\": 10000.0, \"rope_scaling\": null}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config newer, older;
        if (read_changed(cases[i].family, "{}", &newer) != MEP_OK) fail_msg("%s", mep_error_message());
        if (read_changed(cases[i].family, cases[i].older, &older) != MEP_OK) fail_msg("%s", mep_error_message());
        if (strcmp(newer.position_encoding, older.position_encoding) != 0)
            fail_msg("%s: %s and %s", cases[i].family, newer.position_encoding, older.position_encoding);
        assert_memory_equal(&newer, &older, offsetof(mep_model_config, position_encoding));
        assert_memory_equal(&newer.block, &older.block, sizeof newer - offsetof(mep_model_config, block));
    }
}

/* What is not computed is refused by the name of its key. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *family, *keys, *first, *second;
    } cases[] = {
        {"mixtral", "{}", "model_type \"mixtral\"", "llama, mistral, qwen2, qwen3, smollm3, olmo2 and baichuan are"},
        {"llama", "{\"attention_bias\": true}", "llama \"attention_bias\" is true", "false is"},
        {"llama", "{\"mlp_bias\": true}", "mlp_bias", "false is"},
        {"llama", "{\"hidden_act\": \"gelu\"}", "hidden_act", "\"silu\" is"},
        {"llama", "{\"sliding_window\": 16}", "sliding_window", "null is"},
        {"llama", "{\"layer_types\": [\"full_attention\"]}", "layer_types", "null is"},
        {"llama", "{\"quantization_config\": {\"bits\": 4}}", "quantization_config", "4"},
        {"llama", "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor", "0.5"},
        {"llama", "{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}}", "rope_parameters.partial_rotary_factor",
         "0.5"},
        {"llama", "{\"rope_scaling\": {\"partial_rotary_factor\": 0.5}}", "rope_scaling.partial_rotary_factor", "0.5"},
        {"llama", "{\"rope_scaling\": {\"type\": \"mrope\"}}", "\"type mrope\"", "rope_scaling"},
        {"llama", "{\"final_logit_softcapping\": 30.0}", "final_logit_softcapping", "30"},
        {"llama", "{\"attn_logit_softcapping\": 50.0}", "attn_logit_softcapping", "50"},
        {"llama", "{\"num_local_experts\": 8}", "num_local_experts", "8"},
        {"mistral", "{\"layer_types\": [\"full_attention\"]}", "layer_types", "null is"},
        {"qwen2", "{\"num_key_value_heads\": 4, \"use_mrope\": true}", "use_mrope", "true"},
        {"qwen2", "{\"num_key_value_heads\": 4, \"num_experts\": 8}", "num_experts", "8"},
        {"qwen3", "{\"num_key_value_heads\": 4, \"attention_bias\": true}", "attention_bias", "true"},
        {"qwen3",
         "{\"num_key_value_heads\": 4, \"layer_types\": [\"full_attention\", \"full_attention\", "
         "\"linear_attention\", \"full_attention\"]}",
         "layer_types", "\"sliding_attention\" are"},
        {"qwen3",
         "{\"num_key_value_heads\": 4, \"layer_types\": [\"full_attention\", \"full_attention\", "
         "\"sliding_attention\", \"full_attention\"]}",
         "layer_types", "\"sliding_window\" is not used"},
        {"smollm3", "{\"mlp_bias\": true}", "mlp_bias", "true"},
        {"olmo2", "{\"attention_bias\": true}", "attention_bias", "true"},
        {"olmo2", "{\"clip_qkv\": 8.0}", "clip_qkv", "8"},
        {"falcon", "{}", "falcon \"alibi\" is missing", "true is"},
        {"falcon", "{\"alibi\": false}", "\"alibi\" is false", "true is"},
        {"falcon", "{\"alibi\": true}", "\"multi_query\" is missing", "false is"},
        {"falcon", "{\"alibi\": true, \"multi_query\": true}", "\"multi_query\" is true", "false is"},
        {"falcon", "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": true}", "parallel_attn", "false is"},
        {"falcon", "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": false}", "\"bias\"",
         "true is"},
        {"falcon",
         "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": true, "
         "\"new_decoder_architecture\": true}",
         "new_decoder_architecture", "false is"},
        {"falcon",
         "{\"alibi\": true, \"multi_query\": false, \"parallel_attn\": false, \"bias\": true, \"num_kv_heads\": 2}",
         "num_kv_heads", "4, as"},
        {"baichuan", "{\"max_position_embeddings\": 4096}", "max_position_embeddings", "4096"}, /* of 7B: rotary */
        {"baichuan", "{\"z_loss_weight\": 0}", "z_loss_weight", "0"}, /* of Baichuan 2: a normalized output matrix */
        {"baichuan", "{\"num_key_value_heads\": 2}", "num_key_value_heads", "4, as"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_sizes(cases[i].family, cases[i].keys, &c) != MEP_ERROR_UNSUPPORTED)
            fail_msg("%s %s: not refused", cases[i].family, cases[i].keys);
        if (strstr(mep_error_message(), cases[i].first) == NULL || strstr(mep_error_message(), cases[i].second) == NULL)
            fail_msg("%s", mep_error_message());
    }
}

/* Lists that do not fit the layers, and values of another type. */
static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *family, *keys, *message;
    } cases[] = {
        {"smollm3", "{\"no_rope_layers\": [1, 1, 1]}", "\"no_rope_layers\" must be a list of 0 and 1"},
        {"smollm3", "{\"no_rope_layers\": [1, 1, 1, 2]}", "\"no_rope_layers\" must be"},
        {"smollm3", "{\"no_rope_layers\": [1, 1, 1, \"1\"]}", "\"no_rope_layers\" must be"},
        {"smollm3", "{\"no_rope_layers\": 1}", "\"no_rope_layers\" must be"},
        {"smollm3", "{\"no_rope_layer_interval\": 0}", "\"no_rope_layer_interval\" must be"},
        {"smollm3", "{\"layer_types\": [\"full_attention\"]}",
         "\"layer_types\" must be a list of names, one per layer"},
        {"smollm3", "{\"layer_types\": {}}", "\"layer_types\" must be"},
        {"mistral", "{\"num_key_value_heads\": 2, \"sliding_window\": 0}", "\"sliding_window\" must be"},
        {"mistral", "{}", "num_key_value_heads 8 does not divide"},
        {"qwen2", "{\"num_key_value_heads\": 2, \"use_sliding_window\": 1}", "\"use_sliding_window\" must be"},
        {"qwen2", "{\"num_key_value_heads\": 2, \"max_window_layers\": -1}", "\"max_window_layers\" must be"},
        {"llama", "{\"num_hidden_layers\": 2000000000}", "num_hidden_layers must be"},
        {"smollm3", "{\"num_hidden_layers\": 2000000000}", "num_hidden_layers must be"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_sizes(cases[i].family, cases[i].keys, &c) != MEP_ERROR_FORMAT)
            fail_msg("%s %s: not refused", cases[i].family, cases[i].keys);
        if (strstr(mep_error_message(), cases[i].message) == NULL) fail_msg("%s", mep_error_message());
    }
}

/* The keys of published checkpoints, with the numbers of parameters that their pages give. */
static void test_published(void **state)
{
    (void)state;
    static const struct {
        const char *family, *keys, *position;
        int64_t values;
    } cases[] = {
        {"llama", /* SmolLM-135M */
         "{\"vocab_size\": 49152, \"hidden_size\": 576, \"intermediate_size\": 1536, \"num_hidden_layers\": 30, "
         "\"num_attention_heads\": 9, \"num_key_value_heads\": 3, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
         "\"rope_scaling\": null, \"rope_interleaved\": false, \"pretraining_tp\": 1, \"attention_bias\": false, "
         "\"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\"}",
         "rotary", 134515008},
        {"llama", /* Llama-3.2-1B */
         "{\"vocab_size\": 128256, \"hidden_size\": 2048, \"intermediate_size\": 8192, \"num_hidden_layers\": 16, "
         "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"head_dim\": 64, \"rms_norm_eps\": 1e-05, "
         "\"max_position_embeddings\": 131072, \"rope_theta\": 500000.0, \"tie_word_embeddings\": true, "
         "\"mlp_bias\": false, \"rope_scaling\": {\"factor\": 32.0, \"high_freq_factor\": 4.0, "
         "\"low_freq_factor\": 1.0, \"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}}",
         "rotary:scaling=llama3,factor=32,original=8192", 1235814400},
        {"mistral", /* Mistral-7B-v0.1 */
         "{\"vocab_size\": 32000, \"hidden_size\": 4096, \"intermediate_size\": 14336, \"num_hidden_layers\": 32, "
         "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, "
         "\"max_position_embeddings\": 32768, \"sliding_window\": 4096, \"tie_word_embeddings\": false}",
         "rotary/window=4096", 7241732096},
        {"qwen2", /* Qwen2.5-0.5B */
         "{\"vocab_size\": 151936, \"hidden_size\": 896, \"intermediate_size\": 4864, \"num_hidden_layers\": 24, "
         "\"num_attention_heads\": 14, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-06, "
         "\"rope_theta\": 1000000.0, \"max_position_embeddings\": 32768, \"max_window_layers\": 24, "
         "\"sliding_window\": 32768, \"use_sliding_window\": false, \"use_mrope\": false, "
         "\"tie_word_embeddings\": true}",
         "rotary", 494032768},
        {"qwen3", /* Qwen3-0.6B */
         "{\"vocab_size\": 151936, \"hidden_size\": 1024, \"intermediate_size\": 3072, \"num_hidden_layers\": 28, "
         "\"num_attention_heads\": 16, \"num_key_value_heads\": 8, \"head_dim\": 128, \"rms_norm_eps\": 1e-06, "
         "\"rope_theta\": 1000000, \"rope_scaling\": null, \"max_window_layers\": 28, \"sliding_window\": null, "
         "\"use_sliding_window\": false, \"tie_word_embeddings\": true}",
         "rotary", 596049920},
        {"smollm3", /* SmolLM3-3B, without its list no_rope_layers, which is the default */
         "{\"vocab_size\": 128256, \"hidden_size\": 2048, \"intermediate_size\": 11008, \"num_hidden_layers\": 36, "
         "\"num_attention_heads\": 16, \"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-06, \"rope_theta\": 5000000.0, "
         "\"no_rope_layer_interval\": 4, \"max_window_layers\": 28, \"sliding_window\": null, "
         "\"use_sliding_window\": false, \"pretraining_tp\": 2}",
         "rotary|rotary|rotary|nope", 3075098624},
        {"olmo2", /* OLMo-2-0425-1B */
         "{\"vocab_size\": 100352, \"hidden_size\": 2048, \"intermediate_size\": 8192, \"num_hidden_layers\": 16, "
         "\"num_attention_heads\": 16, \"num_key_value_heads\": 16, \"rms_norm_eps\": 1e-06, \"rope_theta\": 500000, "
         "\"rope_scaling\": null, \"max_position_embeddings\": 4096, \"tie_word_embeddings\": false}",
         "rotary", 1484916736},
        {"falcon", /* falcon-rw-1b */
         "{\"vocab_size\": 50304, \"hidden_size\": 2048, \"num_hidden_layers\": 24, \"num_attention_heads\": 32, "
         "\"alibi\": true, \"apply_residual_connection_post_layernorm\": false, \"bias\": true, "
         "\"layer_norm_epsilon\": 1e-05, \"multi_query\": false, \"new_decoder_architecture\": false, "
         "\"parallel_attn\": false}",
         "exp:c=0.125", 1311625216},
        {"baichuan", /* Baichuan-13B-Base */
         "{\"vocab_size\": 64000, \"hidden_size\": 5120, \"intermediate_size\": 13696, \"num_hidden_layers\": 40, "
         "\"num_attention_heads\": 40, \"model_max_length\": 4096, \"rms_norm_eps\": 1e-06, "
         "\"tie_word_embeddings\": false}",
         "alibi", 13264901120},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        int64_t values = 0;
        if (read_sizes(cases[i].family, cases[i].keys, &c) != MEP_OK) fail_msg("%s", mep_error_message());
        if (strcmp(c.position_encoding, cases[i].position) != 0)
            fail_msg("%s: %s", cases[i].family, c.position_encoding);
        if (mep_model_config_values(&c, &values) != MEP_OK) fail_msg("%s", mep_error_message());
        if (values != cases[i].values) fail_msg("%s: %lld parameters", cases[i].family, (long long)values);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),    cmocka_unit_test(test_greedy),       cmocka_unit_test(test_own_form),
        cmocka_unit_test(test_export),    cmocka_unit_test(test_written_as),   cmocka_unit_test(test_positions),
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_older_config), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
