/* SPDX-License-Identifier: MIT */
/*
 * The table of tensors: names, shapes, order and ranges for every switch; sizes, work and memory that follow from it;
 * heads of any width through files and export; and what a configuration may not say.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_model.h"

#include "io/files.h"
#include "scratch.h"

/* ---- The list of tensors ---- */

static mep_model_config everything(void)
{
    mep_model_config c;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = 7, c.hidden_size = 12, c.num_attention_heads = 2, c.num_hidden_layers = 3;
    c.head_dim = 5, c.intermediate_size = 20, c.max_position_embeddings = 9, c.embedding_layer_norm = 1;
    snprintf(c.position_encoding, sizeof c.position_encoding, "learned");
    return c;
}

typedef struct expected {
    const char *name;
    int64_t rows, columns; /* columns 0: a vector */
    const char *group;
    int decays;
} expected;

static const expected INPUT[] = {{"gpt_neox.embed_in.weight", 7, 12, "token_embeddings", 1},
                                 {"gpt_neox.embed_positions.weight", 9, 12, "position", 1},
                                 {"gpt_neox.embed_layer_norm.weight", 12, 0, "layer_norms", 0},
                                 {"gpt_neox.embed_layer_norm.bias", 12, 0, "layer_norms", 0}};
static const expected LAYER[] = {{"input_layernorm.weight", 12, 0, "layer_norms", 0},
                                 {"input_layernorm.bias", 12, 0, "layer_norms", 0},
                                 {"attention.query_key_value.weight", 30, 12, "attention", 1},
                                 {"attention.query_key_value.bias", 30, 0, "attention", 0},
                                 {"attention.dense.weight", 12, 10, "attention", 1},
                                 {"attention.dense.bias", 12, 0, "attention", 0},
                                 {"post_attention_layernorm.weight", 12, 0, "layer_norms", 0},
                                 {"post_attention_layernorm.bias", 12, 0, "layer_norms", 0},
                                 {"mlp.dense_h_to_4h.weight", 20, 12, "mlp", 1},
                                 {"mlp.dense_h_to_4h.bias", 20, 0, "mlp", 0},
                                 {"mlp.dense_4h_to_h.weight", 12, 20, "mlp", 1},
                                 {"mlp.dense_4h_to_h.bias", 12, 0, "mlp", 0}};
static const expected OUTPUT[] = {{"gpt_neox.final_layer_norm.weight", 12, 0, "layer_norms", 0},
                                  {"gpt_neox.final_layer_norm.bias", 12, 0, "layer_norms", 0},
                                  {"embed_out.weight", 7, 12, "output", 1}};
enum { INPUTS = sizeof INPUT / sizeof *INPUT, PER_LAYER = sizeof LAYER / sizeof *LAYER };
enum { OUTPUTS = sizeof OUTPUT / sizeof *OUTPUT };

static void assert_tensor(const mep_model *model, int64_t index, const expected *e, const char *name)
{
    mep_parameter p;
    assert_int_equal(mep_model_get_parameter(model, index, &p), MEP_OK);
    assert_string_equal(p.name, name);
    assert_string_equal(p.group, e->group);
    assert_int_equal(p.ndim, e->columns > 0 ? 2 : 1);
    assert_int_equal(p.shape[0], e->rows);
    assert_int_equal(p.shape[1], e->columns);
    assert_int_equal(p.size, e->rows * (e->columns > 0 ? e->columns : 1));
    assert_int_equal(p.size, mep_kind_values(&model->config, model->kinds[index]));
    assert_int_equal(mep_tensor_decays(model, index), e->decays);
}

static void test_list(void **state)
{
    (void)state;
    mep_model_config c = everything();
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    assert_int_equal(model->count, INPUTS + 3 * PER_LAYER + OUTPUTS);
    for (int i = 0; i < INPUTS; i++) assert_tensor(model, i, &INPUT[i], INPUT[i].name);
    for (int l = 0; l < 3; l++)
        for (int i = 0; i < PER_LAYER; i++) {
            char name[MEP_TENSOR_NAME];
            int64_t index = INPUTS + l * PER_LAYER + i;
            snprintf(name, sizeof name, "gpt_neox.layers.%d.%s", l, LAYER[i].name);
            assert_tensor(model, index, &LAYER[i], name);
            assert_int_equal(mep_tensor_layer(model, index), l);
            assert_int_equal(mep_tensor_index(model, model->kinds[index], l), index);
        }
    for (int i = 0; i < OUTPUTS; i++) assert_tensor(model, INPUTS + 3 * PER_LAYER + i, &OUTPUT[i], OUTPUT[i].name);
    mep_model_destroy(&model);
}

