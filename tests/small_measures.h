/* SPDX-License-Identifier: MIT */
/*
 * What the tests of measures share: models whose losses differ from token to token, calls, and comparisons. It tests
 * nothing itself. The including file defines _POSIX_C_SOURCE.
 */
#ifndef MEP_TESTS_SMALL_MEASURES_H
#define MEP_TESTS_SMALL_MEASURES_H

#include "small_data.h"

#include "mep/measure.h"

/* A model whose losses differ from token to token: new weights, made larger. */
static inline mep_model *lively_model(const char *position)
{
    mep_train_settings s = settings_for(position);
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int64_t t = 0; t < model->count; t++)
        for (int64_t i = 0; model->tensors[t].ndim == 2 && i < model->tensors[t].size; i++)
            ((float *)model->tensors[t].data)[i] *= 8;
    return model;
}

/* The same without attention: a loss depends on the token and the one before it alone. */
static inline mep_model *forgetful_model(void)
{
    mep_model *model = lively_model("nope");
    for (int64_t layer = 0; layer < model->config.num_hidden_layers; layer++) {
        mep_tensor *t = &model->tensors[mep_tensor_index(model, DENSE_WEIGHT, layer)];
        memset(t->data, 0, (size_t)t->size * sizeof(float));
    }
    return model;
}

static inline mep_dataset *open_data(void)
{
    mep_dataset *data;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    return data;
}

static inline void compute_losses(mep_model *model, const mep_dataset *data, int64_t start, int64_t length,
                                  float *losses)
{
    mep_session *session;
    mep_session_settings s;
    int32_t *tokens = calloc((size_t)length + 1, sizeof *tokens);
    mep_session_defaults(&s);
    s.length = length;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_OK);
    assert_int_equal(mep_dataset_read(data, start, length + 1, tokens), MEP_OK);
    assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
    mep_session_destroy(&session);
    free(tokens);
}

static inline void assert_near(double found, double wanted, double tolerance, const char *what)
{
    if (!(fabs(found - wanted) <= tolerance * fmax(1, fabs(wanted))))
        fail_msg("%s: %.12g, not %.12g", what, found, wanted);
}

static inline const mep_measure_value *find(const mep_measure *m, const char *name, int64_t length, double at)
{
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].length == length &&
            (m->values[i].at == at || (isnan(at) && isnan(m->values[i].at))))
            return &m->values[i];
    fail_msg("no %s at length %d, %g", name, (int)length, at);
    return NULL;
}

typedef mep_status (*measure_fn)(const mep_measure_call *call, mep_measure *measure);

static inline mep_status measure_with(measure_fn measure, mep_model *model, const mep_dataset *data,
                                      const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .data = data, .settings = settings};
    return measure(&call, m);
}

static inline mep_status copy_with(mep_model *model, const mep_dataset *data, int64_t gap,
                                   const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .data = data, .settings = settings};
    return mep_measure_copy_gain(&call, gap, m);
}

static inline mep_measure_settings small_settings(void)
{
    mep_measure_settings s;
    mep_measure_defaults(&s);
    s.length = 72, s.samples = 40, s.max_tokens = 800, s.copy_tokens = 9, s.batch_tokens = 200;
    return s;
}

static inline void refuse(mep_status status, const char *text, mep_status found)
{
    assert_int_equal(found, status);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("\"%s\" is not in: %s", text, mep_error_message());
}

static inline mep_status copy_gain(const mep_measure_call *call, mep_measure *measure)
{
    return mep_measure_copy_gain(call, 30, measure);
}

/* Every measure of a model on data. */
static const measure_fn MEASURES[] = {mep_measure_by_position, mep_measure_context_gain, copy_gain,
                                      mep_measure_blindness};
enum { MEASURE_COUNT = sizeof MEASURES / sizeof *MEASURES };

static inline void assert_same(const mep_measure *found, const mep_measure *wanted, const char *what)
{
    assert_int_equal(found->count, wanted->count);
    for (int64_t i = 0; i < wanted->count; i++) {
        const mep_measure_value *f = &found->values[i], *w = &wanted->values[i];
        assert_string_equal(f->name, w->name);
        if (!(f->value == w->value && (f->standard_error == w->standard_error || isnan(w->standard_error))))
            fail_msg("%s: %s %s at %g: %.17g, not %.17g", what, wanted->name, w->name, w->at, f->value, w->value);
    }
}

#endif
