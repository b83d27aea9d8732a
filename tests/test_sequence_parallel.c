/* SPDX-License-Identifier: MIT */
/*
 * A sequence divided over processes (here: threads). Losses are bit-identical to those of one process, for encodings
 * with and without reach, lengths that do not divide, and both types; keys and values beyond reach are never sent.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_model.h"

#include "base/error.h"
#include "model/kv_windows.h"
#include "model/sequence_parallel.h"
#include "thread_group.h"

enum { LONG = 1500 };

typedef struct job {
    const char *position;
    mep_dtype dtype;
    int64_t length;
    int32_t *tokens;
    float *losses;
    mep_status status[MOST_THREADS];
    char message[MOST_THREADS][256];
    int64_t head_dim; /* 0: 16 */
    int mild;         /* small weights: with them heads of alibi and mep have a short reach */
} job;

/* Parameters of fire with which it is 0 up to x = 1/2 and falls far after it. */
static void fall(mep_model *model)
{
    static const struct {
        const char *name;
        float value;
    } params[] = {{".w1", 1}, {".b1", -0.5f}, {".w2", -40}};
    for (int64_t i = 0; i < model->count; i++)
        for (int p = 0; p < 3 && strstr(model->tensors[i].name, "position_bias") != NULL; p++)
            if (strcmp(strrchr(model->tensors[i].name, '.'), params[p].name) == 0)
                for (int64_t n = 0; n < model->tensors[i].size; n++)
                    ((float *)model->tensors[i].data)[n] = params[p].value;
    assert_int_equal(mep_model_sync_bias(model), MEP_OK);
}

static mep_model *ring_model(const job *j)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = VOCAB, c.hidden_size = 48, c.num_attention_heads = 3, c.num_hidden_layers = 2,
    c.head_dim = j->head_dim, c.intermediate_size = 80, c.max_position_embeddings = 2 * LONG;
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", set_block(j->position, &c));
    if (mep_model_create(&model, &c, 3) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < model->count && !j->mild; i++)
        for (int64_t n = 0; n < model->tensors[i].size && model->tensors[i].ndim == 2; n++)
            ((float *)model->tensors[i].data)[n] *= 5;
    if (j->mild && strncmp(j->position, "fire", 4) == 0) fall(model);
    return model;
}

static void read_range(mep_dist *group, void *context)
{
    job *j = context;
    mep_model *model = ring_model(j);
    mep_session *session;
    mep_session_settings s;
    mep_session_defaults(&s);
    s.length = j->length, s.dtype = j->dtype;
    mep_status status = mep_session_create_sequence(&session, model, &s, group);
    int64_t first = mep_kv_sequence_first(group, j->length, group->rank);
    if (status == MEP_OK)
        status = mep_session_sequence_losses(session, j->tokens + first, j->tokens + first + 1, j->losses + first);
    status = mep_dist_agree(group, status);
    j->status[group->rank] = status;
    snprintf(j->message[group->rank], sizeof j->message[0], "%s", status == MEP_OK ? "" : mep_error_message());
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

static void complete_losses(const job *j, float *losses)
{
    mep_model *model = ring_model(j);
    mep_session *session = small_session(model, 1, j->length, j->dtype, 0);
    assert_int_equal(mep_session_losses(session, 1, j->length, j->tokens, j->tokens + 1, losses), MEP_OK);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

/* Returns the bytes sent, in keys and values of one head and position. */
static double compare(job *j, int64_t size)
{
    float *complete = allocate(j->length, sizeof *complete);
    j->tokens = allocate(j->length + 1, sizeof *j->tokens);
    j->losses = allocate(j->length, sizeof *j->losses);
    random_tokens(j->tokens, j->length + 1);
    complete_losses(j, complete);
    int64_t sent = run_group(size, read_range, j);
    for (int64_t r = 0; r < size; r++)
        if (j->status[r] != MEP_OK) fail_msg("process %d: %s", (int)r, j->message[r]);
    for (int64_t i = 0; i < j->length; i++)
        if (memcmp(&complete[i], &j->losses[i], sizeof *complete) != 0)
            fail_msg("%s, %s, %d tokens, %d processes: the loss of token %d is %.9g, not %.9g", j->position,
                     mep_dtype_name(j->dtype), (int)j->length, (int)size, (int)i, (double)j->losses[i],
                     (double)complete[i]);
    free(complete);
    free(j->tokens);
    free(j->losses);
    return (double)sent / (2.0 * 16 * (double)mep_dtype_size(j->dtype));
}

static void test_bits(void **state)
{
    (void)state;
    static const char *const encodings[] = {"alibi",
                                            "mep",
                                            "rotary",
                                            "t5",
                                            "sinusoidal",
                                            "learned",
                                            "nope",
                                            "rotary:scaling=dynamic,factor=3,original=40|nope",
                                            "nope/forget",
                                            "llama alibi/window=300/sink|rotary",
                                            "mep + uniform/weights=query|nope/profiles:rank=3,extent=200",
                                            "qwen3 rotary/scale=ssmax|bam/scale=logn:100",
                                            "fire:max=300",
                                            "qwen2 exp:c=40/forget/sink|nope",
                                            "fire:max=100/window=400/forget/profiles:rank=2,extent=900"};
    for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++)
        for (int dtype = 0; dtype < 2; dtype++) {
            job j = {.position = encodings[e], .dtype = (mep_dtype)dtype, .length = LONG};
            j.head_dim = (int64_t[]){0, 24, 10}[e % 3];
            compare(&j, 2);
            compare(&j, 4);
        }
}

static void test_lengths(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 63, 64, 127, 128, 129, 200, 511, 512, 700};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int64_t size = 1; size <= 5; size++) {
            job j = {.position = i % 2 == 0 ? "mep" : "rotary", .length = lengths[i]};
            compare(&j, size);
        }
}

