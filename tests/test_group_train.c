/* SPDX-License-Identifier: MIT */
/*
 * Training by several processes (threads, here): the bits of one process if gradients are summed in the same parts, and
 * otherwise the same loss curve up to rounding; checkpoints that any number of processes resumes; a stop or failure of
 * one process stops all; and numbers that are not finite.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "thread_group.h"
#include "mep/train.h"

enum { STEPS = 24 };

typedef struct job {
    const char *run;
    mep_train_settings settings;
    int resume;
    int64_t stop_rank, stop_step; /* a process that stops, and after which step; 0: none */
    int64_t blind_rank;           /* a process that cannot read the data; -1: none */
    double loss[MOST_THREADS][STEPS + 1], norm[STEPS + 1];
    int64_t steps[MOST_THREADS], skipped;
    mep_status status[MOST_THREADS];
    char message[MOST_THREADS][512];
} job;

typedef struct listener {
    job *job;
    int64_t rank;
} listener;

static int keep(void *context, const mep_train_progress *p)
{
    const listener *l = context;
    l->job->loss[l->rank][p->step] = p->loss;
    l->job->steps[l->rank]++;
    if (l->rank == 0) l->job->norm[p->step] = p->grad_norm, l->job->skipped = p->skipped;
    return l->rank == l->job->stop_rank && p->step == l->job->stop_step;
}

static void work(mep_dist *group, void *context)
{
    job *j = context;
    listener l = {j, group->rank};
    mep_train_settings settings = j->settings;
    if (group->rank == j->blind_rank) snprintf(settings.data, sizeof settings.data, "nosuch");
    mep_status status = j->resume ? mep_train_resume_in(group, j->run, NULL, keep, &l)
                                  : mep_train_start_in(group, j->run, &settings, NULL, keep, &l);
    j->status[group->rank] = status;
    snprintf(j->message[group->rank], sizeof j->message[0], "%s", status == MEP_OK ? "" : mep_error_message());
}

static job job_for(const char *name, const char *position)
{
    job j = {.run = run_path(name), .settings = settings_for(position), .blind_rank = -1};
    j.settings.keep = 0;
    return j;
}

static int64_t run_all(job *j, int64_t size, mep_status status)
{
    int64_t sent = run_group(size, work, j);
    for (int64_t r = 0; r < size; r++)
        if (j->status[r] != status) fail_msg("process %d: %d %s", (int)r, (int)j->status[r], j->message[r]);
    return sent;
}

static void compare_runs(const job *a, const job *b, int64_t size)
{
    for (int64_t step = 1; step <= STEPS; step++) {
        double difference = fabs(b->loss[0][step] / a->loss[0][step] - 1);
        if (!(difference < 1e-6)) fail_msg("%d processes, step %d: off by %g", (int)size, (int)step, difference);
        for (int64_t r = 1; r < size; r++) assert_true(b->loss[r][step] == b->loss[0][step]);
        assert_true(fabs(b->norm[step] / a->norm[step] - 1) < 1e-5);
    }
}

static void assert_same_model(const char *a, const char *b)
{
    mep_model *x, *y;
    assert_int_equal(mep_model_load(&x, a), MEP_OK);
    assert_int_equal(mep_model_load(&y, b), MEP_OK);
    assert_memory_equal(x->values, y->values, (size_t)x->size * sizeof(float));
    mep_model_destroy(&x);
    mep_model_destroy(&y);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char path[2][800], *data[2];
    int64_t size[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/checkpoint-%d/%s", i == 0 ? a : b, STEPS, name);
        assert_int_equal(mep_file_read(path[i], 1 << 24, &data[i], &size[i]), MEP_OK);
    }
    assert_int_equal(size[0], size[1]);
    if (memcmp(data[0], data[1], (size_t)size[0]) != 0) fail_msg("%s and %s differ", path[0], path[1]);
    mep_free(&data[0]);
    mep_free(&data[1]);
}

/* Parameters, moments, and the reports of every step in every process are bit-identical. */
static void assert_same_run(const job *a, const job *b, int64_t size)
{
    for (int64_t step = 1; step <= STEPS; step++) {
        for (int64_t r = 0; r < size; r++) assert_true(b->loss[r][step] == a->loss[0][step]);
        assert_true(b->norm[step] == a->norm[step]);
    }
    assert_same_file(a->run, b->run, "model.safetensors");
    assert_same_file(a->run, b->run, "optimizer.safetensors");
}

/* The same number of parts in any number of processes that can sum them: parts of one sequence, parts of several
 * micro-batches, and a number of parts other than a power of two; with clipping at every step, learned biases, tied
 * embeddings and recomputation. */