/* The ranges cover the list, whatever a model has; a tied output is the embedding; without biases none is left. */
static void test_ranges(void **state)
{
    (void)state;
    for (int bits = 0; bits < 16; bits++) {
        mep_model_config c = everything();
        mep_model *model;
        int64_t next = 0, products = 0;
        c.embedding_layer_norm = bits & 1, c.no_bias = bits >> 1 & 1, c.tie_word_embeddings = bits >> 2 & 1;
        snprintf(c.position_encoding, sizeof c.position_encoding, "%s", bits & 8 ? "mep_param" : "learned");
        assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
        for (int64_t r = 0; r < mep_range_count(model); r++) {
            mep_tensor_range range = mep_range_at(model, r);
            assert_int_equal(range.first, next);
            next = range.end;
        }
        assert_int_equal(next, model->count);
        mep_tensor_range position = mep_section_range(model, SECTION_POSITION);
        assert_int_equal(position.end - position.first, bits & 8 ? mep_bias_param_count(model->bias) : 0);
        for (int64_t i = 0; i < model->count; i++) {
            products += mep_tensor_multiplies(model, i);
            assert_int_equal(mep_tensor_is_position(model, i),
                             strncmp(model->tensors[i].name, "position_bias.", 14) == 0 ||
                                 strstr(model->tensors[i].name, "embed_positions") != NULL);
            if (c.no_bias && i < position.first) assert_null(strstr(model->tensors[i].name, ".bias"));
        }
        assert_int_equal(products, 4 * 3 + 1);
        assert_int_equal(model->first[EMBED_OUT] == model->first[EMBED_IN], c.tie_word_embeddings);
        mep_model_destroy(&model);
    }
}

/* ---- Work and memory ---- */

/* GPT-2 small by hand: 12 layers, hidden 768, vocabulary 50304. */
static void test_work(void **state)
{
    (void)state;
    mep_model_config c;
    const double h = 768, layers = 12, vocab = 50304, length = 512;
    assert_int_equal(mep_model_preset("small", &c), MEP_OK);
    assert_true(mep_products_work(&c, 512) == 2 * length * (layers * 12 * h * h + h * vocab));
    assert_true(mep_attention_work(&c, 512) == layers * 2 * length * length * h);
    /* every matrix of a layer with its two operations per value, and no other tensor */
    c.head_dim = 80;
    mep_token_work w = mep_token_work_of(&c);
    assert_true(w.before + w.after == 2 * (4 * 12 * 80 * h + 8 * h * h) && w.attention == 4 * 12 * 80);
}

/* What a training session of `batch` sequences of 24 tokens allocates. */
static double session_bytes(mep_model *model, mep_dtype dtype, int recompute, int64_t batch)
{
    mep_session *session;
    mep_session_settings s;
    double bytes = 0;
    mep_session_defaults(&s);
    s.batch = batch, s.length = 24, s.dtype = dtype, s.training = 1, s.recompute = recompute;
    if (mep_session_create(&session, model, &s) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < session->allocation_count; i++) bytes += (double)session->allocations[i].bytes;
    mep_session_destroy(&session);
    return bytes;
}

/* The memory for more rows is exactly what sessions allocate. */
static void test_training_bytes(void **state)
{
    (void)state;
    for (int bits = 0; bits < 64; bits++) {
        mep_model_config c;
        mep_model *model;
        assert_int_equal(mep_model_preset(bits & 1 ? "nano-llama" : "nano", &c), MEP_OK);
        int llama = c.block == MEP_BLOCK_LLAMA;
        c.vocab_size = bits % 32 == 16 ? 1 << 18 : 32; /* the first computes logits in chunks of 256 rows */
        c.hidden_size = 8, c.num_attention_heads = 2, c.num_hidden_layers = 3, c.max_position_embeddings = 24;
        c.intermediate_size = bits & 2 ? 64 : 20, c.head_dim = bits & 2 ? 0 : 6;
        if (llama) c.num_key_value_heads = 1, c.post_norm = bits >> 3 & 1;
        if (llama && bits & 4) c.qk_norm = bits & 8 ? MEP_QK_NORM_ALL : MEP_QK_NORM_HEAD;
        if (!llama) c.residual = bits & 4 ? MEP_RESIDUAL_PARALLEL : MEP_RESIDUAL_SEQUENTIAL;
        if (!llama) c.embedding_layer_norm = bits >> 3 & 1;
        mep_dtype dtype = bits & 16 ? MEP_BFLOAT16 : MEP_FLOAT32;
        int recompute = bits >> 5 & 1;
        snprintf(c.position_encoding, sizeof c.position_encoding, "nope");
        if (mep_model_create(&model, &c, 1) != MEP_OK) fail_msg("%s", mep_error_message());
        for (int64_t batch = 2; batch < 13; batch += 10)
            assert_true(session_bytes(model, dtype, recompute, batch) - session_bytes(model, dtype, recompute, 1) ==
                        mep_training_bytes(&c, dtype, recompute, batch * 24) -
                            mep_training_bytes(&c, dtype, recompute, 24));
        mep_model_destroy(&model);
    }
}

