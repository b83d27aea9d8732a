/* SPDX-License-Identifier: MIT */
/*
 * A child of fork() computes what its parent does, with the parent's handles and with its own, after the parent has
 * used OpenMP's threads, and while another thread uses them. A child that does not end is killed by its alarm.
 */
#define _DEFAULT_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "io/files.h"
#include "mep/mep.h"
#include "scratch.h"
#include "small_model.h"

enum { SECONDS = 240, THREADS = 3, HEADS = 4, KEYS = 300, CHANNELS = 32, SIZE = HEADS * KEYS * CHANNELS, MADE = 12 };

/* Results that every process computes from the same inputs. */
typedef struct results {
    float out[SIZE], dq[SIZE];
    float logits[BATCH * LENGTH * VOCAB];
    int64_t prepared;
    int32_t made[MADE];
    int64_t count;
} results;

/* The parent's handles, which its children use too. */
static mep_attention *plan;
static mep_model *model;
static mep_session *session;

static mep_tensor_view view(float *data)
{
    return (mep_tensor_view){data, SIZE, KEYS * CHANNELS, CHANNELS};
}

static void attend(mep_attention *with, results *r)
{
    float *x = allocate(SIZE, sizeof *x), *dk = allocate(SIZE, sizeof *dk), *dv = allocate(SIZE, sizeof *dv);
    float *lse = allocate(HEADS * KEYS, sizeof *lse);
    for (int64_t i = 0; i < SIZE; i++) x[i] = (float)(mep_random_bits(5, 1, (uint64_t)i) % 1000) / 500 - 1;
    mep_tensor_view v = view(x), out = view(r->out);
    const mep_attention_call call = {
        .batch = 1, .queries = KEYS, .keys = KEYS, .q = v, .k = v, .v = v, .out = out, .lse = lse};
    const mep_attention_gradient gradient = {.dout = v, .dq = view(r->dq), .dk = view(dk), .dv = view(dv)};
    assert_int_equal(mep_attention_forward(with, &call), MEP_OK);
    assert_int_equal(mep_attention_backward(with, &call, &gradient), MEP_OK);
    free(x);
    free(dk);
    free(dv);
    free(lse);
}

static mep_attention *new_plan(void)
{
    mep_attention_settings s;
    mep_attention *made;
    mep_attention_defaults(&s);
    s.heads = HEADS, s.head_dim = CHANNELS, s.max_length = KEYS;
    assert_int_equal(mep_attention_create(&made, &s), MEP_OK);
    return made;
}

/* Make a dataset with several threads; returns the number of its tokens. */
static int64_t prepare(void)
{
    const char *input = scratch_path("text.txt"), *prefix = scratch_path("data");
    mep_prepare_settings s;
    mep_prepare_progress done = {0};
    mep_tokenizer *bytes;
    FILE *file = fopen(input, "w");
    assert_non_null(file);
    for (int i = 0; i < 20000; i++) fprintf(file, "line %d of a text\n", i);
    fclose(file);
    remove(scratch_path("data.bin"));
    remove(scratch_path("data.idx"));
    remove(scratch_path("data.json"));
    assert_int_equal(mep_tokenizer_open(&bytes, "bytes"), MEP_OK);
    mep_prepare_defaults(&s);
    s.inputs = &input, s.input_count = 1, s.prefix = prefix, s.tokenizer = bytes, s.threads = THREADS;
    if (mep_prepare(&s, NULL, NULL, &done) != MEP_OK) fail_msg("%s", mep_error_message());
    mep_tokenizer_destroy(&bytes);
    return done.tokens;
}

static int take(void *context, int32_t token)
{
    results *r = context;
    r->made[r->count++] = token;
    return 0;
}

static void compute(mep_attention *with, mep_model *of, mep_session *in, results *r)
{
    int32_t tokens[BATCH * LENGTH];
    mep_generate_settings s;
    memset(r, 0, sizeof *r);
    random_tokens(tokens, BATCH * LENGTH);
    attend(with, r);
    assert_int_equal(mep_session_logits(in, BATCH, LENGTH, tokens, r->logits), MEP_OK);
    mep_generate_defaults(&s);
    s.max_tokens = MADE;
    assert_int_equal(mep_generate(of, tokens, LENGTH, &s, take, r), MEP_OK);
    r->prepared = prepare();
}

/* The same by handles that this process makes. */
static void compute_anew(results *r)
{
    mep_attention *own_plan = new_plan();
    mep_model *own_model;
    assert_int_equal(mep_model_load(&own_model, scratch_path("")), MEP_OK);
    mep_session *own_session = small_session(own_model, BATCH, LENGTH, MEP_FLOAT32, 0);
    compute(own_plan, own_model, own_session, r);
    mep_session_destroy(&own_session);
    mep_model_destroy(&own_model);
    mep_attention_destroy(&own_plan);
}

