/* SPDX-License-Identifier: MIT */
/*
 * Sizes beyond 32 bits: batch x heads x length^2 above 2^31 is computed as it should be, and sizes whose products do
 * not fit 64 bits, or that no machine has the memory for, are errors.
 */
#define _GNU_SOURCE
#include "small_data.h"

#include <sys/resource.h>

#include "base/memory.h"

enum { LONG = 33000, PREFIX = 300 };

/* Losses of the first tokens of one long sequence and of a short one that begins with the same. Nothing of the size of
 * the square is ever stored; the counts and places that follow from it have to fit. */
static void test_long_sequence(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("alibi");
    mep_model *model;
    mep_session *session[2];
    mep_session_settings ss;
    const int64_t lengths[] = {LONG, PREFIX};
    int32_t *tokens = calloc(LONG + 1, sizeof *tokens);
    float *losses = calloc(LONG, sizeof *losses), prefix[PREFIX], *gradients;
    for (int64_t i = 0; i <= LONG; i++) tokens[i] = (int32_t)(mep_random_bits(4, 1, (uint64_t)i) % VOCAB);
    s.model.hidden_size = 8, s.model.num_attention_heads = 2, s.model.num_hidden_layers = 1,
    s.model.intermediate_size = 8;
    assert_true((double)s.model.num_attention_heads * LONG * LONG > 0x1p31);
    assert_int_equal(mep_model_create(&model, &s.model, 2), MEP_OK);
    for (int i = 0; i < 2; i++) {
        mep_session_defaults(&ss);
        ss.length = lengths[i], ss.training = i == 0;
        if (mep_session_create(&session[i], model, &ss) != MEP_OK) fail_msg("%s", mep_error_message());
    }
    gradients = calloc((size_t)model->size, sizeof *gradients);
    assert_int_equal(mep_session_train(
                         session[0],
                         &(mep_train_batch){
                             .batch = 1, .length = LONG, .inputs = tokens, .targets = tokens + 1, .scale = 1.0f / LONG},
                         losses, gradients),
                     MEP_OK);
    assert_int_equal(mep_session_losses(session[1], 1, PREFIX, tokens, tokens + 1, prefix), MEP_OK);
    for (int i = 0; i < PREFIX; i++)
        if (!(fabsf(losses[i] - prefix[i]) < 1e-5f))
            fail_msg("the loss of token %d is %g, in the short sequence %g", i, (double)losses[i], (double)prefix[i]);
    double norm = 0;
    for (int64_t i = 0; i < model->size; i++) norm += (double)gradients[i] * (double)gradients[i];
    assert_true(norm > 1e-6 && norm < 1e3);
    for (int64_t i = 0; i < LONG; i++) assert_true(losses[i] > 1 && losses[i] < 10);
    free(gradients);
    free(losses);
    free(tokens);
    for (int i = 0; i < 2; i++) mep_session_destroy(&session[i]);
    mep_model_destroy(&model);
}

/* No more memory than this is given, so that a size that is taken in earnest fails before it fills the machine. */
static void limit_memory(int on)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = on ? (rlim_t)1 << 30 : limit.rlim_max;
    setrlimit(RLIMIT_AS, &limit);
}

static int stop_at_once(void *context, const mep_train_progress *p)
{
    (void)context;
    (void)p;
    return 1;
}

/* Every size of the settings at its largest and beyond, alone and two at a time. */
static void test_absurd_settings(void **state)
{
    (void)state;
#ifdef MEP_SANITIZED
    skip(); /* a sanitizer's own memory does not fit the limit */
#endif
    mep_train_settings s = settings_for("mep_param");
    static const int64_t values[] = {0, -1, 1 << 24, 1 << 30, (int64_t)1 << 31, (int64_t)1 << 40, INT64_MAX};
    int64_t *const fields[] = {&s.length,
                               &s.batch_size,
                               &s.micro_batch_size,
                               &s.steps,
                               &s.model.vocab_size,
                               &s.model.hidden_size,
                               &s.model.num_attention_heads,
                               &s.model.num_hidden_layers,
                               &s.model.intermediate_size,
                               &s.model.max_position_embeddings};
    enum { FIELDS = sizeof fields / sizeof *fields, VALUES = sizeof values / sizeof *values };
    const char *run = scratch_path("absurd");
    limit_memory(1);
    for (int i = 0; i < FIELDS; i++)
        for (int j = i > 0 ? i - 1 : 0; j <= i; j++)
            for (int v = 0; v < VALUES; v++) {
                s = settings_for(v % 2 ? "learned" : "mep_param");
                *fields[i] = *fields[j] = values[v];
                mep_status status = mep_train_start(run, &s, stop_at_once, NULL);
                if (status == MEP_INTERRUPTED || status == MEP_OK) { /* possible: many steps, say */
                    assert_int_equal(mep_remove_tree(run), MEP_OK);
                    continue;
                }
                if (status != MEP_ERROR_ARGUMENT && status != MEP_ERROR_MEMORY)
                    fail_msg("fields %d, %d of %lld: %s", i, j, (long long)values[v], mep_error_message());
                assert_false(mep_folder_exists(run));
            }
    s = settings_for("mep");
    s.steps = (int64_t)1 << 40, s.batch_size = (int64_t)1 << 30, s.micro_batch_size = 1;
    assert_int_equal(mep_train_check(&s), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "64 bits"));
    limit_memory(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_sequence), cmocka_unit_test(test_absurd_settings)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
