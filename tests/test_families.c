/* SPDX-License-Identifier: MIT */
/*
 * Families of Hugging Face: logits and greedy text of the models in golden/families, which transformers wrote and ran
 * (scripts/fixtures/families.py); the way back through mep_model_export; the switches' gradients by finite differences;
 * swapped encodings; and what is refused.
 */
#define _POSIX_C_SOURCE 200809L
#include "families.h"

#include "io/family.h"
#include "io/json.h"
#include "io/model_files.h"
#include "model/kv_windows.h"

/* ---- In ---- */

static void test_logits(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        mep_model *model = load(family_folder(FAMILIES[f]), NULL);
        double off = logit_error(model, FAMILIES[f]);
        print_message("%s: logits within %.2g\n", FAMILIES[f], off);
        if (!(off <= LOGITS)) fail_msg("%s: logits are off by %g", FAMILIES[f], off);
        mep_model_destroy(&model);
    }
}

/* 200 greedy tokens with the cache, each that of transformers. */
static void test_greedy(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        mep_model *model = load(family_folder(FAMILIES[f]), NULL);
        check_greedy(model, FAMILIES[f]);
        mep_model_destroy(&model);
    }
}

/* The allowances of the cache bound what every family gives under MEP: no query of a text passes them. */
static void test_windows(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        mep_model *model = load(family_folder(FAMILIES[f]), "mep");
        mep_session *session = small_session(model, 1, LENGTH, MEP_FLOAT32, 1);
        int64_t n = mep_head_dim(&model->config), heads = model->config.num_attention_heads;
        double *allowance = allocate(2 * heads, sizeof *allowance), largest = 0;
        int32_t tokens[LENGTH + 1];
        float losses[LENGTH], *gradients = allocate(model->size, sizeof *gradients);
        random_tokens(tokens, LENGTH + 1);
        assert_int_equal(
            mep_session_train(
                session,
                &(mep_train_batch){
                    .batch = 1, .length = LENGTH, .inputs = tokens, .targets = tokens + 1, .scale = 1, .accumulate = 1},
                losses, gradients),
            MEP_OK);
        assert_int_equal(mep_model_allowances(session->model, session->settings.dtype, LENGTH, NULL, allowance),
                         MEP_OK);
        for (int64_t i = 0; i < 2 * heads; i++) {
            const float *qkv = (const float *)session->layer[i / heads].qkv.data + i % heads * 3 * n;
            assert_true(isfinite(allowance[i]));
            for (int q = 0; q < LENGTH; q++)
                for (int k = 0; k < LENGTH; k++) {
                    double score = 0;
                    for (int64_t c = 0; c < n; c++)
                        score += (double)qkv[q * 9 * n + c] *
                                 ((double)qkv[k * 9 * n + n + c] - (double)qkv[q * 9 * n + n + c]);
                    score /= sqrt((double)n);
                    if (!(score <= allowance[i])) fail_msg("%s: %g > %g", FAMILIES[f], score, allowance[i]);
                    largest = fmax(largest, score / allowance[i]);
                }
        }
        assert_true(largest > 0.02);
        free(allowance), free(gradients);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* ---- Out ---- */

static void same_tensors(const mep_model *a, const mep_model *b)
{
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->values, b->values, (size_t)a->size * sizeof(float));
    assert_memory_equal(&a->config, &b->config, offsetof(mep_model_config, position_encoding));
    assert_string_equal(a->config.position_encoding, b->config.position_encoding);
}

/* A family's model is exported as that family. Reading it, or a folder in this library's own form, gives bit-identical
 * tensors. */
