/* SPDX-License-Identifier: MIT */
/*
 * The folder of a run while it is written: a second process is refused until the first one ends, and a folder that is
 * moved or removed meanwhile leaves nothing under its old name. Then messages of a run: other settings, unknown keys, a
 * divergence before and after a checkpoint.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "train/metrics.h"

typedef struct meddler {
    const mep_train_settings *settings;
    int64_t at; /* step after which it acts */
    const char *from, *to;
    int makes_another; /* a folder with the old name */
    char last[1024];   /* the path that the run reports */
} meddler;

static void expect_failure(mep_status status, mep_status wanted, const char *text)
{
    assert_int_equal(status, wanted);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("no \"%s\" in: %s", text, mep_error_message());
}

static mep_status run(const char *name, const mep_train_settings *s, mep_train_fn progress, meddler *m)
{
    m->settings = s;
    return mep_train_start(run_path(name), s, progress, m);
}

static int kill_myself(void *context, const mep_train_progress *p)
{
    const meddler *m = context;
    if (p->step == m->at) kill(getpid(), SIGKILL);
    return 0;
}

/* This test comes first: a process that has started threads cannot be forked. */
static void test_killed(void **state)
{
    (void)state;
    int ended = 0;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 10};
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)run("killed", &s, kill_myself, &m);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFSIGNALED(ended));
    assert_true(mep_file_exists(run_path("killed/.lock"))); /* still exists, but no process locks it */
    assert_int_equal(mep_train_resume(run_path("killed"), NULL, NULL), MEP_OK);
    assert_false(mep_file_exists(run_path("killed/.lock")));
}

/* All functions that write to the run. */
static int try_everything(void *context, const mep_train_progress *p)
{
    const meddler *m = context;
    int64_t step = 0, set_aside = 0;
    static const char text[] = "is being written by process";
    if (p->step != m->at) return 0;
    expect_failure(mep_train_resume(p->run, NULL, NULL), MEP_ERROR_IO, text);
    expect_failure(mep_train_fall_back(p->run, &step, &set_aside), MEP_ERROR_IO, text);
    expect_failure(mep_train_set_on_nan(p->run, MEP_NAN_SKIP), MEP_ERROR_IO, text);
    expect_failure(mep_train_set_device(p->run, MEP_DEVICE_CPU), MEP_ERROR_IO, text);
    expect_failure(mep_train_start(p->run, m->settings, NULL, NULL), MEP_ERROR_ARGUMENT, "already contains a run");
    assert_int_equal(mep_train_steps_done(p->run, &step), MEP_OK); /* a reader */
    return p->step == 9;
}

static void test_two_at_once(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 9};
    assert_int_equal(run("at-once", &s, try_everything, &m), MEP_INTERRUPTED);
    m.at = 20;
    assert_int_equal(mep_train_resume(run_path("at-once"), try_everything, &m), MEP_OK);
    assert_int_equal(mep_train_set_on_nan(run_path("at-once"), MEP_NAN_SKIP), MEP_OK);
}

static int move_folder(void *context, const mep_train_progress *p)
{
    meddler *m = context;
    snprintf(m->last, sizeof m->last, "%s", p->run);
    if (p->step != m->at) return 0;
    assert_int_equal(rename(m->from, m->to), 0);
    if (m->makes_another) assert_int_equal(mep_make_folder(m->from, 1), MEP_OK);
    return 0;
}

static void assert_same_files(const char *a, const char *b)
{
    char *x, *y;
    int64_t n, m;
    assert_int_equal(mep_file_read(a, 1 << 24, &x, &n), MEP_OK);
    assert_int_equal(mep_file_read(b, 1 << 24, &y, &m), MEP_OK);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n);
    mep_free(&x);
    mep_free(&y);
}

/* The run or a parent folder is renamed, also while another folder takes the old name. */
static void test_moved(void **state)
{
    (void)state;
    static const char last[] = "/checkpoint-24/model.safetensors";
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 0};
    assert_int_equal(run("unmoved", &s, move_folder, &m), MEP_OK);
    assert_string_equal(m.last, run_path("unmoved"));
    for (int64_t at = 7; at <= 24; at += 4) /* between checkpoints, before one, at the end */
        for (int above = 0; above < 2; above++) {
            char from[700], to[700], now[800], whole[800], file[900];
            mep_metrics metrics;
            snprintf(from, sizeof from, "%s", run_path("above"));
            snprintf(to, sizeof to, "%s-%lld-%d", run_path("moved"), (long long)at, above);
            assert_int_equal(mep_remove_tree(from), MEP_OK);
            m = (meddler){.at = at, .from = above ? from : run_path("above/run"), .to = to, .makes_another = at == 11};
            assert_int_equal(mep_make_folder(from, 1), MEP_OK);
            if (run("above/run", &s, move_folder, &m) != MEP_OK) fail_msg("%s", mep_error_message());
            snprintf(now, sizeof now, "%s%s", to, above ? "/run" : "");
            if (at < 24) assert_string_equal(m.last, now);
            snprintf(file, sizeof file, "%s%s", now, last);
            snprintf(whole, sizeof whole, "%s%s", run_path("unmoved"), last);
            assert_same_files(file, whole);
            snprintf(file, sizeof file, "%s/metrics.jsonl", now);
            assert_int_equal(mep_metrics_read(&metrics, file), MEP_OK);
            assert_int_equal(metrics.count, 24);
            mep_metrics_free(&metrics);
            assert_false(mep_file_exists(run_path("above/run/metrics.jsonl")));
            assert_false(mep_folder_exists(run_path("above/run/checkpoint-24")));
            assert_int_equal(mep_folder_exists(m.from), m.makes_another || !above ? m.makes_another : 0);
        }
}

