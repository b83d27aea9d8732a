/* SPDX-License-Identifier: MIT */
/*
 * A program that uses the library controls OpenMP's threads: losses, gradients and generated text have the same bits
 * for all of its settings, and when it calls from inside a parallel region of its own.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>

#include <omp.h>

#include "bias/bias_internal.h"
#include "mep/decoder.h"
#include "model/model_internal.h"
#include "small_data.h"

enum { LENGTH = 131, PROMPT = 70, NEW = 20 };

typedef struct result {
    float losses[LENGTH], *gradients;
    int32_t tokens[NEW];
    int64_t made;
    float logits[VOCAB]; /* of a decoder */
} result;

static mep_model *model;

static int collect(void *context, int32_t token)
{
    result *r = context;
    r->tokens[r->made++] = token;
    return 0;
}

/* By any thread; a failure is in the status. */
static mep_status compute(result *r)
{
    int32_t tokens[LENGTH + 1];
    mep_session *session;
    mep_session_settings s;
    mep_generate_settings g;
    mep_decoder *decoder = NULL;
    mep_decoder_settings d;
    for (int i = 0; i <= LENGTH; i++) tokens[i] = i * 7 % 60;
    *r = (result){.gradients = calloc((size_t)model->size, sizeof *r->gradients)};
    mep_session_defaults(&s);
    s.length = LENGTH, s.training = 1;
    mep_status status = mep_session_create(&session, model, &s);
    if (status == MEP_OK)
        status = mep_session_train(
            session,
            &(mep_train_batch){.batch = 1, .length = LENGTH, .inputs = tokens, .targets = tokens + 1, .scale = 0.5f},
            r->losses, r->gradients);
    mep_session_destroy(&session);
    mep_generate_defaults(&g);
    g.max_tokens = NEW;
    if (status == MEP_OK) status = mep_generate(model, tokens, PROMPT, &g, collect, r);
    mep_decoder_defaults(&d);
    if (status == MEP_OK) status = mep_decoder_create(&decoder, model, &d);
    if (status == MEP_OK) status = mep_decoder_append(decoder, 0, PROMPT, tokens, 0, NULL);
    for (int i = 0; i < NEW && status == MEP_OK; i++)
        status = mep_decoder_step(decoder, 1, (const int64_t[]){0}, &tokens[PROMPT + i], r->logits);
    mep_decoder_destroy(&decoder);
    return status;
}

static void expect_same(const result *wanted, result *found, mep_status status, const char *what)
{
    if (status != MEP_OK) fail_msg("%s: %s", what, mep_status_name(status));
    assert_int_equal(found->made, NEW);
    if (memcmp(wanted->losses, found->losses, sizeof wanted->losses) != 0) fail_msg("%s: losses differ", what);
    if (memcmp(wanted->gradients, found->gradients, (size_t)model->size * sizeof(float)) != 0)
        fail_msg("%s: gradients differ", what);
    if (memcmp(wanted->logits, found->logits, sizeof wanted->logits) != 0) fail_msg("%s: logits differ", what);
    if (memcmp(wanted->tokens, found->tokens, sizeof wanted->tokens) != 0) fail_msg("%s: texts differ", what);
    free(found->gradients);
}

static void test_settings(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 7};
    char what[64];
    result wanted, found;
    omp_set_num_threads(1);
    mep_status status = compute(&wanted);
    assert_int_equal(status, MEP_OK);
    int levels = omp_get_max_active_levels();
    for (int i = 0; i < 16; i++) {
        snprintf(what, sizeof what, "%d threads, %s, %s", counts[i / 4], i & 1 ? "dynamic" : "not dynamic",
                 i & 2 ? "no active level" : "active levels");
        omp_set_num_threads(counts[i / 4]);
        omp_set_dynamic(i & 1);
        omp_set_max_active_levels(i & 2 ? 0 : levels);
        status = compute(&found);
        expect_same(&wanted, &found, status, what);
    }
    omp_set_dynamic(0);
    omp_set_max_active_levels(levels);
    free(wanted.gradients);
}