/* Keys and values that the windows say must be sent, in those of one head and position; *all: had they no reach. */
static double expected(const job *j, int64_t size, double *all)
{
    mep_dist group = {.size = size};
    mep_model *model = ring_model(j);
    mep_session *session = small_session(model, 1, j->length, j->dtype, 0);
    int64_t window[6], sum = 0;
    assert_int_equal(
        mep_model_windows(session->model, session->settings.dtype, session->settings.tolerance, j->length, window),
        MEP_OK);
    *all = 0;
    for (int64_t rank = 1; rank < size; rank++)
        for (int i = 0; i < 6; i++) {
            int64_t first = mep_kv_sequence_first(&group, j->length, rank), oldest = first - window[i] + 1;
            sum += window[i] > first ? first : first - oldest / 64 * 64;
            *all += (double)first;
        }
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    return (double)sum;
}

/* Keys and values beyond the reach are not sent; in addition to keys and values only a few numbers are sent. */
static void test_reach(void **state)
{
    (void)state;
    static const char *const encodings[] = {"exp:c=64", "exp:c=8 + gauss",
                                            "exp:c=64 + exp:c=32/weights=query/scale=ssmax", "fire:max=100", "rotary"};
    for (int e = 0; e < 5; e++) {
        job j = {.position = encodings[e], .length = LONG, .mild = 1};
        double all = 0, wanted = expected(&j, 4, &all), sent = compare(&j, 4);
        if (!(sent >= wanted && sent < wanted + 20)) fail_msg("%s: %g sent, %g needed", encodings[e], sent, wanted);
        if (!(e == 4 ? wanted == all : wanted < 0.95 * all))
            fail_msg("%s: %g of %g are in reach", encodings[e], wanted, all);
    }
}

/* A process that fails makes all fail, with its number and its message, and none waits. */
static void check_failure(const char *position)
{
    job j = {.position = position, .length = LONG};
    j.tokens = allocate(LONG + 1, sizeof *j.tokens);
    j.losses = allocate(LONG, sizeof *j.losses);
    random_tokens(j.tokens, LONG + 1);
    j.tokens[700] = VOCAB;
    run_group(3, read_range, &j);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(j.status[r], MEP_ERROR_ARGUMENT);
        if (strstr(j.message[r], "process 1 of 3: token 50 is not in") == NULL) fail_msg("%s", j.message[r]);
    }
    free(j.tokens);
    free(j.losses);
}

static void test_failure(void **state)
{
    (void)state;
    check_failure("mep");
    check_failure("nope|fire/forget"); /* gates pass from process to process */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_reach), cmocka_unit_test(test_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