static void test_export(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        mep_model *model = load(family_folder(FAMILIES[f]), NULL), *again, *own;
        const char *out = folder("export"), *mine = folder("own"), *family = NULL;
        assert_int_equal(mep_model_export(model, out, NULL, &family), MEP_OK);
        assert_string_equal(family, strncmp(FAMILIES[f], "neox", 4) == 0 ? "gpt_neox" : FAMILIES[f]);
        assert_int_equal(mep_model_save(model, mine, NULL), MEP_OK);
        again = load(out, NULL);
        own = load(mine, NULL);
        same_tensors(again, model);
        same_tensors(own, model);
        assert_true(logit_error(own, FAMILIES[f]) <= LOGITS);
        mep_model_destroy(&model), mep_model_destroy(&again), mep_model_destroy(&own);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* Every tensor that an exported folder has stands under the name and in the shape that transformers wrote. */
static void test_export_names(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        if (strcmp(FAMILIES[f], "bloom") == 0 || strcmp(FAMILIES[f], "gpt2") == 0) continue; /* shards; bare names */
        mep_model *model = load(family_folder(FAMILIES[f]), NULL);
        char path[1100];
        mep_safetensors *theirs = NULL, *ours = NULL;
        const char *out = folder("names");
        assert_int_equal(mep_model_export(model, out, NULL, NULL), MEP_OK);
        snprintf(path, sizeof path, "%s/model.safetensors", out);
        assert_int_equal(mep_safetensors_open(&ours, path), MEP_OK);
        snprintf(path, sizeof path, "%s/model.safetensors", family_folder(FAMILIES[f]));
        assert_int_equal(mep_safetensors_open(&theirs, path), MEP_OK);
        assert_int_equal(mep_safetensors_count(ours), mep_safetensors_count(theirs));
        for (int64_t i = 0; i < mep_safetensors_count(theirs); i++) {
            const mep_safetensors_entry *want = mep_safetensors_get(theirs, i);
            const mep_safetensors_entry *found = mep_safetensors_find(ours, want->name);
            if (found == NULL || found->size != want->size || found->shape[0] != want->shape[0])
                fail_msg("%s: %s is missing or has another shape", FAMILIES[f], want->name);
        }
        mep_safetensors_close(&ours), mep_safetensors_close(&theirs);
        mep_model_destroy(&model);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* What no family expresses goes out as "mep", with Python files that auto_map names. */
static void test_export_own(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "mep_param", "alibi", "nope", "gauss + exp/learn=weights,slopes"};
    for (int p = 0; p < 5; p++) {
        mep_model *model = small_model(positions[p]), *again;
        const char *out = folder("python"), *family = NULL;
        char path[700], *text = NULL;
        int64_t size = 0;
        assert_int_equal(mep_model_export(model, out, NULL, &family), MEP_OK);
        assert_string_equal(family, "mep");
        again = load(out, NULL);
        assert_memory_equal(again->values, model->values, (size_t)model->size * sizeof(float));
        snprintf(path, sizeof path, "%s/modeling_mep.py", out);
        assert_int_equal(mep_file_read(path, 1 << 20, &text, &size), MEP_OK);
        assert_non_null(strstr(text, "class MepForCausalLM("));
        mep_free(&text);
        snprintf(path, sizeof path, "%s/config.json", out);
        assert_int_equal(mep_file_read(path, 1 << 20, &text, &size), MEP_OK);
        assert_non_null(strstr(text, "modeling_mep.MepForCausalLM"));
        assert_non_null(strstr(text, model->bias != NULL ? mep_bias_spec(model->bias) : positions[p]));
        mep_free(&text);
        mep_model_destroy(&model), mep_model_destroy(&again);
    }
    mep_model *rotary = small_model("rotary");
    const char *family = NULL;
    assert_int_equal(mep_model_export(rotary, folder("rotary"), NULL, &family), MEP_OK);
    assert_string_equal(family, "gpt_neox");
    mep_model_destroy(&rotary);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* The nearest bfloat16 of a float32, the even one of two: from the definition, without the rounding under test. */
static float nearest_bfloat16(float x)
{
    uint32_t bits;
    float below, above;
    memcpy(&bits, &x, sizeof bits);
    uint32_t low = bits & 0xFFFF0000u, high = low + 0x10000u; /* neighbours of x, away from 0 the second */
    memcpy(&below, &low, sizeof below);
    memcpy(&above, &high, sizeof above);
    double to_below = fabs((double)x - (double)below), to_above = fabs((double)above - (double)x);
    if (to_below == to_above) return low & 0x10000u ? above : below;
    return to_below < to_above ? below : above;
}

static int exists(const char *in, const char *name)
{
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", in, name);
    return mep_file_exists(path);
}

static void check_written(const mep_model *model, const mep_model *again, mep_dtype dtype)
{
    assert_int_equal(again->size, model->size);
    for (int64_t i = 0; i < model->size; i++) {
        float want = dtype == MEP_FLOAT32 ? model->values[i] : nearest_bfloat16(model->values[i]);
        if (memcmp(&again->values[i], &want, sizeof want) != 0)
            fail_msg("%.9g is written as %.9g", (double)model->values[i], (double)again->values[i]);
    }
}

/* The sum of the shards' tensors is what the index says, none is larger than allowed unless it is one tensor, and each
 * would not have held the next one's first. Returns their number. */
static int64_t check_shards(const char *out, int64_t limit, int64_t values, int64_t width)
{
    char path[700], name[64];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", out);
    assert_int_equal(mep_json_load(path, &root), MEP_OK);
    const json_t *map = json_object_get(root, "weight_map"), *metadata = json_object_get(root, "metadata");
    assert_int_equal(json_integer_value(json_object_get(metadata, "total_parameters")), values);
    assert_int_equal(json_integer_value(json_object_get(metadata, "total_size")), values * width);
    int64_t count = 0, shards = 0, last = 0;
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file) sscanf(json_string_value(file), "model-%*d-of-%ld", &shards);
    for (int64_t i = 1; i <= shards; i++) {
        mep_safetensors *shard = NULL;
        int64_t bytes = 0;
        snprintf(name, sizeof name, "model-%05ld-of-%05ld.safetensors", (long)i, (long)shards);
        snprintf(path, sizeof path, "%s/%s", out, name);
        assert_int_equal(mep_safetensors_open(&shard, path), MEP_OK);
        for (int64_t t = 0; t < mep_safetensors_count(shard); t++) {
            const mep_safetensors_entry *e = mep_safetensors_get(shard, t);
            assert_string_equal(json_string_value(json_object_get(map, e->name)), name);
            assert_int_equal(e->width, width);
            bytes += e->end - e->begin;
            count++;
        }
        assert_true(bytes <= limit || mep_safetensors_count(shard) == 1);
        if (i > 1) assert_true(last + mep_safetensors_get(shard, 0)->size * width > limit);
        last = bytes;
        mep_safetensors_close(&shard);
    }
    assert_int_equal(count, json_object_size(map));
    json_decref(root);
    return shards;
}

/* Shards and bfloat16 in both forms of folders: read back, every value is the same, or its nearest bfloat16. */
static void test_save_settings(void **state)
{
    (void)state;
    static const int64_t limits[] = {1, 9000, 1 << 20};
    for (int f = 0; f < FAMILY_COUNT; f++)
        for (int half = 0; half < 2; half++)
            for (int i = f == 0 ? 0 : 1; i < 3; i++) { /* a file a tensor costs many syncs: once */
                mep_model *model = load(family_folder(FAMILIES[f]), NULL), *again, *own;
                const char *out = folder("settings"), *mine = folder("own");
                mep_save_settings s = {.dtype = half ? MEP_BFLOAT16 : MEP_FLOAT32, .shard_size = limits[i]};
                for (int64_t n = 0; n < model->size; n++) /* the fixtures' values are often of 16 bits */
                    model->values[n] *= 1 + 0.1f * (float)mep_random_uniform(9, (uint64_t)f, (uint64_t)n);
                model->values[0] = 1.00390625f,
                model->values[1] = 1.01171875f; /* halfway: down and up to the even one */
                model->values[2] = -0.0f, model->values[3] = -1e-40f;
                assert_int_equal(mep_model_export(model, out, &s, NULL), MEP_OK);
                assert_int_equal(mep_model_save(model, mine, &s), MEP_OK);
                assert_int_equal(exists(out, "model.safetensors"), i == 2);
                assert_int_equal(exists(out, "model.safetensors.index.json"), i < 2);
                if (i < 2) {
                    int64_t shards = check_shards(mine, limits[i], model->size, half ? 2 : 4);
                    assert_true(i == 0 ? shards == model->count : shards >= 2 && shards < model->count);
                    check_shards(out, limits[i], model->size, half ? 2 : 4);
                }
                again = load(out, NULL), own = load(mine, NULL);
                check_written(model, again, s.dtype);
                check_written(model, own, s.dtype);
                mep_model_destroy(&model), mep_model_destroy(&again), mep_model_destroy(&own);
            }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* A folder's model is replaced in one step or not at all, and a failure leaves no shards. */
static void test_save_refused(void **state)
{
    (void)state;
    char path[700];
    mep_model *model = small_model("mep"), *again;
    const char *one = folder("one"), *many = folder("many"), *broken = folder("broken");
    mep_save_settings shards = {.dtype = MEP_FLOAT32, .shard_size = 9000}, wrong = {.dtype = MEP_FLOAT64};
    assert_int_equal(mep_model_save(model, one, NULL), MEP_OK);
    assert_int_equal(mep_model_save(model, many, &shards), MEP_OK);
    float before = model->values[0];
    model->values[0] += 1;
    assert_int_equal(mep_model_save(model, one, &shards), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "contains model.safetensors"));
    assert_int_equal(mep_model_save(model, many, &shards), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_model_save(model, many, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "contains model.safetensors.index.json"));
    again = load(many, NULL);
    assert_true(again->values[0] == before);
    mep_model_destroy(&again);
    assert_int_equal(mep_model_save(model, one, NULL), MEP_OK);
    again = load(one, NULL);
    same_tensors(again, model);
    mep_model_destroy(&again);

    mep_save_settings tensors = {.dtype = MEP_FLOAT32, .shard_size = 1};
    snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", broken, 3, (int)model->count);
    assert_int_equal(mep_make_folder(path, 0), MEP_OK); /* where the third shard would be */
    assert_int_not_equal(mep_model_save(model, broken, &tensors), MEP_OK);
    snprintf(path, sizeof path, "model-%05d-of-%05d.safetensors", 1, (int)model->count);
    assert_false(exists(broken, path) || exists(broken, "config.json"));
    broken = folder("broken");
    snprintf(path, sizeof path, "%s/config.json", broken);
    assert_int_equal(mep_make_folder(path, 0), MEP_OK); /* where the last file would be */
    assert_int_equal(mep_model_save(model, broken, &tensors), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), "config.json"));
    assert_int_equal(mep_remove_tree(path), MEP_OK);
    assert_int_equal(mep_model_save(model, broken, &tensors), MEP_OK); /* nothing blocks the next try */
    wrong.shard_size = 1 << 20;
    assert_int_equal(mep_model_save(model, one, &wrong), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "not as float64"));
    shards.shard_size = 0;
    assert_int_equal(mep_model_save(model, folder("none"), &shards), MEP_ERROR_ARGUMENT);
    mep_model_destroy(&model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* MPT's alibi_bias_max is read as the slopes that the model was trained with, and such a model goes out as "mep":
 * transformers' MPT takes 8 whatever the key says. */
static void test_bias_max(void **state)
{
    (void)state;
    char path[1100];
    json_t *root = NULL;
    mep_model_config c;
    const char *in = folder("bias_max"), *out = folder("out"), *family = NULL;
    snprintf(path, sizeof path, "%s/config.json", family_folder("mpt"));
    assert_int_equal(mep_json_load(path, &root), MEP_OK);
    json_t *attention = json_object_get(root, "attn_config");
    static const struct {
        double value;
        const char *position;
    } cases[] = {{8, "alibi"}, {4.5, "exp:bias_max=4.5"}, {16, "exp:bias_max=16"}};
    for (int i = 0; i < 3; i++) {
        json_object_set_new(attention, "alibi_bias_max", json_real(cases[i].value));
        assert_int_equal(mep_model_config_from_json(root, "config.json", &c), MEP_OK);
        assert_string_equal(c.position_encoding, cases[i].position);
    }
    snprintf(path, sizeof path, "%s/config.json", in);
    assert_int_equal(mep_json_save(path, root), MEP_OK);
    copy_file(family_folder("mpt"), in, "model.safetensors");
    mep_model *model = load(in, NULL);
    assert_true(logit_error(model, "mpt") > 1e-3);
    assert_int_equal(mep_model_export(model, out, NULL, &family), MEP_OK);
    assert_string_equal(family, "mep");
    mep_model *again = load(out, NULL);
    same_tensors(again, model);
    mep_model_destroy(&model), mep_model_destroy(&again);
    for (int i = 0; i < 2; i++) {
        json_object_set_new(attention, "alibi_bias_max", i == 0 ? json_integer(0) : json_string("8"));
        assert_int_equal(mep_model_config_from_json(root, "config.json", &c), MEP_ERROR_FORMAT);
        assert_non_null(strstr(mep_error_message(), "alibi_bias_max"));
    }
    json_decref(root);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- Swapped encodings ---- */

static void test_swap(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "mep_param", "rotary", "learned", "sinusoidal", "t5:buckets=16"};
    for (int f = 0; f < FAMILY_COUNT; f++)
        for (int p = 0; p < 6; p++) {
            mep_model *own = load(family_folder(FAMILIES[f]), NULL), *model;
            model = load(family_folder(FAMILIES[f]), positions[p]);
            assert_string_equal(model->config.position_encoding, positions[p]);
            for (int64_t i = 0; i < model->count; i++) { /* ordinary tensors are those of the folder */
                const mep_tensor *t = &model->tensors[i];
                int same_encoding = strcmp(positions[p], own->config.position_encoding) == 0;
                assert_int_equal(mep_model_parameter_is_new(model, i),
                                 mep_tensor_is_position(model, i) && !same_encoding);
                if (mep_tensor_is_position(model, i)) continue;
                int64_t j = 0;
                while (j < own->count && strcmp(own->tensors[j].name, t->name) != 0) j++;
                assert_true(j < own->count);
                assert_memory_equal(t->data, own->tensors[j].data, (size_t)t->size * sizeof(float));
            }
            const char *out = folder("swap"); /* and what was swapped stays so */
            assert_int_equal(mep_model_save(model, out, NULL), MEP_OK);
            mep_model *again = load(out, NULL);
            same_tensors(again, model);
            for (int64_t i = 0; i < again->count; i++) assert_int_equal(mep_model_parameter_is_new(again, i), 0);
            int same = strcmp(positions[p], own->config.position_encoding) == 0;
            assert_true((logit_error(again, FAMILIES[f]) > 1e-3) == !same);
            mep_model_destroy(&own), mep_model_destroy(&model), mep_model_destroy(&again);
        }
    /* ALiBi is MEP's first kernel alone: named otherwise, the same model */
    mep_model *model = load(family_folder("bloom"), "exp");
    assert_true(logit_error(model, "bloom") <= LOGITS);
    mep_model_destroy(&model);
    assert_int_equal(mep_model_load_as(&model, family_folder("bloom"), "nonsense", 0), MEP_ERROR_ARGUMENT);
    assert_null(model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* ---- The switches ---- */

/* A small model with heads of head_dim channels (0: 8) and the switches of bits: parallel, tanh, tied, embedding norm,
 * no bias. */
static mep_model *switched(int bits, int64_t head_dim, const char *position)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = VOCAB, c.hidden_size = 24, c.num_attention_heads = 3, c.num_hidden_layers = 2;
    c.head_dim = head_dim, c.intermediate_size = 40, c.max_position_embeddings = 4 * LENGTH;
    c.residual = (mep_residual)(bits & 1), c.mlp = (mep_mlp)(bits >> 1 & 1), c.tie_word_embeddings = bits >> 2 & 1;
    c.embedding_layer_norm = bits >> 3 & 1, c.no_bias = bits >> 4 & 1;
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", position);
    if (mep_model_create(&model, &c, 3) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < model->count; i++) /* away from the tiny initial values */
        for (int64_t n = 0; n < model->tensors[i].size && !mep_tensor_is_position(model, i); n++)
            ((float *)model->tensors[i].data)[n] += 0.2f * (float)mep_random_normal(4, (uint64_t)i, (uint64_t)n);
    return model;
}

typedef struct pass {
    float *gradients;
    double loss;
} pass;

static pass run_pass(mep_model *model, mep_dtype dtype, int64_t split, int first, int recompute)
{
    enum { N = 2 * LENGTH };
    int32_t tokens[N + 1];
    float losses[N];
    pass p = {.gradients = allocate(model->size, sizeof(float))};
    mep_session *session;
    mep_session_settings s;
    mep_session_defaults(&s);
    s.batch = 2 / split, s.length = LENGTH, s.dtype = dtype, s.training = 1, s.recompute = recompute;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_OK);
    random_tokens(tokens, N + 1);
    if (first) memset(p.gradients, 0xFF, (size_t)model->size * sizeof(float));
    for (int64_t i = 0; i < split; i++)
        assert_int_equal(mep_session_train(session,
                                           &(mep_train_batch){.batch = s.batch,
                                                              .length = LENGTH,
                                                              .inputs = tokens + i * LENGTH,
                                                              .targets = tokens + i * LENGTH + 1,
                                                              .scale = 1.0f / N,
                                                              .accumulate = !(i == 0 && first)},
                                           losses + i * LENGTH, p.gradients),
                         MEP_OK);
    p.loss = mean(losses, N);
    mep_session_destroy(&session);
    return p;
}

/* Each tensor's gradient as the slope of the loss along itself. */
static void check_slopes(mep_model *model, const char *what)
{
    pass at = run_pass(model, MEP_FLOAT32, 1, 0, 0);
    for (int64_t t = 0; t < model->count; t++) {
        float *values = model->tensors[t].data;
        int64_t size = model->tensors[t].size;
        const float *g = at.gradients + mep_tensor_offset(model, t);
        double norm = 0, loss[2];
        for (int64_t i = 0; i < size; i++) norm += (double)g[i] * (double)g[i];
        norm = sqrt(norm);
        if (norm < 1e-3) continue;
        double h = fmin(2e-3 / norm, 0.02);
        float *kept = allocate(size, sizeof *kept);
        memcpy(kept, values, (size_t)size * sizeof *kept);
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < size; i++)
                values[i] = kept[i] + (float)((side == 0 ? -h : h) * (double)g[i] / norm);
            pass moved = run_pass(model, MEP_FLOAT32, 1, 0, 0);
            loss[side] = moved.loss;
            free(moved.gradients);
        }
        memcpy(values, kept, (size_t)size * sizeof *kept);
        free(kept);
        double slope = (loss[1] - loss[0]) / (2 * h);
        if (!(fabs(slope / norm - 1) < 0.02))
            fail_msg("%s: %s: slope %g, gradient %g", what, model->tensors[t].name, slope, norm);
    }
    free(at.gradients);
}