static void test_parts(void **state)
{
    (void)state;
    static const struct {
        const char *position;
        int64_t batch, micro, parts, sizes[4];
    } cases[] = {{"mep_param", 16, 1, 8, {1, 2, 4, 8}},
                 {"kerple_log", 8, 4, 8, {8, 1, 4, 2}},
                 {"mep/learn=weights,slopes", 8, 4, 4, {2, 1, 4}},
                 {"learned", 24, 3, 6, {3, 6, 1}}};
    for (int c = 0; c < 4; c++) {
        job first = job_for("first", cases[c].position);
        mep_train_settings *s = &first.settings;
        s->batch_size = cases[c].batch, s->micro_batch_size = cases[c].micro, s->gradient_parts = cases[c].parts;
        s->max_grad_norm = 0.05, s->save_every = 0, s->weight_decay = 0.1;
        s->model.tie_word_embeddings = c == 1;
        s->recompute = c == 2;
        run_all(&first, cases[c].sizes[0], MEP_OK);
        for (int step = 1; step <= STEPS; step++) assert_true(first.norm[step] > s->max_grad_norm);
        for (int i = 1; i < 4 && cases[c].sizes[i] > 0; i++) {
            job other = first;
            other.run = run_path("other");
            run_all(&other, cases[c].sizes[i], MEP_OK);
            assert_same_run(&first, &other, cases[c].sizes[i]);
            assert_int_equal(mep_remove_tree(other.run), MEP_OK);
        }
        assert_int_equal(mep_remove_tree(first.run), MEP_OK);
    }
}

/* Also with tied embeddings, learned positions and recomputation, whose gradients become final in another order. The
 * number of bytes is known: each process sends the gradients that others own, and the parameters that it owns. */
static void test_curve(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep_param", "learned", "mep/learn=weights,slopes"};
    for (int v = 0; v < 3; v++) {
        job one = job_for("one", positions[v]);
        one.settings.model.tie_word_embeddings = v == 1;
        one.settings.model.no_bias = v == 2;
        one.settings.recompute = v == 2;
        one.settings.save_every = 0;
        run_all(&one, 1, MEP_OK);
        mep_model *model;
        assert_int_equal(mep_model_load(&model, one.run), MEP_OK);
        double block = (double)model->size * sizeof(float);
        mep_model_destroy(&model);
        for (int64_t size = 2; size <= (v == 0 ? 8 : 4); size *= 2) {
            job many = one, again = one;
            many.run = run_path("many"), again.run = run_path("again");
            double sent = (double)run_all(&many, size, MEP_OK), needed = 2 * STEPS * block * (double)(size - 1);
            if (!(sent >= needed && sent < 1.5 * needed + 1e6)) fail_msg("%g bytes sent, %g needed", sent, needed);
            compare_runs(&one, &many, size);
            run_all(&again, size, MEP_OK);
            assert_same_model(many.run, again.run);
            assert_int_equal(mep_remove_tree(many.run), MEP_OK);
            assert_int_equal(mep_remove_tree(again.run), MEP_OK);
        }
        assert_int_equal(mep_remove_tree(one.run), MEP_OK);
    }
}

/* The last process stops a run after this many steps. */
static void stop_after(job *j, int64_t size, int64_t step)
{
    memset(j->steps, 0, sizeof j->steps);
    j->stop_rank = size - 1, j->stop_step = step;
    run_all(j, size, MEP_INTERRUPTED);
    char text[64];
    snprintf(text, sizeof text, "stopped after step %d of %d", (int)step, STEPS);
    for (int64_t r = 0; r < size; r++) assert_non_null(strstr(j->message[r], text));
    j->resume = 1, j->stop_step = 0;
}

/* A run of 4 processes continues in 1, then in 2: the bits of a run without interruption. */
static void test_resume(void **state)
{
    (void)state;
    job whole = job_for("whole", "mep_param"), part = job_for("part", "mep_param");
    run_all(&whole, 4, MEP_OK);
    stop_after(&part, 4, 7);
    for (int r = 0; r < 4; r++) assert_int_equal(part.steps[r], 7);
    stop_after(&part, 1, 15);
    assert_int_equal(part.steps[0], 8);
    run_all(&part, 2, MEP_OK);
    assert_same_run(&whole, &part, 1);
    assert_int_equal(mep_remove_tree(part.run), MEP_OK);
    assert_int_equal(mep_remove_tree(whole.run), MEP_OK);
}

/* A run continues with processes that cannot sum in its parts, equal up to rounding, and then again with some that can.
 */
