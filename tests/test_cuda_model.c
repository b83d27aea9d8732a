/* SPDX-License-Identifier: MIT */
/*
 * Models on CUDA compared with the same models on the CPU in bfloat16: logits, losses, gradients, generated tokens, and
 * training runs with their checkpoints. Both round in the same way but sum in different orders, so they agree within
 * the noise of bfloat16; repeated computations on CUDA are bit-identical. Without a GPU the kernels run under the
 * emulator of tests/emulator.
 */
#define _POSIX_C_SOURCE 200809L

#include "cuda_device.h"
#include "model/kv_windows.h"
#include "small_model.h"

static mep_session *session_on(mep_device device, mep_model *model, int64_t batch, int64_t length, int training)
{
    mep_session_settings s;
    mep_session *session;
    mep_session_defaults(&s);
    s.batch = batch, s.length = length, s.dtype = MEP_BFLOAT16, s.training = training, s.device = device;
    if (mep_session_create(&session, model, &s) != MEP_OK) fail_msg("%s", mep_error_message());
    return session;
}

static void is_close(const char *what, const char *name, const float *x, const float *y, int64_t n, double bound)
{
    double difference = relative_difference(x, y, n);
    if (!(difference <= bound)) fail_msg("%s of %s: off by %.3g, bound %.3g", what, name, difference, bound);
}

/* ---- Passes ---- */

static void compare_forward(mep_model *model, const char *name)
{
    int32_t tokens[BATCH * LENGTH + 1];
    float *logits[2], losses[2][3];
    random_tokens(tokens, BATCH * LENGTH + 1);
    for (int d = 0; d < 2; d++) {
        mep_session *session = session_on((mep_device)d, model, BATCH, LENGTH, 0);
        logits[d] = allocate(BATCH * LENGTH * VOCAB, sizeof **logits);
        check(mep_session_logits(session, BATCH, LENGTH, tokens, logits[d]));
        check(mep_session_losses(session, 1, 3, tokens, tokens + 1, losses[d])); /* a smaller call */
        mep_session_destroy(&session);
    }
    is_close("logits", name, logits[1], logits[0], BATCH * LENGTH * VOCAB, 0.01);
    is_close("losses", name, losses[1], losses[0], 3, 0.01);
    free(logits[0]);
    free(logits[1]);
}

/* Losses and gradients of two micro-batches, copied to host memory. */
static float *gradients_on(mep_device device, mep_model *model, float *losses)
{
    int32_t tokens[BATCH * LENGTH + 1];
    int64_t half = BATCH / 2 * LENGTH, bytes = model->size * (int64_t)sizeof(float);
    float *there = NULL, *gradients = allocate(model->size, sizeof *gradients);
    random_tokens(tokens, BATCH * LENGTH + 1);
    mep_session *session = session_on(device, model, BATCH / 2, LENGTH, 1);
    check(mep_device_array(device, &there, model->size, sizeof *there));
    for (int64_t first = 0; first < 2 * half; first += half) /* adds the second to the first */
        check(mep_session_train(session,
                                &(mep_train_batch){.batch = BATCH / 2,
                                                   .length = LENGTH,
                                                   .inputs = tokens + first,
                                                   .targets = tokens + first + 1,
                                                   .scale = 1.0f / BATCH,
                                                   .accumulate = first > 0},
                                losses + first, there));
    check(mep_device_read(device, gradients, there, bytes));
    mep_device_release(device, &there);
    mep_session_destroy(&session);
    return gradients;
}

static void compare_backward(mep_model *model, const char *name, int twice)
{
    float *gradients[3], losses[3][BATCH * LENGTH];
    for (int d = 0; d < 2 + twice; d++)
        gradients[d] = gradients_on(d > 0 ? MEP_DEVICE_CUDA : MEP_DEVICE_CPU, model, losses[d]);
    is_close("losses", name, losses[1], losses[0], BATCH * LENGTH, 0.01);
    for (int64_t t = 0; t < model->count; t++) {
        char what[200];
        int64_t at = mep_tensor_offset(model, t);
        snprintf(what, sizeof what, "gradient of %s", model->tensors[t].name);
        is_close(what, name, gradients[1] + at, gradients[0] + at, model->tensors[t].size,
                 model->tensors[t].ndim == 2 ? 0.02 : 0.04);
    }
    if (twice) assert_memory_equal(gradients[1], gradients[2], (size_t)model->size * sizeof(float));
    if (twice) assert_memory_equal(losses[1], losses[2], sizeof *losses);
    for (int d = 0; d < 2 + twice; d++) free(gradients[d]);
}

static void test_encodings(void **state)
{
    (void)state;
    static const char *const encodings[] = {"mep_param", "sinusoidal", "learned", "rotary",
                                            "rotary:scaling=dynamic,factor=4,original=30|nope"};
    for (int e = 0; e < 5; e++) {
        mep_model *model = small_model(encodings[e]);
        compare_forward(model, encodings[e]);
        compare_backward(model, encodings[e], e == 0);
        mep_model_destroy(&model);
    }
}

/* The options of the other families; recomputation is tested in the trainer below. */
static void test_families(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        mep_model *base = small_model("alibi"), *model;
        mep_model_config c = base->config;
        char name[40];
        c.residual = (mep_residual)(i == 0), c.mlp = (mep_mlp)(i == 1), c.tie_word_embeddings = i == 2;
        c.embedding_layer_norm = i == 3, c.no_bias = i == 4, c.head_dim = i == 5 ? 24 : 0;
        snprintf(name, sizeof name, "family %d", i);
        check(mep_model_create(&model, &c, 3));
        compare_forward(model, name);
        compare_backward(model, name, 0);
        mep_model_destroy(&model);
        mep_model_destroy(&base);
    }
}

/* ---- Generation ---- */

/* Logits after each of the tokens, which come in calls of up to `call`. */
static float *continue_on(mep_device device, mep_model *model, const int32_t *tokens, int64_t count, int64_t call)
{
    mep_session_settings s;
    mep_session *session;
    float *logits = allocate(count * VOCAB, sizeof *logits);
    mep_session_defaults(&s);
    s.length = call, s.dtype = MEP_BFLOAT16, s.device = device;
    check(mep_session_create_cached(&session, model, &s, count, 0));
    for (int64_t i = 0, n = 0; i < count; i += n) {
        n = i == 0 ? call : 1;
        check(mep_session_next(session, n, tokens + i, logits + (i + n - 1) * VOCAB));
    }
    mep_session_destroy(&session);
    return logits;
}

/* Long enough that the window of the steep heads ends, that arrays grow, and that their tokens are moved to the front.
 */
static void test_cache(void **state)
{
    (void)state;
    enum { COUNT = 4 * LENGTH, CALL = 250 };
    static const char *const encodings[] = {"mep", "exp:c=4",
                                            "rotary:scaling=yarn,factor=4,original=64|rotary:base=500"};
    int32_t tokens[COUNT];
    random_tokens(tokens, COUNT);
    for (int e = 0; e < 3; e++) {
        mep_model *model = small_model_with(encodings[e], e == 1 ? 24 : 0);
        float *expected = continue_on(MEP_DEVICE_CPU, model, tokens, COUNT, CALL);
        float *found = continue_on(MEP_DEVICE_CUDA, model, tokens, COUNT, CALL);
        is_close("logits", encodings[e], found, expected, COUNT * VOCAB, 0.01);
        free(expected);
        free(found);
        mep_model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_cache),
    };
    return device_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
