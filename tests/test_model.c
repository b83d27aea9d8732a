/* SPDX-License-Identifier: MIT */
/*
 * The model against the golden files: logits, every gradient, five AdamW steps, every parameter after them, the loss at eight
 * times the length; then identities (causality, prefixes, recomputation, micro-batches, threads, bfloat16) and wrong calls.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "golden.h"
#include "io/safetensors.h"
#include "model/session.h"
#include "train/adamw.h"

static int64_t checks;

static void *allocate(int64_t count, size_t size)
{
    void *p = calloc((size_t)count, size);
    assert_non_null(p);
    return p;
}

static void *read_expected(mep_safetensors *file, const char *name, mep_dtype dtype, int64_t *size)
{
    const mep_safetensors_entry *e = mep_safetensors_find(file, name);
    if (e == NULL) fail_msg("expected.safetensors has no %s", name);
    void *data = allocate(e->size, 8);
    assert_int_equal(mep_safetensors_read(file, name, dtype, e->ndim, e->shape, data), MEP_OK);
    if (size != NULL) *size = e->size;
    return data;
}

/* `count` tokens from a tensor of int64. */
static int32_t *tokens_of(mep_safetensors *file, const char *name, int64_t *size)
{
    int64_t *wide = read_expected(file, name, MEP_INT64, size);
    int32_t *tokens = allocate(*size, sizeof *tokens);
    for (int64_t i = 0; i < *size; i++) tokens[i] = (int32_t)wide[i];
    free(wide);
    return tokens;
}

static void close_to(const char *model, const char *what, int64_t i, double found, double expected, double bound)
{
    if (!(fabs(found - expected) <= bound))
        fail_msg("%s: %s[%lld] is %.9g, expected %.9g (bound %.2g)", model, what, (long long)i, found, expected, bound);
    checks++;
}

typedef struct golden {
    const char *name;
    mep_model *model;
    mep_safetensors *expected;
    int64_t steps, batch, length;
    int32_t *tokens; /* [steps, batch, length + 1] */
    mep_session *session;
    float *losses, *gradients;
    double worst_gradient; /* largest value of any gradient of step 1 */
} golden;

/* inputs and targets of step `step` */
static void batch_of(const golden *g, int64_t step, int32_t *inputs, int32_t *targets)
{
    for (int64_t b = 0; b < g->batch; b++)
        for (int64_t t = 0; t < g->length; t++) {
            const int32_t *row = g->tokens + (step * g->batch + b) * (g->length + 1);
            inputs[b * g->length + t] = row[t];
            targets[b * g->length + t] = row[t + 1];
        }
}

static double mean(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    return sum / (double)n;
}

static void check_logits(golden *g)
{
    int64_t size, rows = g->batch * g->length;
    double *expected = read_expected(g->expected, "logits", MEP_FLOAT64, &size);
    assert_int_equal(size, rows * g->model->config.vocab_size);
    float *logits = allocate(size, sizeof *logits);
    int32_t inputs[4096], targets[4096];
    assert_true(rows <= 4096);
    batch_of(g, 0, inputs, targets);
    assert_int_equal(mep_session_logits(g->session, g->batch, g->length, inputs, logits), MEP_OK);
    for (int64_t i = 0; i < size; i++) close_to(g->name, "logits", i, (double)logits[i], expected[i], 3e-6);
    free(expected);
    free(logits);
}

/* One step; the gradients of the first are compared, each to the rounding of float32 at the size of its tensor. */
static void check_step(golden *g, mep_adamw *optimizer, int64_t step, const double *losses, const double *norms)
{
    int32_t inputs[4096], targets[4096];
    int64_t rows = g->batch * g->length;
    batch_of(g, step, inputs, targets);
    memset(g->gradients, 0, (size_t)g->model->size * sizeof *g->gradients);
    assert_int_equal(mep_session_refresh(g->session), MEP_OK);
    assert_int_equal(mep_session_train(g->session, g->batch, g->length, inputs, targets, 1.0f / (float)rows, g->losses, g->gradients), MEP_OK);
    close_to(g->name, "loss", step, mean(g->losses, rows), losses[step], 2e-6);
    double norm = mep_adamw_norm(optimizer, g->gradients);
    close_to(g->name, "gradient norm", step, norm, norms[step], 1e-5 * norms[step]);
    for (int64_t t = 0; step == 0 && t < g->model->count; t++) {
        char name[160];
        snprintf(name, sizeof name, "grad.%s", g->model->tensors[t].name);
        double *expected = read_expected(g->expected, name, MEP_FLOAT64, NULL), largest = 0;
        int64_t offset = mep_tensor_offset(g->model, t), size = g->model->tensors[t].size;
        for (int64_t i = 0; i < size; i++) largest = fmax(largest, fabs(expected[i]));
        for (int64_t i = 0; i < size; i++)
            close_to(g->name, name, i, (double)g->gradients[offset + i], expected[i], 2e-5 * largest + 1e-8);
        free(expected);
    }
    mep_adamw_step_run(optimizer, g->model, g->gradients, norm, 1e-3);
}