static void test_switches(void **state)
{
    (void)state;
    enum { CASES = 12 };
    static const int bits[CASES] = {1, 2, 4, 8, 16, 31, 1 + 4 + 8, 2 + 4 + 8, 0, 0, 1, 31};
    static const int64_t head_dims[CASES] = {0, 0, 0, 0, 0, 0, 0, 0, 12, 6, 14, 5};
    static const char *const positions[CASES] = {"rotary",  "mep", "learned", "alibi",  "mep_param", "mep",
                                                 "learned", "mep", "t5",      "rotary", "rotary",    "mep_param"};
    for (int i = 0; i < CASES; i++) {
        char what[80];
        mep_model *model = switched(bits[i], head_dims[i], positions[i]);
        snprintf(what, sizeof what, "switches %d, %s, head_dim %d", bits[i], positions[i], (int)head_dims[i]);
        check_slopes(model, what);
        pass whole = run_pass(model, MEP_FLOAT32, 1, 0, 0), split = run_pass(model, MEP_FLOAT32, 2, 1, 0),
             again = run_pass(model, MEP_FLOAT32, 1, 1, 1), half = run_pass(model, MEP_BFLOAT16, 1, 0, 0);
        if (!(relative_difference(split.gradients, whole.gradients, model->size) < 1e-5)) fail_msg("%s: split", what);
        if (!(relative_difference(again.gradients, whole.gradients, model->size) < 1e-6))
            fail_msg("%s: recomputed, over old gradients", what);
        if (!(relative_difference(half.gradients, whole.gradients, model->size) < 0.06)) fail_msg("%s: bfloat16", what);
        free(whole.gradients), free(split.gradients), free(again.gradients), free(half.gradients);
        mep_model_destroy(&model);
    }
}

