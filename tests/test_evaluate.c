/* SPDX-License-Identifier: MIT */
/*
 * Evaluation compared with a mean of the session's losses computed here, in batches of any size; dtype and tolerance;
 * and losses that are not finite.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

/* A model whose losses differ from token to token: random weights, scaled up. */
static mep_model *lively_model(const char *position)
{
    mep_train_settings s = settings_for(position);
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int64_t t = 0; t < model->count; t++)
        for (int64_t i = 0; model->tensors[t].ndim == 2 && i < model->tensors[t].size; i++)
            ((float *)model->tensors[t].data)[i] *= 8;
    return model;
}

/* Evaluation equals a mean of the session's losses computed here, for each protocol. */
static void test_evaluation(void **state)
{
    (void)state;
    enum { L = 24, N = 10 };
    mep_model *model;
    mep_dataset *data;
    mep_session *session;
    mep_session_settings ss;
    model = lively_model("mep_param");
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    mep_session_defaults(&ss);
    ss.length = L;
    assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
    for (int protocol = 0; protocol < 3; protocol++) {
        mep_eval_settings e;
        mep_eval_result result;
        mep_eval_defaults(&e);
        e.length = L;
        e.batch_tokens = 3 * L;
        int64_t stride = L;
        if (protocol == 1) e.stride = stride = 8;
        if (protocol == 2) e.last = 5;
        e.max_tokens = (N - 1) * stride + L;
        double sum = 0, means[N], mean_of_means = 0, squares = 0;
        int64_t scored = 0;
        for (int64_t s = 0; s < N; s++) {
            int32_t tokens[L + 1];
            float losses[L];
            assert_int_equal(mep_dataset_read(data, s * stride, L + 1, tokens), MEP_OK);
            assert_int_equal(mep_session_losses(session, 1, L, tokens, tokens + 1, losses), MEP_OK);
            int64_t first = protocol == 2 ? L - 5 : s == 0 ? 0 : L - stride;
            means[s] = 0;
            for (int64_t i = first; i < L; i++) means[s] += (double)losses[i];
            sum += means[s];
            scored += L - first;
            means[s] /= (double)(L - first);
            mean_of_means += means[s] / N;
        }
        for (int s = 0; s < N; s++) squares += (means[s] - mean_of_means) * (means[s] - mean_of_means);
        double perplexity = exp(sum / (double)scored);
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_OK);
        assert_int_equal(result.segments, N);
        assert_int_equal(result.tokens, scored);
        assert_true(fabs(result.perplexity / perplexity - 1) < 1e-5);
        assert_true(fabs(result.standard_error / (perplexity * sqrt(squares / (N - 1) / N)) - 1) < 1e-3);
    }
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = TOKENS;
    assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_ERROR_ARGUMENT);
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

static int go_on(void *context, int64_t done, int64_t total, double loss)
{
    (void)context, (void)done, (void)total, (void)loss;
    return 0;
}

/* The number of segments per batch, and a watch, change no bit. */
static void test_batch_tokens(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "alibi", "rotary", "t5", "nope"};
    static const int64_t lengths[] = {3, 65, 200}, batches[] = {1, 130, 399, 1000, 4096, 100000};
    mep_dataset *data;
    int threads = mep_set_threads(0);
    mep_set_threads(1); /* faster for small models */
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    for (int i = 0; i < 5 * 2 * 3; i++) {
        mep_model *model = lively_model(positions[i / 6]);
        mep_eval_settings e;
        mep_eval_result wanted = {.loss = NAN}, found;
        mep_eval_defaults(&e);
        e.length = lengths[i % 3], e.max_tokens = 1200, e.dtype = i / 3 % 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
        for (int b = 0; b < 6; b++) {
            e.batch_tokens = batches[b];
            assert_int_equal(mep_evaluate(model, data, &e, b % 2 ? go_on : NULL, NULL, &found), MEP_OK);
            if (b == 0) wanted = found;
            if (!(found.loss == wanted.loss && found.standard_error == wanted.standard_error))
                fail_msg("%s, %s, length %d, %d tokens at a time: loss %.17g, not %.17g", positions[i / 6],
                         mep_dtype_name(e.dtype), (int)e.length, (int)batches[b], found.loss, wanted.loss);
        }
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
    mep_set_threads(threads);
}

/* The mean loss of 40 tokens before each multiple of 512, read with `length` tokens. */
static mep_eval_result last_tokens(mep_model *model, mep_dataset *data, int64_t length)
{
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = length, e.last = 40, e.stride = 512, e.batch_tokens = 1024, e.max_tokens = 5 * 512;
    assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_OK);
    assert_int_equal(result.segments, 5);
    assert_int_equal(result.tokens, 5 * 40);
    return result;
}