/* Run `test` in a child; its exit code must be 0. */
static void in_child(int (*test)(const results *), const results *expected)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        _exit(test(expected));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) fail_msg("the child was ended by signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int differs(const results *a, const results *b)
{
    return memcmp(a, b, sizeof *a) != 0;
}

/* Exit codes: 1 to 3. */
static int compute_in_child(const results *expected)
{
    results *r = allocate(1, sizeof *r);
    compute(plan, model, session, r);
    if (differs(r, expected)) return 1;
    mep_set_threads(THREADS); /* must not bring the lost threads back */
    compute(plan, model, session, r);
    if (differs(r, expected)) return 2;
    compute_anew(r);
    return differs(r, expected) ? 3 : 0;
}

static int compute_in_grandchild(const results *expected)
{
    in_child(compute_in_child, expected);
    return 0;
}

static void *compute_in_thread(void *argument)
{
    mep_set_threads(THREADS);
    compute_anew(argument);
    return NULL;
}

static int compute_in_child_thread(const results *expected)
{
    results *r = allocate(1, sizeof *r);
    pthread_t thread;
    if (pthread_create(&thread, NULL, compute_in_thread, r) != 0) return 1;
    if (pthread_join(thread, NULL) != 0) return 2;
    return differs(r, expected) ? 3 : 0;
}

static int count_threads_in_child(const results *expected)
{
    (void)expected;
    return mep_set_threads(THREADS) == THREADS ? 0 : 1;
}

static int compute_in_free_child(const results *expected)
{
    (void)expected;
    results *r = allocate(1, sizeof *r);
    plan = new_plan();
    if (count_threads_in_child(NULL) != 0) return 1;
    attend(plan, r);
    return 0;
}

/* Runs first: the parent has one thread so far, so its child can have any number. */
static void test_before_threads(void **state)
{
    (void)state;
    in_child(compute_in_free_child, NULL);
}

static void test_after_threads(void **state)
{
    results *expected = allocate(1, sizeof *expected);
    (void)state;
    mep_set_threads(THREADS);
    plan = new_plan();
    model = small_model("mep_param");
    assert_int_equal(mep_model_save(model, scratch_path(""), NULL), MEP_OK);
    session = small_session(model, BATCH, LENGTH, MEP_FLOAT32, 0);
    compute(plan, model, session, expected);
    in_child(compute_in_child, expected);
    in_child(compute_in_grandchild, expected);
    in_child(compute_in_child_thread, expected);
    assert_int_equal(mep_set_threads(0), THREADS); /* the parent keeps its own */
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    mep_attention_destroy(&plan);
    free(expected);
}

/* ---- Another thread is inside a call ---- */

enum { FORKS = 20 };

typedef struct busy {
    mep_session *session;
    atomic_int calls, stop;
    mep_status status;
} busy;

static mep_status session_logits(mep_session *of, float *logits)
{
    int32_t tokens[BATCH * LENGTH];
    random_tokens(tokens, BATCH * LENGTH);
    return mep_session_logits(of, BATCH, LENGTH, tokens, logits);
}

static void *keep_busy(void *argument)
{
    static float logits[BATCH * LENGTH * VOCAB];
    busy *b = argument;
    for (; b->status == MEP_OK && !b->stop; b->calls++) b->status = session_logits(b->session, logits);
    return NULL;
}

static int logits_in_child(const results *expected)
{
    static float logits[BATCH * LENGTH * VOCAB];
    if (session_logits(session, logits) != MEP_OK) return 1;
    return memcmp(logits, expected->logits, sizeof logits) == 0 ? 0 : 2;
}

/* A child never waits for anything that the other thread holds at the moment of the fork. */
static void test_while_busy(void **state)
{
    results *expected = allocate(1, sizeof *expected);
    busy other = {.status = MEP_OK};
    pthread_t thread;
    (void)state;
    mep_set_threads(THREADS);
    model = small_model("mep_param");
    session = small_session(model, BATCH, LENGTH, MEP_FLOAT32, 0);
    other.session = small_session(model, BATCH, LENGTH, MEP_FLOAT32, 0);
    assert_int_equal(session_logits(session, expected->logits), MEP_OK);
    assert_int_equal(pthread_create(&thread, NULL, keep_busy, &other), 0);
    for (int i = 0; i < FORKS; i++) {
        int before = other.calls;
        in_child(logits_in_child, expected);
        while (other.calls == before && other.status == MEP_OK)
            usleep(1000); /* so that forks happen at different moments */
    }
    other.stop = 1;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(other.status, MEP_OK);
    mep_session_destroy(&other.session);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    free(expected);
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_before_threads), cmocka_unit_test(test_after_threads),
                                       cmocka_unit_test(test_while_busy)};
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    printf("skipped: ThreadSanitizer ends a child of a process with threads when it starts a thread\n");
    return 77;
#endif
#endif
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