/* Keys that are missing or null are what transformers takes then. */
static void test_defaults(void **state)
{
    (void)state;
    for (int null = 0; null < 2; null++) {
        char path[1100];
        json_t *neox = NULL, *gpt2 = NULL;
        mep_model_config c;
        snprintf(path, sizeof path, "%s/config.json", family_folder("neox"));
        assert_int_equal(mep_json_load(path, &neox), MEP_OK);
        snprintf(path, sizeof path, "%s/config.json", family_folder("gpt2"));
        assert_int_equal(mep_json_load(path, &gpt2), MEP_OK);
        static const char *const keys[] = {"intermediate_size", "max_position_embeddings", "layer_norm_eps",
                                           "use_parallel_residual", "rope_parameters"};
        for (int i = 0; i < 5; i++) {
            assert_int_equal(json_object_del(neox, keys[i]), 0);
            if (null) json_object_set_new(neox, keys[i], json_null());
        }
        assert_int_equal(mep_model_config_from_json(neox, "config.json", &c), MEP_OK);
        assert_int_equal(c.intermediate_size, 24576); /* of any hidden_size */
        assert_int_equal(c.max_position_embeddings, 2048);
        assert_true(c.layer_norm_eps == 1e-5 && c.rotary_emb_base == 10000 && c.rotary_pct == 0.25);
        assert_int_equal(c.residual, MEP_RESIDUAL_PARALLEL);
        json_object_del(gpt2, "n_inner"), json_object_del(gpt2, "n_positions");
        if (null) json_object_set_new(gpt2, "n_inner", json_null());
        assert_int_equal(mep_model_config_from_json(gpt2, "config.json", &c), MEP_OK);
        assert_int_equal(c.intermediate_size, 4 * c.hidden_size);
        assert_int_equal(c.max_position_embeddings, 1024);
        json_decref(neox);
        json_decref(gpt2);
    }
}