static void test_resume_elsewhere(void **state)
{
    (void)state;
    job one = job_for("single", "mep_param"), part = job_for("part", "mep_param");
    mep_train_settings found;
    run_all(&one, 1, MEP_OK);
    stop_after(&part, 1, 3);
    stop_after(&part, 4, 15);
    run_all(&part, 1, MEP_OK);
    compare_runs(&one, &part, 1);
    assert_int_equal(mep_train_read_settings(part.run, &found), MEP_OK);
    assert_int_equal(found.gradient_parts, 1);
    assert_int_equal(mep_remove_tree(part.run), MEP_OK);
    assert_int_equal(mep_remove_tree(one.run), MEP_OK);
}

/* A failure in one process fails in all, names that process, and leaves no files. */
static void test_failure(void **state)
{
    (void)state;
    job j = job_for("fails", "mep");
    j.blind_rank = 2;
    run_all(&j, 4, MEP_ERROR_IO);
    for (int r = 0; r < 4; r++)
        if (strstr(j.message[r], "process 2 of 4: cannot open nosuch.idx") == NULL) fail_msg("%s", j.message[r]);
    assert_false(mep_folder_exists(j.run));
    j.blind_rank = -1;
    run_all(&j, 3, MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(j.message[1], "3 processes cannot divide 8 sequences per step evenly"));
    assert_false(mep_folder_exists(j.run));
    j.settings.gradient_parts = 8;
    j.settings.batch_size = 24;
    run_all(&j, 3, MEP_ERROR_ARGUMENT);
    assert_non_null(
        strstr(j.message[2],
               "3 processes cannot sum gradients in 8 parts; start a number of processes that can (8, 4, 2, 1)"));
    j.settings.gradient_parts = 7;
    run_all(&j, 3, MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(j.message[0], "batch_size 24 is not a multiple of gradient_parts 7"));
    assert_false(mep_folder_exists(j.run));
    j.settings.gradient_parts = 0;
    run_all(&j, 2, MEP_OK);
    mep_train_settings found;
    assert_int_equal(mep_train_read_settings(j.run, &found), MEP_OK);
    assert_int_equal(found.gradient_parts, 2);
    run_all(&j, 2, MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(j.message[1], "already contains a run"));
}

/* A model with one changed value, to start from. */
static char *poisoned_model(const mep_train_settings *s, float value)
{
    mep_model *model;
    char *path = run_path("poisoned");
    assert_int_equal(mep_model_create(&model, &s->model, 7), MEP_OK);
    ((float *)model->tensors[mep_tensor_index(model, QKV_WEIGHT, 0)].data)[100] = value;
    assert_int_equal(mep_make_folder(path, 1), MEP_OK);
    assert_int_equal(mep_model_save(model, path, NULL), MEP_OK);
    mep_model_destroy(&model);
    return path;
}

/* The dumped steps of one process and of four have the same tokens of all sequences. */
static void compare_tokens(const job *j)
{
    int64_t shape[2] = {j->settings.batch_size, j->settings.length}, tokens[2][8 * 16];
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < 2; i++) {
            mep_safetensors *file;
            const char *path = run_path(i == 0 ? "bad1/nan-1/tensors.safetensors" : "bad4/nan-1/tensors.safetensors");
            assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
            assert_int_equal(mep_safetensors_read(file, t == 0 ? "inputs" : "targets", MEP_INT64, 2, shape, tokens[i]),
                             MEP_OK);
            mep_safetensors_close(&file);
        }
        assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    }
}

/* Weights or gradients that are not finite: several processes report, skip and dump the same as one. */
static void test_numbers(void **state)
{
    (void)state;
    static const float values[] = {INFINITY, 3e38F};
    static const mep_on_nan actions[] = {MEP_NAN_STOP, MEP_NAN_SKIP, MEP_NAN_DUMP};
    for (int v = 0; v < 6; v++) {
        job one = job_for("bad1", "mep_param"), four = job_for("bad4", "mep_param");
        char *path = poisoned_model(&one.settings, values[v % 2]);
        one.settings.on_nan = four.settings.on_nan = actions[v / 2];
        snprintf(one.settings.init, sizeof one.settings.init, "%s", path);
        snprintf(four.settings.init, sizeof four.settings.init, "%s", path);
        run_all(&one, 1, MEP_ERROR_NUMERIC);
        run_all(&four, 4, MEP_ERROR_NUMERIC);
        for (int r = 0; r < 4; r++) {
            assert_string_equal(four.message[r], one.message[0]);
            assert_int_equal(four.steps[r], one.steps[0]);
        }
        if (v >= 4) compare_tokens(&one);
        assert_int_equal(mep_remove_tree(one.run), MEP_OK);
        assert_int_equal(mep_remove_tree(four.run), MEP_OK);
        assert_int_equal(mep_remove_tree(path), MEP_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts),   cmocka_unit_test(test_curve),
                                       cmocka_unit_test(test_resume),  cmocka_unit_test(test_resume_elsewhere),
                                       cmocka_unit_test(test_failure), cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