/* ---- Heads of any width ---- */

static void compare_models(const mep_model *a, const mep_model *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->values, b->values, (size_t)a->size * sizeof(float));
    assert_int_equal(mep_head_dim(&a->config), mep_head_dim(&b->config));
}

static float *logits_of(mep_model *model)
{
    int32_t tokens[LENGTH];
    float *logits = allocate(LENGTH * VOCAB, sizeof *logits);
    random_tokens(tokens, LENGTH);
    mep_session *session = small_session(model, 1, LENGTH, MEP_FLOAT32, 0);
    assert_int_equal(mep_session_logits(session, 1, LENGTH, tokens, logits), MEP_OK);
    mep_session_destroy(&session);
    return logits;
}

/* Saved and exported: the same model comes back, and no other family takes it. */
static void test_files(void **state)
{
    (void)state;
    static const int64_t head_dims[] = {10, 24};
    static const char *const positions[] = {"rotary", "alibi", "learned", "mep_param"};
    for (int i = 0; i < 8; i++) {
        mep_model *model = small_model_with(positions[i / 2], head_dims[i % 2]), *again;
        float *logits = logits_of(model), *read;
        for (int exported = 0; exported < 2; exported++) {
            const char *folder = scratch_path(exported ? "export" : "save"), *family = "mep";
            assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
            if (exported)
                assert_int_equal(mep_model_export(model, folder, NULL, &family), MEP_OK);
            else
                assert_int_equal(mep_model_save(model, folder, NULL), MEP_OK);
            assert_string_equal(family, "mep");
            if (mep_model_load(&again, folder) != MEP_OK) fail_msg("%s", mep_error_message());
            compare_models(again, model);
            read = logits_of(again);
            assert_memory_equal(read, logits, LENGTH * VOCAB * sizeof *logits);
            free(read);
            mep_model_destroy(&again);
        }
        free(logits);
        mep_model_destroy(&model);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* head_dim in words is head_dim by default; a file of the default does not name it. */
static void test_default_head_dim(void **state)
{
    (void)state;
    mep_model *named = small_model_with("rotary", 16), *model = small_model("rotary"), *again;
    const char *folder = scratch_path("default");
    char text[4096] = {0};
    compare_models(named, model);
    assert_int_equal(mep_model_config_head_dim(&named->config), 16);
    assert_int_equal(mep_model_config_head_dim(&model->config), 16);
    assert_int_equal(mep_model_config_head_dim(NULL), 0);
    float *a = logits_of(named), *b = logits_of(model);
    assert_memory_equal(a, b, LENGTH * VOCAB * sizeof *a);
    assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, folder, NULL), MEP_OK);
    FILE *file = fopen(scratch_path("default/config.json"), "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 100);
    fclose(file);
    assert_non_null(strstr(text, "num_attention_heads"));
    assert_null(strstr(text, "head_dim"));
    assert_null(strstr(text, "num_key_value_heads"));
    assert_int_equal(mep_model_load(&again, folder), MEP_OK);
    assert_int_equal(again->config.head_dim, 0);
    free(a), free(b);
    mep_model_destroy(&again), mep_model_destroy(&named), mep_model_destroy(&model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- Llama blocks ---- */

static mep_model_config llama(void)
{
    return (mep_model_config){.vocab_size = 7,
                              .hidden_size = 12,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 5,
                              .intermediate_size = 20,
                              .max_position_embeddings = 16,
                              .layer_norm_eps = 1e-6,
                              .rotary_emb_base = 10000,
                              .rotary_pct = 0.8,
                              .position_encoding = "rotary/sink|nope/forget",
                              .block = MEP_BLOCK_LLAMA,
                              .norm = MEP_NORM_RMS,
                              .mlp = MEP_MLP_SWIGLU,
                              .qkv_bias = 1,
                              .qk_norm = MEP_QK_NORM_ALL};
}

/* Names are Hugging Face's; q, k and v, and gate and up, are one matrix each; layers have the tensors of their entry.
 */
static void test_llama(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t rows, columns;
        int layer; /* -1: both */
    } tensors[] = {{"input_layernorm.weight", 12, 0, -1},
                   {"self_attn.q_proj.weight", 20, 12, -1},
                   {"self_attn.k_proj.weight", 10, 12, -1},
                   {"self_attn.v_proj.weight", 10, 12, -1},
                   {"self_attn.q_proj.bias", 20, 0, -1},
                   {"self_attn.k_proj.bias", 10, 0, -1},
                   {"self_attn.v_proj.bias", 10, 0, -1},
                   {"self_attn.q_norm.weight", 20, 0, -1},
                   {"self_attn.k_norm.weight", 10, 0, -1},
                   {"self_attn.o_proj.weight", 12, 20, -1},
                   {"post_attention_layernorm.weight", 12, 0, -1},
                   {"mlp.gate_proj.weight", 20, 12, -1},
                   {"mlp.up_proj.weight", 20, 12, -1},
                   {"mlp.down_proj.weight", 12, 20, -1},
                   {"self_attn.position_bias.forget.weight", 4, 12, 1},
                   {"self_attn.position_bias.forget.bias", 4, 0, 1},
                   {"self_attn.position_bias.sink", 4, 0, 0}};
    mep_model_config c = llama();
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    int64_t at = 0;
    assert_string_equal(model->tensors[at++].name, "model.embed_tokens.weight");
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
            char name[128];
            if (tensors[i].layer >= 0 && tensors[i].layer != l) continue;
            snprintf(name, sizeof name, "model.layers.%d.%s", l, tensors[i].name);
            const mep_tensor *t = &model->tensors[at];
            assert_string_equal(t->name, name);
            assert_int_equal(t->shape[0], tensors[i].rows);
            assert_int_equal(t->shape[1], tensors[i].columns);
            assert_int_equal(mep_tensor_layer(model, at++), l);
        }
    assert_string_equal(model->tensors[at++].name, "model.norm.weight");
    assert_string_equal(model->tensors[at++].name, "lm_head.weight");
    assert_int_equal(at, model->count);
    int64_t q = mep_tensor_index(model, Q_WEIGHT, 1), gate = mep_tensor_index(model, GATE_PROJ, 1);
    assert_int_equal(mep_product_rows(model, q), 40);
    assert_int_equal(mep_product_rows(model, gate), 40);
    assert_int_equal(mep_tensor_index(model, SINK, 1), -1);
    for (int i = 1; i < 3; i++) /* one after the other in memory */
        assert_ptr_equal((float *)model->tensors[q + i - 1].data + model->tensors[q + i - 1].size,
                         model->tensors[q + i].data);
    assert_ptr_equal((float *)model->tensors[gate].data + model->tensors[gate].size, model->tensors[gate + 1].data);
    mep_model_destroy(&model);
}

/* With norms after the branches, the names are OLMo2's. */
static void test_post_norm(void **state)
{
    (void)state;
    static const char *const names[] = {"model.layers.1.post_attention_layernorm.weight",
                                        "model.layers.1.post_feedforward_layernorm.weight"};
    mep_model_config c = llama();
    mep_model *model;
    c.post_norm = 1;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    assert_string_equal(model->tensors[mep_tensor_index(model, NORM1_WEIGHT, 1)].name, names[0]);
    assert_string_equal(model->tensors[mep_tensor_index(model, NORM2_WEIGHT, 1)].name, names[1]);
    for (int64_t i = 0; i < model->count; i++) assert_null(strstr(model->tensors[i].name, "input_layernorm"));
    mep_model_destroy(&model);
}

/* Weights are drawn with initializer_range, 0.02 where it is 0; what is not drawn does not depend on it. */
static void test_initializer_range(void **state)
{
    (void)state;
    mep_model_config c = llama();
    mep_model *zero, *same, *large;
    snprintf(c.position_encoding, sizeof c.position_encoding, "mep_param/profiles:rank=2,extent=8|nope/forget");
    assert_int_equal(mep_model_create(&zero, &c, 1), MEP_OK);
    c.initializer_range = 0.02;
    assert_int_equal(mep_model_create(&same, &c, 1), MEP_OK);
    c.initializer_range = 0.08;
    assert_int_equal(mep_model_create(&large, &c, 1), MEP_OK);
    assert_memory_equal(zero->values, same->values, (size_t)zero->size * sizeof *zero->values);
    for (int64_t i = 0; i < zero->count; i++) {
        int kind = mep_tensor_row_of(zero, i)->initialization;
        float factor = kind == INIT_NORMAL || kind == INIT_NORMAL_RESIDUAL ? 4 : 1;
        const float *x = zero->tensors[i].data, *y = large->tensors[i].data;
        for (int64_t j = 0; j < zero->tensors[i].size; j++) assert_true(y[j] == factor * x[j]);
    }
    mep_model_destroy(&zero), mep_model_destroy(&same), mep_model_destroy(&large);
}

/* A folder that was written is read with the same configuration and parameters. */
static void test_llama_files(void **state)
{
    (void)state;
    const char *folder = scratch_path("llama");
    mep_model_config c = llama();
    c.post_norm = 1, c.initializer_range = 0.088;
    mep_model *model, *again;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, folder, NULL), MEP_OK);
    if (mep_model_load(&again, folder) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_memory_equal(&again->config, &model->config, sizeof c);
    assert_int_equal(again->size, model->size);
    assert_memory_equal(again->values, model->values, (size_t)model->size * sizeof *model->values);
    mep_model_destroy(&again), mep_model_destroy(&model);
    /* 0.02 is what 0 stands for: the files are the same, so that an older study or run can be continued with either */
    c.initializer_range = 0.02;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, folder, NULL), MEP_OK);
    assert_int_equal(mep_model_load(&again, folder), MEP_OK);
    assert_true(again->config.initializer_range == 0);
    mep_model_destroy(&again), mep_model_destroy(&model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- Refusals ---- */

static void refuse(mep_model_config c, const char *words)
{
    mep_model *model = NULL;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_ERROR_ARGUMENT);
    assert_null(model);
    if (strstr(mep_error_message(), words) == NULL) fail_msg("\"%s\" is not in: %s", words, mep_error_message());
}