/* ---- What is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *family, *changes, *message;
    } cases[] = {
        {"neox", "{\"attention_bias\": false}", "attention_bias"},
        {"neox", "{\"rope_scaling\": {\"type\": \"proportional\", \"factor\": 2.0}}", "\"type proportional\""},
        {"neox", "{\"rope_parameters\": {\"rope_type\": \"axial\"}}", "\"rope_type axial\" in \"rope_parameters\""},
        {"neox", "{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\"}}}", "full_attention"},
        {"neox", "{\"rope_parameters\": {\"mrope_section\": [2, 2]}}", "mrope_section"},
        {"neox", "{\"hidden_act\": \"relu\"}", "hidden_act"},
        {"bloom", "{\"apply_residual_connection_post_layernorm\": true}", "apply_residual_connection_post_layernorm"},
        {"mpt", "{\"attn_config\": {\"alibi\": false}}", "attn_config.alibi"},
        {"mpt", "{\"attn_config\": {\"qk_ln\": true}}", "attn_config.qk_ln"},
        {"mpt", "{\"attn_config\": {\"clip_qkv\": 6.0}}", "attn_config.clip_qkv"},
        {"mpt", "{\"attn_config\": {\"softmax_scale\": 0.1}}", "attn_config.softmax_scale"},
        {"mpt", "{\"attn_config\": {\"attn_type\": \"multiquery_attention\"}}", "attn_config.attn_type"},
        {"mpt", "{\"logit_scale\": 2.0}", "logit_scale"},
        {"mpt", "{\"no_bias\": false}", "no_bias"},
        {"mpt", "{\"expansion_ratio\": 2}", "expansion_ratio"},
        {"gpt2", "{\"scale_attn_by_inverse_layer_idx\": true}", "scale_attn_by_inverse_layer_idx"},
        {"gpt2", "{\"reorder_and_upcast_attn\": true}", "reorder_and_upcast_attn"},
        {"gpt2", "{\"scale_attn_weights\": false}", "scale_attn_weights"},
        {"gpt2", "{\"model_type\": \"opt\"}", "\"opt\" is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[1100];
        json_t *root = NULL, *changes = json_loads(cases[i].changes, 0, NULL);
        mep_model_config c;
        snprintf(path, sizeof path, "%s/config.json", family_folder(cases[i].family));
        assert_int_equal(mep_json_load(path, &root), MEP_OK);
        assert_non_null(changes);
        assert_int_equal(mep_model_config_from_json(root, "config.json", &c), MEP_OK);
        json_object_update(root, changes);
        if (mep_model_config_from_json(root, "config.json", &c) != MEP_ERROR_UNSUPPORTED)
            fail_msg("%s %s: not refused", cases[i].family, cases[i].changes);
        if (strstr(mep_error_message(), cases[i].message) == NULL) fail_msg("%s", mep_error_message());
        json_decref(root);
        json_decref(changes);
    }
}

/* A model in shards whose index is wrong, or of which a shard is missing. */
static void test_wrong_shards(void **state)
{
    (void)state;
    static const char first[] = "model-00001-of-00003.safetensors", second[] = "model-00002-of-00003.safetensors",
                      third[] = "model-00003-of-00003.safetensors", list[] = "model.safetensors.index.json";
    static const struct {
        const char *index, *message;
    } cases[] = {
        {"{}", "no object \"weight_map\""},
        {"{\"weight_map\": {\"a\": \"../model.safetensors\"}}", "must name files of its folder"},
        {"{\"weight_map\": {\"a\": 5}}", "must name files of its folder"},
        {"{\"weight_map\": {\"a\": \"model-00001-of-00003.safetensors\"}}", "names a tensor"},
        {"{\"weight_map\": {\"transformer.word_embeddings.weight\": \"model-00001-of-00003.safetensors\"}}",
         "names 1 tensors"},
        {"{\"weight_map\": {\"a\": \"missing.safetensors\"}}", "missing.safetensors"},
    };
    char path[700];
    const char *out = folder("shards"), *from = family_folder("bloom");
    mep_model *model = NULL;
    copy_file(from, out, first), copy_file(from, out, second), copy_file(from, out, "config.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "%s/%s", out, list);
        assert_int_equal(mep_file_write_atomic(path, cases[i].index, (int64_t)strlen(cases[i].index)), MEP_OK);
        assert_int_not_equal(mep_model_load(&model, out), MEP_OK);
        if (strstr(mep_error_message(), cases[i].message) == NULL) fail_msg("%s", mep_error_message());
    }
    copy_file(from, out, list);
    assert_int_equal(mep_model_load(&model, out), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), third));
    copy_file(from, out, third);
    assert_int_equal(mep_model_load(&model, out), MEP_OK);
    mep_model_destroy(&model);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* Loading and exporting fail in good order wherever memory is short. */