/* With `last`, every length scores the same tokens: if the encoding reaches no farther than the shortest length, all
 * lengths have bit-identical losses, also per segment; without the context the loss differs. */
static void test_same_tokens(void **state)
{
    (void)state;
    static const int64_t lengths[] = {192, 256, 512, 200, 40};
    mep_model *model = lively_model("exp:c=512"); /* 2 nats per token of distance in the last head */
    mep_dataset *data;
    int32_t tokens[41];
    float losses[40];
    double sum = 0;
    mep_session *session;
    mep_session_settings ss;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    mep_eval_result wanted = last_tokens(model, data, 512);
    for (int i = 0; i < 5; i++) {
        mep_eval_result r = last_tokens(model, data, lengths[i]);
        int same = r.loss == wanted.loss && r.standard_error == wanted.standard_error;
        if (i < 3 && !same) fail_msg("length %d: loss %.17g, not %.17g", (int)r.length, r.loss, wanted.loss);
        if (i == 3 && !(fabs(r.loss - wanted.loss) < 1e-6))
            fail_msg("length %d: loss %.17g is far from %.17g", (int)r.length, r.loss, wanted.loss);
        if (i == 4 && !(fabs(r.loss - wanted.loss) > 1e-5)) fail_msg("no context is as good as all: %.17g", r.loss);
    }
    /* the scored tokens are those before each multiple of 512, without context at length 40 */
    mep_session_defaults(&ss);
    ss.length = 40;
    assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
    for (int64_t s = 0; s < 5; s++) {
        assert_int_equal(mep_dataset_read(data, s * 512 + 472, 41, tokens), MEP_OK);
        assert_int_equal(mep_session_losses(session, 1, 40, tokens, tokens + 1, losses), MEP_OK);
        for (int i = 0; i < 40; i++) sum += (double)losses[i];
    }
    mep_eval_result none = last_tokens(model, data, 40);
    if (!(fabs(none.loss - sum / 200) < 1e-6)) fail_msg("length 40: loss %.9g, not %.9g", none.loss, sum / 200);
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Settings that contradict each other. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t length, stride, last, tokens;
    } wrong[] = {{64, 65, 0, 0}, {64, 32, 8, 0}, {64, 128, 65, 0}, {64, 128, 8, 127}, {64, -1, 0, 0}, {64, 0, -1, 0}};
    mep_model *model = lively_model("alibi");
    mep_dataset *data;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mep_eval_settings e;
        mep_eval_result result;
        mep_eval_defaults(&e);
        e.length = wrong[i].length, e.stride = wrong[i].stride, e.last = wrong[i].last, e.max_tokens = wrong[i].tokens;
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_ERROR_ARGUMENT);
    }
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Perplexity of a model on the first 9000 tokens, in segments of 600. */
static double perplexity(mep_model *model, mep_dtype dtype, double tolerance)
{
    mep_dataset *data;
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = 600, e.max_tokens = 9000, e.dtype = dtype, e.tolerance = tolerance;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_OK);
    assert_int_equal(result.segments, 15);
    mep_dataset_close(&data);
    return result.perplexity;
}

/* The dtype and the tolerance have a small effect; without a change the result is bit-identical. */
static void test_precision(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep");
    double exact = perplexity(model, MEP_FLOAT32, 0), half = perplexity(model, MEP_BFLOAT16, 0);
    double loose = perplexity(model, MEP_FLOAT32, 0.05);
    assert_true(perplexity(model, MEP_FLOAT32, 0) == exact);
    if (!(half != exact && fabs(half / exact - 1) < 0.01)) fail_msg("bfloat16 gives %.9g, float32 %.9g", half, exact);
    if (!(loose != exact && fabs(loose / exact - 1) < 0.01))
        fail_msg("a tolerance gives %.9g, none %.9g", loose, exact);
    mep_model_destroy(&model);
}

/* A weight that is not finite is an error, not a perplexity. */
static void test_numeric(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY};
    for (int v = 0; v < 2; v++) {
        mep_model *model = lively_model("alibi");
        mep_dataset *data;
        mep_eval_settings e;
        mep_eval_result result = {.perplexity = -1};
        mep_eval_defaults(&e);
        e.length = 24, e.max_tokens = 240;
        ((float *)model->tensors[model->first[EMBED_OUT]].data)[5] = values[v];
        assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_ERROR_NUMERIC);
        assert_true(result.perplexity == -1);
        mep_dataset_close(&data);
        mep_model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_evaluation),  cmocka_unit_test(test_precision),
                                       cmocka_unit_test(test_same_tokens), cmocka_unit_test(test_batch_tokens),
                                       cmocka_unit_test(test_refused),     cmocka_unit_test(test_numeric)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