static void test_refusals(void **state)
{
    (void)state;
    mep_model *model;
    mep_model_config good = everything(), c = good;
    c.num_key_value_heads = 1, refuse(c, "num_key_value_heads is 1 and num_attention_heads 2; they differ in Llama");
    c.num_key_value_heads = -1, refuse(c, "num_key_value_heads must be from 0");
    c = good, c.head_dim = -1, refuse(c, "head_dim must be from 0");
    c = good, c.initializer_range = -0.02, refuse(c, "initializer_range must be from 0 to 1, found -0.02");
    c = good, c.initializer_range = NAN, refuse(c, "initializer_range must be from 0 to 1");
    c = good, c.head_dim = 0, c.num_attention_heads = 5, refuse(c, "hidden_size 12 is not a multiple of");
    c = good, c.num_attention_heads = 10000, c.head_dim = 10000, refuse(c, "num_attention_heads * head_dim must be");
    c = good, c.norm = (mep_norm)2, refuse(c, "norm is 2, which is not computed; choose one from layer (0) to rms (1)");
    c = good, c.mlp = (mep_mlp)3, refuse(c, "mlp is 3, which is not computed; choose one from gelu (0) to swiglu (2)");
    c = good, c.norm = MEP_NORM_RMS, refuse(c, "not those of a GPT-NeoX block");
    c = good, c.mlp = MEP_MLP_SWIGLU, refuse(c, "not those of a GPT-NeoX block");
    c = good, c.qkv_bias = 1, refuse(c, "are for Llama blocks; choose");
    c = good, c.qk_norm = MEP_QK_NORM_HEAD, refuse(c, "are for Llama blocks; choose");
    c = good, c.post_norm = 1, refuse(c, "are for Llama blocks; choose");
    c = llama(), c.norm = MEP_NORM_LAYER, refuse(c, "it has RMSNorm and SwiGLU");
    c = llama(), c.residual = MEP_RESIDUAL_PARALLEL, refuse(c, "has a sequential residual");
    c = llama(), c.num_key_value_heads = 3, refuse(c, "num_key_value_heads 3 does not divide num_attention_heads 4");
    c = good, c.residual = (mep_residual)-1, refuse(c, "residual is -1, which is not computed");
    c = good, c.num_key_value_heads = 2; /* the number of heads is accepted */
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_OK);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_list),
                                       cmocka_unit_test(test_ranges),
                                       cmocka_unit_test(test_work),
                                       cmocka_unit_test(test_training_bytes),
                                       cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_llama),
                                       cmocka_unit_test(test_post_norm),
                                       cmocka_unit_test(test_llama_files),
                                       cmocka_unit_test(test_default_head_dim),
                                       cmocka_unit_test(test_initializer_range)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