/*
 * Parameters after the steps. AdamW divides a gradient by its own size, so where that is as small as the rounding error (the
 * bias of keys has none at all under a softmax without rotary) float32 cannot agree with float64 to better than a share of
 * the learning rate; everywhere else it does. Bound: 1e-6 + lr * steps * (rounding / |gradient of step 1|), at most lr * steps.
 */
static void check_parameters(golden *g)
{
    double total = 0, far = 0;
    for (int64_t t = 0; t < g->model->count; t++) {
        char name[160], gradient_name[160];
        snprintf(name, sizeof name, "final.%s", g->model->tensors[t].name);
        snprintf(gradient_name, sizeof gradient_name, "grad.%s", g->model->tensors[t].name);
        double *expected = read_expected(g->expected, name, MEP_FLOAT64, NULL);
        double *gradient = read_expected(g->expected, gradient_name, MEP_FLOAT64, NULL);
        const float *found = g->model->tensors[t].data;
        for (int64_t i = 0; i < g->model->tensors[t].size; i++) {
            double steps = 1e-3 * (double)g->steps, bound = 2e-6 + steps * fmin(1, 1e-6 / (fabs(gradient[i]) + 1e-12));
            close_to(g->name, name, i, (double)found[i], expected[i], bound);
            total += 1;
            far += fabs((double)found[i] - expected[i]) > 1e-5;
        }
        free(expected);
        free(gradient);
    }
    if (!(far <= 0.01 * total)) fail_msg("%s: %.0f of %.0f parameters are off by more than 1e-5", g->name, far, total);
}

static void check_long(golden *g)
{
    int64_t size;
    int32_t *tokens = tokens_of(g->expected, "long_tokens", &size);
    double *expected = read_expected(g->expected, "long_loss", MEP_FLOAT64, NULL);
    mep_session_settings settings;
    mep_session *session;
    mep_session_defaults(&settings);
    settings.length = size - 1;
    float *losses = allocate(size, sizeof *losses);
    assert_int_equal(mep_session_create(&session, g->model, &settings), MEP_OK);
    assert_int_equal(mep_session_losses(session, 1, size - 1, tokens, tokens + 1, losses), MEP_OK);
    close_to(g->name, "long loss", 0, mean(losses, size - 1), *expected, 2e-5);
    mep_session_destroy(&session);
    free(tokens);
    free(losses);
    free(expected);
}

