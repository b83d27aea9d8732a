/* SPDX-License-Identifier: MIT */
/*
 * A study by several processes (threads, here): the results of one process; a stop or failure of one process ends all,
 * with their work saved; and continuing with another number of processes.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "thread_group.h"
#include "train/study_internal.h"

enum { STEPS = 400, LENGTHS = 2, RUNS = 6 };

static const char *const ENCODINGS[] = {"alibi", "rotary", "t5"};
static const uint64_t SEEDS[] = {7, 8};
static const int64_t LENGTH_LIST[] = {16, 64};

typedef struct job {
    char folder[700];
    mep_study_settings settings;
    int64_t stop_rank, stop_calls; /* a process that stops at this report; 0: none */
    int64_t strike_calls;          /* the report of process 0 after which no process can be reached; 0: none */
    int64_t calls[MOST_THREADS], done[MOST_THREADS];
    mep_status status[MOST_THREADS];
    char message[MOST_THREADS][512];
} job;

typedef struct listener {
    job *job;
    int64_t rank;
} listener;

static int listen(void *context, const mep_study_progress *p)
{
    const listener *l = context;
    l->job->done[l->rank] += p->phase == MEP_STUDY_RUN_DONE;
    if (l->rank == 0 && l->job->calls[0] + 1 == l->job->strike_calls) set_strikes(1);
    return ++l->job->calls[l->rank] == l->job->stop_calls && l->rank == l->job->stop_rank;
}

static void work(mep_dist *group, void *context)
{
    job *j = context;
    listener l = {j, group->rank};
    j->calls[group->rank] = j->done[group->rank] = 0;
    mep_status status = mep_study_run_in(group, j->folder, &j->settings, listen, &l);
    j->status[group->rank] = status;
    snprintf(j->message[group->rank], sizeof j->message[0], "%s", status == MEP_OK ? "" : mep_error_message());
}

static job job_for(const char *name)
{
    static const char *corpora[1] = {data_path};
    mep_train_settings train = settings_for("mep");
    job j = {.settings = {.train = train,
                          .corpora = corpora,
                          .corpus_count = 1,
                          .encodings = ENCODINGS,
                          .encoding_count = 3,
                          .seeds = SEEDS,
                          .seed_count = 2,
                          .lengths = LENGTH_LIST,
                          .length_count = LENGTHS}};
    j.settings.train.steps = STEPS, j.settings.train.save_every = 0, j.settings.train.batch_size = 4;
    mep_eval_defaults(&j.settings.eval);
    j.settings.eval.max_tokens = 640;
    snprintf(j.folder, sizeof j.folder, "%s/%s", folder, name);
    return j;
}

static void run_all(job *j, int64_t size, mep_status status)
{
    run_group(size, work, j);
    for (int64_t r = 0; r < size; r++)
        if (j->status[r] != status) fail_msg("process %d: %d %s", (int)r, (int)j->status[r], j->message[r]);
}

static void results(const job *j, double losses[RUNS * LENGTHS])
{
    mep_eval_result all[RUNS * LENGTHS];
    assert_int_equal(mep_study_results(j->folder, &j->settings, all), MEP_OK);
    for (int i = 0; i < RUNS * LENGTHS; i++) losses[i] = all[i].segments > 0 ? all[i].loss : -1;
}

static int make_corpus(void **state)
{
    char path[700];
    set_up(state);
    snprintf(path, sizeof path, "%s.train", data_path);
    write_data(path, TOKENS, 1);
    snprintf(path, sizeof path, "%s.valid", data_path);
    write_data(path, 2000, 2);
    return 0;
}

/* Stopped by the last process, continued by two, with a failure in between: finally the results of one process. */
static void test_study(void **state)
{
    (void)state;
    double one[RUNS * LENGTHS], many[RUNS * LENGTHS];
    job alone = job_for("alone"), j = job_for("group");
    run_all(&alone, 1, MEP_OK);
    results(&alone, one);

    j.stop_rank = 2, j.stop_calls = 100;
    run_all(&j, 3, MEP_INTERRUPTED);
    assert_int_equal(j.calls[2], 100);
    for (int r = 0; r < 3; r++) assert_true(j.calls[r] > 0 && j.calls[r] < 2 * (STEPS + 20));
    int64_t steps = 0;
    char run[MEP_PATH_SIZE];
    assert_int_equal(mep_study_run_folder(j.folder, &j.settings, 0, 2, 0, run), MEP_OK);
    assert_int_equal(mep_train_steps_done(run, &steps), MEP_OK);
    assert_int_equal(steps, 100);

    /* a file has the name of a run: its process fails, the other stops, and nothing is lost */
    assert_int_equal(mep_study_run_folder(j.folder, &j.settings, 0, 1, 1, run), MEP_OK);
    assert_int_equal(mep_remove_tree(run), MEP_OK);
    assert_int_equal(mep_file_write_atomic(run, "x", 1), MEP_OK);
    j.stop_calls = 0;
    run_all(&j, 2, MEP_ERROR_IO);
    for (int r = 0; r < 2; r++)
        if (strstr(j.message[r], " of 2: ") == NULL || strstr(j.message[r], "rotary-seed8") == NULL)
            fail_msg("%s", j.message[r]);
    remove(run);

    /* processes that cannot reach each other stop, report why, and lose no work */
    j.strike_calls = 20;
    run_all(&j, 2, MEP_ERROR_IO);
    set_strikes(0);
    j.strike_calls = 0;
    for (int r = 0; r < 2; r++)
        if (strstr(j.message[r], "the processes have lost each other: the post is on strike") == NULL)
            fail_msg("%s", j.message[r]);

    run_all(&j, 2, MEP_OK);
    results(&j, many);
    for (int i = 0; i < RUNS * LENGTHS; i++) assert_true(one[i] > 0 && one[i] == many[i]);
    run_all(&j, 3, MEP_OK); /* everything is done: process 0 reports it */
    assert_int_equal(j.done[0], RUNS);
    assert_int_equal(j.calls[1] + j.calls[2], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_study)};
    return cmocka_run_group_tests(tests, make_corpus, tear_down);
}
