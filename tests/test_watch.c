/* SPDX-License-Identifier: MIT */
/*
 * Long calls that report and can be stopped: a watched forward pass has the same bits, its reports only increase, and
 * it ends at any of them; so do the public calls that generate and evaluate.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "base/watch.h"

enum { LENGTH = 960 };

typedef struct reports {
    mep_watch *watch;
    int64_t count, stop_at; /* 0: never */
    double last;
} reports;

/* Every mep_watch_ask is a report. */
static int take_report(void *context, double fraction)
{
    reports *r = context;
    if (!(fraction >= r->last - 1e-12 && fraction <= 1)) fail_msg("a report of %g after %g", fraction, r->last);
    r->last = fraction;
    r->watch->next = 0;
    return ++r->count == r->stop_at;
}

static mep_status watched(mep_session *session, const int32_t *tokens, float *losses, reports *r)
{
    mep_watch watch;
    mep_watch_begin(&watch, "the test", take_report, r);
    watch.next = 0;
    watch.operations = 1; /* the smallest steps */
    r->watch = &watch;
    mep_session_set_watch(session, &watch);
    mep_status status = mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, losses);
    mep_session_set_watch(session, NULL);
    return status;
}

static void test_pass(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "rotary", "learned"};
    for (int p = 0; p < 3; p++) {
        mep_train_settings s = settings_for(positions[p]);
        s.model.max_position_embeddings = LENGTH;
        s.model.residual = (mep_residual)(p == 1);
        s.model.head_dim = (int64_t[]){0, 24, 4}[p]; /* the rows of attention are then as wide as the stream, or not */
        mep_model *model;
        mep_session *session;
        mep_session_settings ss;
        int32_t tokens[LENGTH + 1];
        static float plain[LENGTH], losses[LENGTH];
        for (int i = 0; i <= LENGTH; i++) tokens[i] = i * 7 % 60;
        assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
        mep_session_defaults(&ss);
        ss.length = LENGTH;
        assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, plain), MEP_OK);
        reports all = {0};
        assert_int_equal(watched(session, tokens, losses, &all), MEP_OK);
        assert_memory_equal(plain, losses, sizeof plain);
        if (!(all.count >= 2 * 2 * LENGTH / 64)) fail_msg("%d reports only", (int)all.count);
        for (int64_t stop = 1; stop <= all.count;
             stop += 7) { /* the number of attention's reports depends on its threads */
            reports r = {.stop_at = stop};
            mep_status status = watched(session, tokens, losses, &r);
            if (r.count >= stop) assert_int_equal(status, MEP_INTERRUPTED);
            if (status == MEP_INTERRUPTED) assert_non_null(strstr(mep_error_message(), "the test was stopped"));
        }
        assert_int_equal(mep_session_losses(session, 1, LENGTH, tokens, tokens + 1, losses), MEP_OK);
        assert_memory_equal(plain, losses, sizeof plain);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* A model and a prompt that take seconds to read. */
static mep_model *slow_model(void)
{
    mep_train_settings s = settings_for("rotary");
    mep_model *model;
    s.model.num_hidden_layers = 8;
    s.model.hidden_size = 128;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    return model;
}

typedef struct calls {
    int64_t count, last, total, tokens;
} calls;

static int stop_soon(void *context, int64_t done, int64_t total)
{
    calls *c = context;
    assert_true(done >= c->last && done <= total);
    c->last = done;
    c->total = total;
    return ++c->count == 2;
}

static int go_on(void *context, int64_t done, int64_t total)
{
    ((calls *)context)->last = done;
    return done > total;
}

static int count_token(void *context, int32_t token)
{
    (void)token;
    ((calls *)context)->tokens++;
    return 0;
}

static void test_prompt(void **state)
{
    (void)state;
    enum { PROMPT = 100000 };
    mep_model *model = slow_model();
    mep_generate_settings g;
    calls c = {0};
    int32_t *prompt = calloc(PROMPT, sizeof *prompt);
    mep_generate_defaults(&g);
    assert_int_equal(mep_generate_reporting(model, prompt, PROMPT, &g, stop_soon, count_token, &c), MEP_INTERRUPTED);
    assert_non_null(strstr(mep_error_message(), "the reading of the prompt was stopped"));
    assert_int_equal(c.count, 2);
    assert_int_equal(c.total, PROMPT);
    assert_int_equal(c.tokens, 0);
    g.max_tokens = 3;
    c = (calls){0};
    assert_int_equal(mep_generate_reporting(model, prompt, 20, &g, go_on, count_token, &c), MEP_OK);
    assert_int_equal(c.tokens, 3);
    free(prompt);
    mep_model_destroy(&model);
}

static int stop_early(void *context, int64_t done, int64_t total, double loss)
{
    assert_true(isnan(loss)); /* no batch is done */
    return stop_soon(context, done, total);
}

static void test_segment(void **state)
{
    (void)state;
    enum { LONG = 60000 };
    mep_model *model = slow_model();
    mep_dataset *data;
    mep_eval_settings e;
    mep_eval_result result;
    calls c = {0};
    write_data(run_path("long"), LONG + 1, 2);
    assert_int_equal(mep_dataset_open(&data, run_path("long")), MEP_OK);
    mep_eval_defaults(&e);
    e.length = LONG;
    assert_int_equal(mep_evaluate(model, data, &e, stop_early, &c, &result), MEP_INTERRUPTED);
    assert_non_null(strstr(mep_error_message(), "the evaluation was stopped"));
    assert_int_equal(c.count, 2);
    assert_int_equal(c.total, LONG);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pass), cmocka_unit_test(test_prompt),
                                       cmocka_unit_test(test_segment)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