/* Sessions on several threads read the bias while another one is opened, which must not compute it again: here its
 * weights are others than those of the parameters. */
static void test_opening_reads(void **state)
{
    (void)state;
    mep_model *fresh;
    mep_session *session;
    mep_session_settings s;
    mep_train_settings t = settings_for("mep/learn=weights,slopes");
    assert_int_equal(mep_model_create(&fresh, &t.model, 3), MEP_OK);
    double first = fresh->bias->weights[0];
    float *values = fresh->tensors[fresh->first[POSITION_BIAS]].data, kept = values[0];
    fresh->bias->weights[0] = 42;
    mep_session_defaults(&s);
    s.length = LENGTH;
    assert_int_equal(mep_session_create(&session, fresh, &s), MEP_OK);
    assert_true(fresh->bias->weights[0] == 42);
    values[0] += 1; /* a new value is used */
    mep_session_destroy(&session);
    assert_int_equal(mep_session_create(&session, fresh, &s), MEP_OK);
    assert_true(fresh->bias->weights[0] > 0 && fresh->bias->weights[0] <= 1);
    values[0] = kept;
    mep_session_destroy(&session);
    assert_int_equal(mep_session_create(&session, fresh, &s), MEP_OK);
    assert_true(fabs(fresh->bias->weights[0] - first) <= 1e-6);
    mep_session_destroy(&session);
    mep_model_destroy(&fresh);
}

/* The first sessions of a model, on several threads at once. */
static void compare_fresh(const char *position)
{
    enum { TEAM = 3 };
    mep_model *kept = model;
    mep_train_settings s = settings_for(position);
    result wanted, found[TEAM];
    mep_status status[TEAM] = {MEP_OK};
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    omp_set_num_threads(1);
#pragma omp parallel for num_threads(TEAM) schedule(static, 1)
    for (int i = 0; i < TEAM; i++) status[i] = compute(&found[i]);
    assert_int_equal(compute(&wanted), MEP_OK);
    for (int i = 0; i < TEAM; i++) expect_same(&wanted, &found[i], status[i], position);
    free(wanted.gradients);
    mep_model_destroy(&model);
    model = kept;
}

static void test_fresh(void **state)
{
    (void)state;
    compare_fresh("mep/learn=weights,slopes");
    compare_fresh("t5/sink/window=32");
    compare_fresh("fire");
    compare_fresh("mep/forget/weights=query");
    compare_fresh("rotary:scaling=dynamic,factor=2");
}

/* Each thread of the program has sessions of its own; with nested teams and without. */
static void test_inside(void **state)
{
    (void)state;
    enum { TEAM = 3 };
    result wanted, found[TEAM];
    mep_status status[TEAM] = {MEP_OK};
    omp_set_num_threads(1);
    assert_int_equal(compute(&wanted), MEP_OK);
    int levels = omp_get_max_active_levels();
    for (int nested = 0; nested < 2; nested++) {
        omp_set_num_threads(2);
        omp_set_max_active_levels(nested ? 2 : 1);
#pragma omp parallel for num_threads(TEAM) schedule(static, 1)
        for (int i = 0; i < TEAM; i++) status[i] = compute(&found[i]);
        for (int i = 0; i < TEAM; i++)
            expect_same(&wanted, &found[i], status[i], nested ? "nested teams" : "inside a team");
    }
    omp_set_max_active_levels(levels);
    free(wanted.gradients);
}

static int make_model(void **state)
{
    if (set_up(state) != 0) return 1;
    mep_train_settings s = settings_for("mep_param");
    s.model.hidden_size = 48, s.model.num_attention_heads = 3;
    return mep_model_create(&model, &s.model, 3) == MEP_OK ? 0 : 1;
}

static int free_model(void **state)
{
    mep_model_destroy(&model);
    return tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_settings), cmocka_unit_test(test_opening_reads),
                                       cmocka_unit_test(test_fresh), cmocka_unit_test(test_inside)};
    return cmocka_run_group_tests(tests, make_model, free_model);
}