static void check_golden(const char *name, int recompute)
{
    golden g = {.name = name};
    char folder[4096], path[4200];
    char relative[128];
    snprintf(relative, sizeof relative, "gpt_%s", name);
    snprintf(folder, sizeof folder, "%s", golden_path(relative));
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    if (mep_model_load(&g.model, folder) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(mep_safetensors_open(&g.expected, path), MEP_OK);
    const mep_safetensors_entry *tokens = mep_safetensors_find(g.expected, "tokens");
    assert_true(tokens != NULL && tokens->ndim == 3);
    g.steps = tokens->shape[0], g.batch = tokens->shape[1], g.length = tokens->shape[2] - 1;
    int64_t size;
    g.tokens = tokens_of(g.expected, "tokens", &size);
    mep_session_settings settings;
    mep_session_defaults(&settings);
    settings.batch = g.batch, settings.length = g.length, settings.training = 1, settings.recompute = recompute;
    if (mep_session_create(&g.session, g.model, &settings) != MEP_OK) fail_msg("%s", mep_error_message());
    g.losses = allocate(g.batch * g.length, sizeof *g.losses);
    g.gradients = allocate(g.model->size, sizeof *g.gradients);

    check_logits(&g);
    double *losses = read_expected(g.expected, "losses", MEP_FLOAT64, NULL), *norms = read_expected(g.expected, "grad_norms", MEP_FLOAT64, NULL);
    mep_adamw_settings adamw = {0.9, 0.999, 1e-8, 0.01, 1.0};
    mep_adamw *optimizer;
    assert_int_equal(mep_adamw_create(&optimizer, g.model, &adamw), MEP_OK);
    for (int64_t step = 0; step < g.steps; step++) check_step(&g, optimizer, step, losses, norms);
    assert_int_equal(mep_session_refresh(g.session), MEP_OK);
    check_parameters(&g);
    check_long(&g);

    mep_adamw_destroy(&optimizer);
    mep_session_destroy(&g.session);
    mep_safetensors_close(&g.expected);
    mep_model_destroy(&g.model);
    free(g.tokens);
    free(g.losses);
    free(g.gradients);
    free(losses);
    free(norms);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const names[] = {"alibi", "kerple_log", "kerple_power", "mep", "mep_param", "nope", "rotary", "sinusoidal", "t5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int recompute = 0; recompute < 2; recompute++) {
            int64_t before = checks;
            check_golden(names[i], recompute);
            assert_true(checks > before + 10000);
        }
}

/* ---- Identities on a small model ---- */

enum { BATCH = 4, LENGTH = 70, VOCAB = 50 };

static mep_model *small_model(const char *position)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = VOCAB, c.hidden_size = 48, c.num_attention_heads = 3, c.num_hidden_layers = 2, c.intermediate_size = 80;
    c.max_position_embeddings = 4 * LENGTH;
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", position);
    if (mep_model_create(&model, &c, 3) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < model->embed_out; i++) /* away from the tiny initial values */
        for (int64_t n = 0; n < model->tensors[i].size && model->tensors[i].ndim == 2; n++) ((float *)model->tensors[i].data)[n] *= 5;
    return model;
}

static void random_tokens(int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++) tokens[i] = (int32_t)(mep_random_bits(5, 1, (uint64_t)i) % VOCAB);
}

static mep_session *small_session(mep_model *model, int64_t batch, int64_t length, mep_dtype dtype, int training)
{
    mep_session_settings s;
    mep_session *session;
    mep_session_defaults(&s);
    s.batch = batch, s.length = length, s.dtype = dtype, s.training = training;
    if (mep_session_create(&session, model, &s) != MEP_OK) fail_msg("%s", mep_error_message());
    return session;
}

static const char *const ENCODINGS[] = {"mep", "mep_param", "alibi", "rotary", "sinusoidal", "learned", "nope", "sandwich",
                                        "mep/learn=weights,slopes"};
enum { ENCODING_COUNT = sizeof ENCODINGS / sizeof *ENCODINGS };

/* A future token changes no earlier loss, and a prefix gives what it gives inside a longer text. */
static void test_causality(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        mep_session *session = small_session(model, 1, LENGTH, MEP_FLOAT32, 0);
        int32_t tokens[LENGTH + 1];
        float whole[LENGTH], changed[LENGTH], prefix[LENGTH];
        random_tokens(tokens, LENGTH + 1);
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, whole), MEP_OK);
        assert_int_equal(mep_session_losses(session, 1, 33, tokens, tokens + 1, prefix), MEP_OK);
        tokens[60] = (tokens[60] + 1) % VOCAB;
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, changed), MEP_OK);
        assert_memory_equal(whole, changed, 59 * sizeof(float));
        assert_true(whole[61] != changed[61]);
        for (int i = 0; i < 33; i++) assert_true(fabsf(whole[i] - prefix[i]) < 1e-5f);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* Gradients of the sum of losses, with `split` micro-batches. */
static float *gradients_of(mep_model *model, mep_dtype dtype, int64_t split, double *loss)
{
    int32_t inputs[BATCH * LENGTH], targets[BATCH * LENGTH], tokens[BATCH * (LENGTH + 1)];
    float losses[BATCH * LENGTH], *gradients = allocate(model->size, sizeof *gradients);
    random_tokens(tokens, BATCH * (LENGTH + 1));
    for (int b = 0; b < BATCH; b++) {
        memcpy(inputs + b * LENGTH, tokens + b * (LENGTH + 1), LENGTH * sizeof *inputs);
        memcpy(targets + b * LENGTH, tokens + b * (LENGTH + 1) + 1, LENGTH * sizeof *targets);
    }
    mep_session *session = small_session(model, BATCH / split, LENGTH, dtype, 1);
    for (int64_t i = 0; i < split; i++) {
        int64_t first = i * BATCH / split * LENGTH;
        assert_int_equal(mep_session_train(session, BATCH / split, LENGTH, inputs + first, targets + first,
                                           1.0f / (BATCH * LENGTH), losses + first, gradients), MEP_OK);
    }
    if (loss != NULL) *loss = mean(losses, BATCH * LENGTH);
    mep_session_destroy(&session);
    return gradients;
}