static void test_short_memory(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        const char *out = folder("memory");
        mep_save_settings s = {.dtype = MEP_BFLOAT16, .shard_size = 9000};
        mep_status status = MEP_ERROR_MEMORY;
        int64_t n = 1;
        for (; status != MEP_OK && n < 1000; n++) {
            mep_model *model = NULL;
            mep_fail_allocation(n);
            status = mep_model_load_as(&model, family_folder(FAMILIES[f]), "mep_param", 1);
            if (status == MEP_OK) status = mep_model_export(model, out, &s, NULL);
            mep_model_destroy(&model);
            mep_fail_allocation(0);
            if (status != MEP_OK && status != MEP_ERROR_MEMORY) fail_msg("%s", mep_error_message());
        }
        assert_int_equal(status, MEP_OK);
        assert_true(n > 20);
    }
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),        cmocka_unit_test(test_greedy),       cmocka_unit_test(test_windows),
        cmocka_unit_test(test_export),        cmocka_unit_test(test_export_names), cmocka_unit_test(test_export_own),
        cmocka_unit_test(test_swap),          cmocka_unit_test(test_switches),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_wrong_shards),  cmocka_unit_test(test_short_memory), cmocka_unit_test(test_bias_max),
        cmocka_unit_test(test_save_settings), cmocka_unit_test(test_save_refused), cmocka_unit_test(test_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
