/* SPDX-License-Identifier: MIT */
/*
 * Folders of Hugging Face that say something twice: two names for one setting, and embedding and output layer of a tied
 * model. Each is read as transformers 5.24 reads it (golden/families_odd has its logits), or refused by name.
 */
#define _POSIX_C_SOURCE 200809L
#include "families.h"

#include "io/json.h"
#include "io/model_files.h"

/* ---- What transformers gave ---- */

/* Logits of a folder of golden/families_odd against its expected.json. */
static void check_odd(const char *name)
{
    char path[1100];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/%s/expected.json", GOLDEN_OWN("families_odd"), name);
    assert_int_equal(mep_json_load(path, &root), MEP_OK);
    const json_t *ids = json_object_get(root, "ids"), *rows = json_object_get(root, "logits");
    int64_t length = (int64_t)json_array_size(ids);
    assert_true(length > 0 && (int64_t)json_array_size(rows) == length);
    snprintf(path, sizeof path, "%s/%s", GOLDEN_OWN("families_odd"), name);
    mep_model *model = load(path, NULL);
    int64_t vocab = model->config.vocab_size;
    int32_t *tokens = allocate(length, sizeof *tokens);
    float *logits = allocate(length * vocab, sizeof *logits);
    for (int64_t i = 0; i < length; i++) tokens[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    mep_session *session = small_session(model, 1, length, MEP_FLOAT32, 0);
    assert_int_equal(mep_session_logits(session, 1, length, tokens, logits), MEP_OK);
    for (int64_t i = 0; i < length; i++)
        for (int64_t v = 0; v < vocab; v++) {
            double want = json_number_value(json_array_get(json_array_get(rows, (size_t)i), (size_t)v));
            if (!(fabs((double)logits[i * vocab + v] - want) <= LOGITS))
                fail_msg("%s: logit %d of token %d is %g, not %g", name, (int)v, (int)i, (double)logits[i * vocab + v],
                         want);
        }
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    json_decref(root);
    free(tokens), free(logits);
}

static void test_odd(void **state)
{
    (void)state;
    check_odd("bloom-two-head-counts");
    check_odd("gpt2-head-not-tied");
    check_odd("gpt2-only-lm-head");
    check_odd("neox-lm-head-name");
    check_odd("neox-rope-two-names");
}

/* ---- Embedding and output layer ---- */

/* In folder/model.safetensors: add `as`, a copy of tensor `of` with `change` added to its first value, and leave out
 * `drop`. NULL for neither. */
static void edit_tensors(const char *in, const char *of, const char *as, float change, const char *drop)
{
    enum { MOST = 64 };
    char path[700];
    mep_safetensors *file = NULL;
    mep_tensor *tensors = allocate(MOST, sizeof *tensors);
    int64_t count = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", in);
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    for (int64_t i = 0; i <= mep_safetensors_count(file); i++) {
        int last = i == mep_safetensors_count(file);
        const mep_safetensors_entry *e =
            last && of != NULL ? mep_safetensors_find(file, of) : mep_safetensors_get(file, i);
        if (e == NULL || (!last && drop != NULL && strcmp(e->name, drop) == 0)) continue;
        mep_tensor *t = &tensors[count++];
        assert_true(count <= MOST);
        snprintf(t->name, sizeof t->name, "%s", last ? as : e->name);
        t->dtype = MEP_FLOAT32, t->ndim = e->ndim, t->size = e->size;
        memcpy(t->shape, e->shape, sizeof t->shape);
        t->data = allocate(e->size, sizeof(float));
        assert_int_equal(mep_safetensors_read(file, e->name, MEP_FLOAT32, e->ndim, e->shape, t->data), MEP_OK);
        if (last) ((float *)t->data)[0] += change;
    }
    mep_safetensors_close(&file);
    if (mep_safetensors_write(path, tensors, count, NULL, 0) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < count; i++) free(tensors[i].data);
    free(tensors);
}

static const float *values_of(const mep_model *model, const char *name)
{
    for (int64_t i = 0; i < model->count; i++)
        if (strcmp(model->tensors[i].name, name) == 0) return model->tensors[i].data;
    return NULL;
}

/* The tied families, their embedding and head; "mep" is one of them in this library's own form. */
static const struct tied {
    const char *family, *embedding, *head;
    int own;
} TIED[] = {
    {"neox_sequential", "gpt_neox.embed_in.weight", "embed_out.weight", 0},
    {"neox_sequential", "gpt_neox.embed_in.weight", "lm_head.weight", 0},
    {"neox_sequential", "gpt_neox.embed_in.weight", "embed_out.weight", 1},
    {"bloom", "transformer.word_embeddings.weight", "lm_head.weight", 0},
    {"mpt", "transformer.wte.weight", "lm_head.weight", 0},
    {"gpt2", "transformer.wte.weight", "lm_head.weight", 0},
};
enum { TIED_COUNT = sizeof TIED / sizeof *TIED };

/* A folder with a tied model of the family, written anew. */
static const char *write_tied(const struct tied *t)
{
    mep_model *model = load(family_folder(t->family), NULL);
    const char *out = folder("tied");
    assert_true(model->config.tie_word_embeddings);
    assert_int_equal(t->own ? mep_model_save(model, out, NULL) : mep_model_export(model, out, NULL, NULL), MEP_OK);
    mep_model_destroy(&model);
    return out;
}

/* An output matrix with the embedding's values, in addition to it or instead of it, makes the tied model. */
static void test_tied(void **state)
{
    (void)state;
    for (int i = 0; i < TIED_COUNT; i++)
        for (int alone = 0; alone < 2; alone++) {
            const char *in = write_tied(&TIED[i]);
            edit_tensors(in, TIED[i].embedding, TIED[i].head, 0, alone ? TIED[i].embedding : NULL);
            mep_model *model = load(in, NULL);
            assert_true(model->config.tie_word_embeddings);
            assert_true(logit_error(model, TIED[i].family) <= LOGITS);
            mep_model_destroy(&model);
        }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* A head that differs in one value is used, and stays in what is written from the model. */
static void test_not_tied(void **state)
{
    (void)state;
    for (int i = 0; i < TIED_COUNT; i++) {
        const char *in = write_tied(&TIED[i]), *out = folder("out"), *own = folder("own");
        mep_model_config c;
        edit_tensors(in, TIED[i].embedding, TIED[i].head, 1, NULL);
        mep_model *model = load(in, NULL);
        assert_false(model->config.tie_word_embeddings);
        assert_int_equal(mep_model_read_config(in, &c), MEP_OK);
        assert_false(c.tie_word_embeddings);
        const float *embedding = values_of(model, "gpt_neox.embed_in.weight"),
                    *head = values_of(model, "embed_out.weight");
        assert_non_null(head);
        assert_true(head[0] == embedding[0] + 1 && head[1] == embedding[1]);
        assert_int_equal(mep_model_export(model, out, NULL, NULL), MEP_OK);
        assert_int_equal(mep_model_save(model, own, NULL), MEP_OK);
        mep_model *exported = load(out, NULL), *saved = load(own, NULL);
        assert_memory_equal(exported->values, model->values, (size_t)model->size * sizeof(float));
        assert_memory_equal(saved->values, model->values, (size_t)model->size * sizeof(float));
        mep_model_destroy(&model), mep_model_destroy(&exported), mep_model_destroy(&saved);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

static void refuse_load(const char *in, const char *message)
{
    mep_model *model = NULL;
    assert_int_equal(mep_model_load(&model, in), MEP_ERROR_FORMAT);
    if (strstr(mep_error_message(), message) == NULL) fail_msg("%s", mep_error_message());
}

/* A head that is missing where it is not tied, two of them, and one under another family's name. */
static void test_head_refused(void **state)
{
    (void)state;
    mep_model *neox = load(family_folder("neox"), NULL);
    const char *in = folder("neox");
    assert_int_equal(mep_model_export(neox, in, NULL, NULL), MEP_OK);
    edit_tensors(in, "embed_out.weight", "lm_head.weight", 1, NULL);
    refuse_load(in, "lm_head.weight");
    edit_tensors(in, NULL, NULL, 0, "embed_out.weight"); /* the other name alone */
    mep_model *model = load(in, NULL);
    assert_true(values_of(model, "embed_out.weight")[0] == values_of(neox, "embed_out.weight")[0] + 1);
    mep_model_destroy(&model), mep_model_destroy(&neox);
    edit_tensors(in, NULL, NULL, 0, "lm_head.weight");
    refuse_load(in, "embed_out.weight");
    in = write_tied(&TIED[TIED_COUNT - 1]);
    edit_tensors(in, "transformer.wte.weight", "embed_out.weight", 0, NULL);
    refuse_load(in, "embed_out.weight");
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- config.json ---- */

#define SIZE_FIELD(NAME) offsetof(mep_model_config, NAME), 0
#define REAL_FIELD(NAME) offsetof(mep_model_config, NAME), 1

/* Of two names the one that transformers 5.24 takes, whichever is written first. */
static void test_two_names(void **state)
{
    (void)state;
    static const struct {
        const char *family, *changes;
        size_t field;
        int real;
        double value;
    } cases[] = {
        {"gpt2", "{\"n_head\": 3, \"num_attention_heads\": 6}", SIZE_FIELD(num_attention_heads), 6},
        {"gpt2", "{\"n_embd\": 24, \"hidden_size\": 48}", SIZE_FIELD(hidden_size), 48},
        {"gpt2", "{\"n_layer\": 3, \"num_hidden_layers\": 5}", SIZE_FIELD(num_hidden_layers), 5},
        {"gpt2", "{\"n_positions\": 8, \"max_position_embeddings\": 9}", SIZE_FIELD(max_position_embeddings), 9},
        {"gpt2", "{\"intermediate_size\": 9}", SIZE_FIELD(intermediate_size), 40}, /* not a name of n_inner */
        {"bloom", "{\"n_head\": 3, \"num_attention_heads\": 6}", SIZE_FIELD(num_attention_heads), 6},
        {"bloom", "{\"n_layer\": 3, \"num_hidden_layers\": 5}", SIZE_FIELD(num_hidden_layers), 5},
        {"bloom", "{\"hidden_size\": 24, \"n_embed\": 48}", SIZE_FIELD(hidden_size), 48},
        {"bloom", "{\"hidden_size\": 24, \"n_embed\": null}", SIZE_FIELD(hidden_size), 24},
        {"mpt", "{\"n_heads\": 3, \"num_attention_heads\": 6}", SIZE_FIELD(num_attention_heads), 6},
        {"mpt", "{\"n_layers\": 3, \"num_hidden_layers\": 5}", SIZE_FIELD(num_hidden_layers), 5},
        {"mpt", "{\"d_model\": 24, \"hidden_size\": 48}", SIZE_FIELD(hidden_size), 48},
        {"mpt", "{\"max_position_embeddings\": 9}", SIZE_FIELD(max_position_embeddings), 256}, /* not a name */
        {"neox", "{\"rotary_pct\": 0.25}", REAL_FIELD(rotary_pct), 0.5},
        {"neox", "{\"rotary_emb_base\": 50}", REAL_FIELD(rotary_emb_base), 10000},
        {"neox", "{\"rope_parameters\": {\"partial_rotary_factor\": null}, \"rotary_pct\": 1.0}",
         REAL_FIELD(rotary_pct), 1},
        {"neox", "{\"rope_parameters\": null, \"rotary_pct\": 1.0}", REAL_FIELD(rotary_pct), 1},
        {"neox", "{\"rope_parameters\": null, \"rotary_emb_base\": 50, \"rope_theta\": 60}",
         REAL_FIELD(rotary_emb_base), 50},
        {"neox", "{\"rope_parameters\": {\"type\": \"linear\"}}", REAL_FIELD(rotary_pct), 0.5}, /* rope_type decides */
        {"neox", "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}", REAL_FIELD(rotary_pct), 0.25},
        {"neox", "{\"head_dim\": 8}", REAL_FIELD(rotary_pct), 0.5},
        {"mpt", "{\"attn_config\": {\"kv_n_heads\": 3, \"sliding_window_size\": -1}, \"norm_eps\": 1e-5}",
         SIZE_FIELD(num_attention_heads), 3},
        {"mpt", "{\"ffn_config\": {\"ffn_type\": \"mptmlp\", \"ffn_act_fn\": {\"name\": \"gelu\"}}}",
         SIZE_FIELD(intermediate_size), 96},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_changed(cases[i].family, cases[i].changes, &c) != MEP_OK) fail_msg("%s", mep_error_message());
        const char *at = (const char *)&c + cases[i].field;
        double value = cases[i].real ? *(const double *)(const void *)at : (double)*(const int64_t *)(const void *)at;
        if (value != cases[i].value) fail_msg("%s %s: %g", cases[i].family, cases[i].changes, value);
    }
}

/* Names that contradict each other where transformers has no rule, and keys of MPT that only llm-foundry obeys. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *family, *changes, *first, *second;
    } cases[] = {
        {"neox", "{\"head_dim\": 4}", "\"head_dim\" is 4", "8, as \"hidden_size / num_attention_heads\""},
        {"neox", "{\"rope_parameters\": {\"rope_type\": null, \"type\": \"su\"}}", "\"type su\"", "rope_parameters"},
        {"neox", "{\"rope_parameters\": {\"rope_type\": \"axial\", \"type\": \"default\"}}", "\"rope_type axial\"",
         "rope_parameters"},
        {"neox", "{\"rope_scaling\": {\"type\": \"proportional\"}}", "\"type proportional\"", "rope_scaling"},
        {"neox", "{\"sliding_window\": 16}", "sliding_window", "16"},
        {"bloom", "{\"quantization_config\": {\"bits\": 8}}", "quantization_config", "8"},
        {"gpt2", "{\"attention_chunk_size\": 16}", "attention_chunk_size", "16"},
        {"mpt", "{\"attn_config\": {\"kv_n_heads\": 1}}", "\"attn_config.kv_n_heads\" is 1", "3, as \"n_heads\""},
        {"mpt", "{\"attn_config\": {\"sliding_window_size\": 16}}", "attn_config.sliding_window_size", "-1"},
        {"mpt", "{\"attn_config\": {\"attn_logit_softcapping\": 30.0}}", "attn_config.attn_logit_softcapping", "30"},
        {"mpt", "{\"attn_config\": {\"rope\": true}}", "attn_config.rope", "true"},
        {"mpt", "{\"attn_config\": {\"qk_gn\": true}}", "attn_config.qk_gn", "true"},
        {"mpt", "{\"final_logit_softcapping\": 30.0}", "final_logit_softcapping", "30"},
        {"mpt", "{\"block_overrides\": {\"order\": []}}", "block_overrides", "order"},
        {"mpt", "{\"ffn_config\": {\"ffn_type\": \"mptglu\"}}", "ffn_config.ffn_type", "mptglu"},
        {"mpt", "{\"ffn_config\": {\"ffn_act_fn\": {\"name\": \"relu\"}}}", "ffn_config.ffn_act_fn", "relu"},
        {"mpt", "{\"ffn_config\": {\"ffn_hidden_size\": 7}}", "ffn_config.ffn_hidden_size", "96, as"},
        {"mpt", "{\"norm_eps\": 1e-6}", "norm_eps", "layer_norm_epsilon"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_model_config c;
        if (read_changed(cases[i].family, cases[i].changes, &c) != MEP_ERROR_UNSUPPORTED)
            fail_msg("%s %s: not refused", cases[i].family, cases[i].changes);
        if (strstr(mep_error_message(), cases[i].first) == NULL || strstr(mep_error_message(), cases[i].second) == NULL)
            fail_msg("%s", mep_error_message());
    }
}

/* This library's own two names for an encoding. */
static void test_own_position(void **state)
{
    (void)state;
    static const struct {
        const char *position, *kernels, *want;
    } cases[] = {
        {"\"mep\"", "[\"gauss\", \"exp\", \"exp_half\"]", "gauss + exp + exp_half"},
        {"\"alibi\"", "null", "alibi"},
        {"null", "[\"exp\"]", "exp"},
        {"\"mep\"", "[\"exp\"]", NULL},
        {"\"rotary\"", "[\"exp\"]", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char changes[200];
        mep_model_config c;
        snprintf(changes, sizeof changes, "{\"position_encoding\": %s, \"kernels\": %s}", cases[i].position,
                 cases[i].kernels);
        mep_status status = read_changed("neox", changes, &c);
        assert_int_equal(status, cases[i].want != NULL ? MEP_OK : MEP_ERROR_FORMAT);
        if (cases[i].want != NULL) {
            assert_string_equal(c.position_encoding, cases[i].want);
            continue;
        }
        assert_non_null(strstr(mep_error_message(), "\"position_encoding\""));
        assert_non_null(strstr(mep_error_message(), "\"kernels\""));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd),          cmocka_unit_test(test_tied),      cmocka_unit_test(test_not_tied),
        cmocka_unit_test(test_head_refused), cmocka_unit_test(test_two_names), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_own_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
