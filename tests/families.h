/* SPDX-License-Identifier: MIT */
/*
 * What the tests of families share: the models in golden/families, the logits that transformers gave for them, and
 * folders to write into. It tests nothing itself.
 */
#ifndef MEP_TESTS_FAMILIES_H
#define MEP_TESTS_FAMILIES_H

#include "small_model.h"

#include <jansson.h>

#include "base/memory.h"
#include "golden.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "scratch.h"

static const char *const FAMILIES[] = {"neox", "neox_sequential", "neox_yarn", "bloom", "mpt", "gpt2"};
enum { FAMILY_COUNT = sizeof FAMILIES / sizeof *FAMILIES };
static const double LOGITS = 2e-5; /* absolute; the logits are of size 6, and transformers is off by 4e-6 itself */

static inline const char *family_folder(const char *name)
{
    static char path[1000];
    snprintf(path, sizeof path, "%s/%s", GOLDEN_OWN("families"), name);
    return path;
}

static inline mep_model *load(const char *folder, const char *position)
{
    mep_model *model = NULL;
    if (mep_model_load_as(&model, folder, position, 1) != MEP_OK) fail_msg("%s", mep_error_message());
    return model;
}

/* "logits" (float32), "tokens" or "greedy" (integers) of a family's expected.safetensors, as float64. */
static inline double *expected(const char *name, const char *tensor, int64_t *size)
{
    char path[1100];
    mep_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/expected.safetensors", family_folder(name));
    if (mep_safetensors_open(&file, path) != MEP_OK) fail_msg("%s", mep_error_message());
    const mep_safetensors_entry *e = mep_safetensors_find(file, tensor);
    assert_non_null(e);
    double *values = allocate(e->size, sizeof *values);
    *size = e->size;
    if (strcmp(e->dtype, "I64") == 0) {
        int64_t *wide = allocate(e->size, sizeof *wide);
        assert_int_equal(mep_safetensors_read(file, tensor, MEP_INT64, e->ndim, e->shape, wide), MEP_OK);
        for (int64_t i = 0; i < e->size; i++) values[i] = (double)wide[i];
        free(wide);
    } else
        assert_int_equal(mep_safetensors_read(file, tensor, MEP_FLOAT64, e->ndim, e->shape, values), MEP_OK);
    mep_safetensors_close(&file);
    return values;
}

static inline int32_t *expected_tokens(const char *name, const char *tensor, int64_t *count)
{
    double *values = expected(name, tensor, count);
    int32_t *tokens = allocate(*count, sizeof *tokens);
    for (int64_t i = 0; i < *count; i++) tokens[i] = (int32_t)values[i];
    free(values);
    return tokens;
}

/* Largest |difference| of a model's logits from those that transformers gave. */
static inline double logit_error(mep_model *model, const char *name)
{
    int64_t count = 0, size = 0, vocab = model->config.vocab_size;
    int32_t *tokens = expected_tokens(name, "tokens", &count);
    double *want = expected(name, "logits", &size), worst = 0;
    assert_int_equal(size, count * vocab);
    mep_session *session = small_session(model, 2, count / 2, MEP_FLOAT32, 0);
    float *logits = allocate(size, sizeof *logits);
    assert_int_equal(mep_session_logits(session, 2, count / 2, tokens, logits), MEP_OK);
    for (int64_t i = 0; i < size; i++) {
        double off = fabs((double)logits[i] - want[i]);
        worst = isnan(off) ? INFINITY : fmax(worst, off);
    }
    mep_session_destroy(&session);
    free(logits), free(want), free(tokens);
    return worst;
}

enum { PROMPT = 8, GREEDY = 200 };

typedef struct made_text {
    int32_t tokens[GREEDY];
    int64_t count;
} made_text;

static inline int take(void *context, int32_t token)
{
    made_text *t = context;
    t->tokens[t->count++] = token;
    return 0;
}

/* 200 greedy tokens with the cache, each that of transformers. */
static inline void check_greedy(mep_model *model, const char *name)
{
    int64_t count = 0;
    int32_t *want = expected_tokens(name, "greedy", &count);
    made_text made = {.count = 0};
    mep_generate_settings s;
    mep_generate_defaults(&s);
    s.max_tokens = GREEDY, s.temperature = 0;
    assert_int_equal(count, PROMPT + GREEDY);
    assert_int_equal(mep_generate(model, want, PROMPT, &s, take, &made), MEP_OK);
    assert_int_equal(made.count, GREEDY);
    for (int i = 0; i < GREEDY; i++)
        if (made.tokens[i] != want[PROMPT + i]) fail_msg("%s: token %d differs", name, i);
    free(want);
}

/* The configuration of a family with changes; an object within it is updated. */
static inline mep_status read_changed(const char *family, const char *changes, mep_model_config *c)
{
    char path[1100];
    const char *key;
    json_t *root = NULL, *update = json_loads(changes, 0, NULL), *value;
    snprintf(path, sizeof path, "%s/config.json", family_folder(family));
    assert_int_equal(mep_json_load(path, &root), MEP_OK);
    assert_non_null(update);
    json_object_foreach(update, key, value) if (json_is_object(value) && json_is_object(json_object_get(root, key)))
        json_object_update(json_object_get(root, key), value);
    else json_object_set(root, key, value);
    mep_status status = mep_model_config_from_json(root, "config.json", c);
    json_decref(root);
    json_decref(update);
    return status;
}

/* A folder of this test, made anew. */
static inline const char *folder(const char *name)
{
    static char path[4][600];
    static int next;
    char *place = path[next++ % 4];
    snprintf(place, sizeof path[0], "%s", scratch_path(name));
    assert_int_equal(mep_remove_tree(place), MEP_OK);
    assert_int_equal(mep_make_folder(place, 1), MEP_OK);
    return place;
}

static inline void copy_file(const char *from, const char *to, const char *name)
{
    char path[1300], *data = NULL;
    int64_t size = 0;
    snprintf(path, sizeof path, "%s/%s", from, name);
    assert_int_equal(mep_file_read(path, 1 << 24, &data, &size), MEP_OK);
    snprintf(path, sizeof path, "%s/%s", to, name);
    assert_int_equal(mep_file_write_atomic(path, data, size), MEP_OK);
    mep_free(&data);
}

#endif