static double relative_difference(const float *a, const float *b, int64_t n)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

static void test_micro_batches_and_threads(void **state)
{
    (void)state;
    int threads = mep_set_threads(0);
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        float *whole = gradients_of(model, MEP_FLOAT32, 1, NULL), *split = gradients_of(model, MEP_FLOAT32, 2, NULL);
        assert_true(relative_difference(split, whole, model->size) < 1e-5);
        for (int n = 1; n <= 4; n++) {
            mep_set_threads(n);
            float *again = gradients_of(model, MEP_FLOAT32, 1, NULL);
            assert_memory_equal(again, whole, (size_t)model->size * sizeof *again);
            free(again);
        }
        mep_set_threads(threads);
        free(whole);
        free(split);
        mep_model_destroy(&model);
    }
}

static void test_bfloat16(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        double loss32, loss16;
        float *exact = gradients_of(model, MEP_FLOAT32, 1, &loss32), *half = gradients_of(model, MEP_BFLOAT16, 1, &loss16);
        assert_true(fabs(loss16 / loss32 - 1) < 5e-3);
        double difference = relative_difference(half, exact, model->size);
        if (!(difference < 0.05)) fail_msg("%s: bfloat16 gradients are off by %g", ENCODINGS[e], difference);
        free(exact);
        free(half);
        mep_model_destroy(&model);
    }
}

/* Central differences of the loss along random directions of each tensor. */
static void test_finite_differences(void **state)
{
    (void)state;
    for (int e = 0; e < ENCODING_COUNT; e++) {
        mep_model *model = small_model(ENCODINGS[e]);
        float *gradient = gradients_of(model, MEP_FLOAT32, 1, NULL);
        for (int64_t t = 0; t < model->count; t++) {
            float *values = model->tensors[t].data;
            int64_t size = model->tensors[t].size, offset = mep_tensor_offset(model, t);
            double norm = 0;
            for (int64_t i = 0; i < size; i++) norm += (double)gradient[offset + i] * (double)gradient[offset + i];
            norm = sqrt(norm);
            if (norm < 1e-3) continue; /* too flat for float32 differences */
            double loss[2], h = fmin(1e-3 / norm, 0.05);
            float *kept = allocate(size, sizeof *kept);
            memcpy(kept, values, (size_t)size * sizeof *kept);
            for (int side = 0; side < 2; side++) { /* along the gradient itself */
                for (int64_t i = 0; i < size; i++)
                    values[i] = kept[i] + (float)((side == 0 ? -h : h) * (double)gradient[offset + i] / norm);
                free(gradients_of(model, MEP_FLOAT32, 1, &loss[side]));
            }
            memcpy(values, kept, (size_t)size * sizeof *kept);
            double slope = (loss[1] - loss[0]) / (2 * h);
            if (!(fabs(slope / norm - 1) < 0.05))
                fail_msg("%s: %s: slope %g, gradient %g", ENCODINGS[e], model->tensors[t].name, slope, norm);
            checks++;
            free(kept);
        }
        free(gradient);
        mep_model_destroy(&model);
    }
}

static void test_wrong_calls(void **state)
{
    (void)state;
    mep_model_config c;
    mep_model *model;
    mep_session *session;
    assert_int_equal(mep_model_preset("huge", &c), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "small"));
    mep_model_preset("nano", &c);
    c.num_attention_heads = 7;
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_ERROR_ARGUMENT);
    assert_null(model);
    mep_model_preset("nano", &c);
    snprintf(c.position_encoding, sizeof c.position_encoding, "mepp");
    assert_int_equal(mep_model_create(&model, &c, 1), MEP_ERROR_ARGUMENT);
    model = small_model("learned");
    mep_session_settings s;
    mep_session_defaults(&s);
    s.length = 4 * LENGTH + 1;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "learned"));
    s.length = 8;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_OK);
    int32_t tokens[9] = {0, 1, VOCAB};
    float losses[9];
    assert_int_equal(mep_session_losses(session, 1, 8, tokens, tokens, losses), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_session_losses(session, 1, 9, tokens, tokens, losses), MEP_ERROR_ARGUMENT);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),   cmocka_unit_test(test_causality),          cmocka_unit_test(test_micro_batches_and_threads),
        cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