static int remove_folder(void *context, const mep_train_progress *p)
{
    const meddler *m = context;
    if (p->step == m->at) assert_int_equal(mep_remove_tree(m->from), MEP_OK);
    return 0;
}

static void test_removed(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 5, .from = run_path("removed")};
    expect_failure(run("removed", &s, remove_folder, &m), MEP_ERROR_IO, "removed: was removed, or moved");
    assert_non_null(strstr(mep_error_message(), "nothing could be saved"));
    assert_false(mep_folder_exists(run_path("removed")));
}

/* The settings of a finished run are compared too, by a new run in its folder and by a resume. */
static void test_other_settings(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 0};
    assert_int_equal(run("finished", &s, NULL, &m), MEP_OK);
    expect_failure(run("finished", &s, NULL, &m), MEP_ERROR_ARGUMENT, "already contains a run; resume it");
    s.learning_rate = 3e-3;
    expect_failure(run("finished", &s, NULL, &m), MEP_ERROR_ARGUMENT, "made with learning_rate 0.01, now it is 0.003");
    s = settings_for("alibi");
    expect_failure(run("finished", &s, NULL, &m), MEP_ERROR_ARGUMENT, "the encoding \"mep\", not \"alibi\"");
    s = settings_for("mep");
    s.seed++;
    expect_failure(run("finished", &s, NULL, &m), MEP_ERROR_ARGUMENT, "with the seed");

    char *text = NULL, *at = NULL;
    int64_t size = 0;
    const char *path = run_path("finished/train.json");
    assert_int_equal(mep_train_resume(run_path("finished"), NULL, NULL), MEP_OK);
    assert_int_equal(mep_file_read(path, 1 << 20, &text, &size), MEP_OK);
    assert_non_null(at = strstr(text, "\"beta2\": 0.9"));
    at[11] = '8';
    assert_int_equal(mep_file_write_atomic(path, text, size), MEP_OK);
    expect_failure(mep_train_resume(run_path("finished"), NULL, NULL), MEP_ERROR_ARGUMENT, "was made with beta2");
    mep_free(&text);
}

/* A damaged key is noticed, even one that may be missing. */
static void test_unknown_key(void **state)
{
    (void)state;
    char *text = NULL, *at = NULL;
    int64_t size = 0;
    mep_train_settings s = settings_for("mep"), read;
    meddler m = {.at = 0};
    s.steps = 2;
    assert_int_equal(run("keys", &s, NULL, &m), MEP_OK);
    const char *path = run_path("keys/train.json");
    assert_int_equal(mep_file_read(path, 1 << 20, &text, &size), MEP_OK);
    assert_non_null(at = strstr(text, "\"split\""));
    at[3] = 'q';
    assert_int_equal(mep_file_write_atomic(path, text, size), MEP_OK);
    expect_failure(mep_train_read_settings(run_path("keys"), &read), MEP_ERROR_FORMAT, "the key \"spqit\" is unknown");
    assert_non_null(strstr(mep_error_message(), "keys/train.json"));
    mep_free(&text);
}

/* The message of a divergence before the first checkpoint does not mention one. (After one: test_train.c.) */
static void test_divergence(void **state)
{
    (void)state;
    mep_model *model;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 0};
    assert_int_equal(mep_model_create(&model, &s.model, 1), MEP_OK);
    ((float *)model->tensors[model->first[EMBED_OUT]].data)[5] = NAN;
    assert_int_equal(mep_make_folder(run_path("poison"), 1), MEP_OK);
    assert_int_equal(mep_model_save(model, run_path("poison"), NULL), MEP_OK);
    mep_model_destroy(&model);
    snprintf(s.init, sizeof s.init, "%s", run_path("poison"));
    expect_failure(run("diverged", &s, NULL, &m), MEP_ERROR_NUMERIC, "there is no checkpoint yet");
    assert_null(strstr(mep_error_message(), "whole"));
}

/* The time of a validation is reported separately. */
static int look_at_time(void *context, const mep_train_progress *p)
{
    (void)context;
    int has_valid = p->step % 8 == 0;
    assert_int_equal(isfinite(p->valid_loss), has_valid);
    assert_true(has_valid ? p->valid_seconds > 0 : p->valid_seconds == 0);
    return 0;
}

static void test_valid_seconds(void **state)
{
    (void)state;
    char *text = NULL;
    int64_t size = 0, count = 0;
    mep_train_settings s = settings_for("mep");
    meddler m = {.at = 0};
    snprintf(s.valid, sizeof s.valid, "%s", data_path);
    s.valid_every = 8, s.valid_tokens = 4096;
    assert_int_equal(run("validated", &s, look_at_time, &m), MEP_OK);
    assert_int_equal(mep_file_read(run_path("validated/metrics.jsonl"), 1 << 20, &text, &size), MEP_OK);
    for (const char *at = text; (at = strstr(at, "\"valid_seconds\": ")) != NULL; at++) count++;
    assert_int_equal(count, 3);
    mep_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),         cmocka_unit_test(test_two_at_once),   cmocka_unit_test(test_moved),
        cmocka_unit_test(test_removed),        cmocka_unit_test(test_unknown_key),   cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_other_settings), cmocka_unit_test(test_valid_seconds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
