/* SPDX-License-Identifier: MIT */
/*
 * The comparison study: its runs, the work that is left, and an estimate of the time. trainer.c trains, evaluate.c
 * evaluates, and study_files.c has the files.
 */
#include "train/study_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "eval/evaluate.h"
#include "io/files.h"
#include "mep/attention.h"
#include "model/model_internal.h"
#include "train/run_data.h"

/* Work is counted in floating-point operations of the model. The time that is left follows from the speed of the last
 * minutes, for training and evaluation separately. Index: MEP_STUDY_TRAINING, MEP_STUDY_EVALUATING. */
typedef struct study_work {
    double left[2];
    double done[2], seconds[2]; /* with a weight that decays with the time constant MEMORY */
    double last;                /* clock at the last report */
} study_work;

static const double MEMORY = 120; /* seconds */

enum { MESSAGE = 1024, NO_OWNER = -1 };

typedef struct study {
    mep_dist *group;
    mep_run_folder held; /* process 0 has its lock */
    const mep_study_settings *asked;
    mep_study_lists *all;
    const mep_study_settings *settings; /* `asked` with the lists of the study; owned by `all` */
    mep_study_fn progress;
    void *context;
    mep_study_progress now;
    study_work work;
    double reported;         /* work of the current phase that is already counted */
    double evaluation_start; /* clock */
    char lost[MESSAGE];      /* why the other processes cannot be reached; "" if they can */
    mep_study_plan *plans;   /* [corpora, measures] where each measure is taken */
    int64_t *owner;          /* [runs] the process that does the run, or NO_OWNER */
    int64_t runs;            /* of the lists */
    int64_t at;              /* index of the next run */
    int64_t taken;           /* number of runs with work that have an owner */
} study;

/* One run and what it needs. */
typedef struct study_run {
    int64_t corpus, encoding, seed;
    int is_learned; /* its encoding is "learned" */
    int is_asked;   /* this call asks for it; otherwise it is of an earlier call and only evaluated */
    char folder[MEP_PATH_SIZE];
    mep_train_settings train;
    mep_eval_settings eval;
} study_run;

/* ---- Work ---- */

/* Operations of the forward pass per token. */
static double token_work(const mep_train_settings *s, int64_t length)
{
    return (mep_products_work(&s->model, length) + mep_attention_work(&s->model, length)) / (double)length;
}

static double step_work(const mep_train_settings *s)
{
    return 3 * token_work(s, s->length) * (double)s->batch_size * (double)s->length;
}

/* "learned" has no positions beyond the training length. */
static int can_take(const study_run *r, int64_t length)
{
    return !r->is_learned || length <= r->train.length;
}

/* The steps of a run that need not be trained again. A run with a result at every length is finished even without its
 * weights, for example if its results come from another machine. */
static mep_status find_steps(const study *s, const study_run *r, int64_t *steps)
{
    json_t *eval = NULL;
    int all = 1;
    *steps = 0;
    if (!mep_folder_exists(r->folder)) return MEP_OK;
    MEP_TRY(mep_train_steps_done(r->folder, steps));
    if (*steps >= r->train.steps) return MEP_OK;
    MEP_TRY(mep_study_eval_read(r->folder, &r->eval, r->train.steps, &eval));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->settings->length_count && all && status == MEP_OK; i++) {
        mep_eval_result result = {0};
        status = mep_study_eval_find(eval, r->folder, s->settings->lengths[i], &result);
        all = result.segments > 0 || !can_take(r, s->settings->lengths[i]);
    }
    json_decref(eval);
    if (status == MEP_OK && all) *steps = r->train.steps;
    return status;
}

/* Whether a run has no result at a length, or one without the samples that are needed. Results whose weights are
 * missing stay as they are. */
static mep_status find_missing(const study *s, const study_run *r, const json_t *eval, int64_t length, int *is_missing)
{
    mep_eval_result result = {0};
    double *samples = NULL;
    int64_t steps = 0, count = 0;
    MEP_TRY(mep_study_eval_find(eval, r->folder, length, &result));
    *is_missing = can_take(r, length) && result.segments == 0;
    if (result.segments == 0 || !s->settings->need_samples) return MEP_OK;
    MEP_TRY(mep_study_eval_samples(eval, r->folder, length, &samples, &count));
    mep_free(&samples);
    if (count < 0) MEP_TRY(mep_train_steps_done(r->folder, &steps));
    *is_missing = count < 0 && steps >= r->train.steps;
    return MEP_OK;
}

static const mep_study_plan *plan_of(const study *s, const study_run *r, int64_t measure)
{
    return &s->plans[r->corpus * s->settings->measure_count + measure];
}

/* Count the work that a measure of a run has left. */
static mep_status add_measure_work(study *s, const study_run *r, int64_t measure)
{
    const mep_study_plan *plan = plan_of(s, r, measure);
    mep_study_measurement m;
    MEP_TRY(mep_study_measurement_open(&m, r->folder, s->settings, &r->eval, s->settings->measures[measure]));
    for (int64_t i = 0; i < plan->count; i++) {
        const mep_study_point *point = &plan->points[i];
        if (!can_take(r, point->length) || mep_study_measurement_has(&m, point)) continue;
        double tokens = mep_study_measurement_tokens(&m, point);
        s->work.left[MEP_STUDY_EVALUATING] += token_work(&r->train, point->length) * tokens;
    }
    mep_study_measurement_close(&m);
    return MEP_OK;
}

/* Count the work that a run has left. */
static mep_status add_work(study *s, const study_run *r)
{
    int64_t steps = 0;
    json_t *eval = NULL;
    MEP_TRY(find_steps(s, r, &steps));
    s->work.left[MEP_STUDY_TRAINING] += step_work(&r->train) * (double)(r->train.steps - steps);
    MEP_TRY(mep_study_eval_read(r->folder, &r->eval, r->train.steps, &eval));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->settings->length_count && status == MEP_OK; i++) {
        int64_t length = s->settings->lengths[i];
        int is_missing = 0;
        status = find_missing(s, r, eval, length, &is_missing);
        if (is_missing)
            s->work.left[MEP_STUDY_EVALUATING] += token_work(&r->train, length) * (double)r->eval.max_tokens;
    }
    json_decref(eval);
    for (int64_t i = 0; i < s->settings->measure_count && status == MEP_OK; i++) status = add_measure_work(s, r, i);
    return status;
}

/* The estimated time that is left; NaN before any work is done. */
static double seconds_left(const study_work *w)
{
    double seconds = 0;
    for (int i = 0; i < 2; i++) {
        int known = w->done[i] > 0 ? i : 1 - i;
        if (w->left[i] > 0) seconds += w->left[i] * w->seconds[known] / w->done[known];
    }
    return w->done[0] + w->done[1] > 0 ? seconds : NAN;
}

/* ---- Progress ---- */

/* Returns 1 if the caller wants to stop, or another process has stopped or cannot be reached. */
static int report(study *s)
{
    int stop = 0;
    s->now.seconds_left = seconds_left(&s->work);
    if (mep_dist_notified(s->group, &stop) != MEP_OK) {
        snprintf(s->lost, MESSAGE, "%s", mep_error_message());
        stop = 1;
    }
    return (s->progress != NULL && s->progress(s->context, &s->now) != 0) || stop;
}

/* Report that `work` of the current phase is done in all. The speed of a phase is a mean that forgets old reports
 * (MEMORY seconds). */
static int report_work(study *s, double work)
{
    study_work *w = &s->work;
    double now = mep_now(), made = work - s->reported, kept = exp(-(now - w->last) / MEMORY);
    int phase = s->now.phase == MEP_STUDY_TRAINING ? MEP_STUDY_TRAINING : MEP_STUDY_EVALUATING;
    w->left[phase] = fmax(w->left[phase] - made, 0);
    w->done[phase] = kept * w->done[phase] + made;
    w->seconds[phase] = kept * w->seconds[phase] + now - w->last;
    w->last = now;
    s->reported = work;
    return report(s);
}

static void begin_phase(study *s, mep_study_phase phase, int64_t length)
{
    s->now.phase = phase;
    s->now.length = length;
    s->now.measure = NULL;
    s->now.train = NULL;
    s->now.at = NAN;
    s->now.done = s->now.total = 0;
    s->now.loss = s->now.tokens_per_second = NAN;
    s->reported = 0;
    s->work.last = s->evaluation_start = mep_now();
}

typedef struct phase_context {
    study *study;
    const study_run *run;
    int64_t first; /* number of earlier steps; -1: not known yet */
} phase_context;

static int training_progress(void *context, const mep_train_progress *p)
{
    phase_context *c = context;
    mep_study_progress *now = &c->study->now;
    if (c->first < 0) c->first = p->step - 1;
    now->done = p->step;
    now->total = p->steps;
    now->loss = p->loss;
    now->tokens_per_second = p->tokens_per_second;
    now->train = p;
    return report_work(c->study, step_work(&c->run->train) * (double)(p->step - c->first));
}

static int evaluation_progress(void *context, int64_t done, int64_t total, double loss)
{
    phase_context *c = context;
    mep_study_progress *now = &c->study->now;
    now->done = done;
    now->total = total;
    now->loss = loss;
    now->tokens_per_second = (double)done / (mep_now() - c->study->evaluation_start);
    return report_work(c->study, token_work(&c->run->train, now->length) * (double)done);
}

/* The total of a measure is an estimate; the work that is left follows from its own one. */
static int measure_progress(void *context, int64_t done, int64_t total, double loss)
{
    if (done > total) total = done;
    return evaluation_progress(context, done, total, loss);
}

/* ---- Runs ---- */

static int is_asked_run(const study *s, int64_t encoding, int64_t seed)
{
    int has_encoding = 0, has_seed = 0;
    for (int64_t i = 0; i < s->asked->encoding_count; i++)
        has_encoding |= strcmp(mep_study_lists_asked(s->all)[i], s->settings->encodings[encoding]) == 0;
    for (int64_t i = 0; i < s->asked->seed_count; i++) has_seed |= s->asked->seeds[i] == s->settings->seeds[seed];
    return has_encoding && has_seed;
}

/* Set the run's folder in the present folder of the study. */
static mep_status find_folder(study *s, study_run *r)
{
    int moved = 0;
    MEP_TRY(mep_run_folder_follow(&s->held, &moved));
    s->now.folder = s->held.path;
    return mep_study_run_folder(s->held.path, s->settings, r->corpus, r->encoding, r->seed, r->folder);
}

static mep_status find_learned(study_run *r)
{
    mep_position *position = NULL;
    MEP_TRY(mep_position_create(&position, r->train.model.position_encoding));
    r->is_learned = mep_position_get_kind(position) == MEP_POSITION_LEARNED;
    mep_position_destroy(&position);
    return MEP_OK;
}

static mep_status plan_run(study *s, int64_t corpus, int64_t seed, int64_t encoding, study_run *r)
{
    *r = (study_run){.corpus = corpus, .encoding = encoding, .seed = seed};
    r->is_asked = is_asked_run(s, encoding, seed);
    MEP_TRY(find_folder(s, r));
    MEP_TRY(mep_study_run_settings(s->settings, corpus, encoding, seed, &r->train));
    MEP_TRY(find_learned(r));
    return mep_study_eval_settings(s->settings, corpus, &r->eval);
}

static mep_status train(study *s, const study_run *r)
{
    phase_context context = {.study = s, .run = r, .first = -1};
    char *path = NULL;
    int64_t steps = 0;
    MEP_TRY(mep_path_join(&path, r->folder, "train.json"));
    int exists = mep_file_exists(path);
    mep_free(&path);
    begin_phase(s, MEP_STUDY_TRAINING, r->train.length);
    if (!exists) return mep_train_start(r->folder, &r->train, training_progress, &context);
    MEP_TRY(mep_run_check_settings(r->folder, &r->train));
    MEP_TRY(find_steps(s, r, &steps));
    return steps < r->train.steps ? mep_train_resume(r->folder, training_progress, &context) : MEP_OK;
}

/* What evaluations and measures of a run need. It is loaded when the first of them is missing. */
typedef struct run_files {
    mep_model *model;
    mep_data_mix *data;
} run_files;

static mep_status load_files(const study_run *r, run_files *files)
{
    int64_t steps = 0;
    MEP_TRY(mep_train_steps_done(r->folder, &steps));
    if (steps < r->train.steps)
        return mep_fail(MEP_ERROR_IO,
                        "the run has results, but not the weights that a new one needs; bring its checkpoint back, or "
                        "remove its eval.json to train it again");
    if (files->model == NULL) MEP_TRY(mep_model_load(&files->model, r->folder));
    return files->data == NULL ? mep_train_open_valid(&files->data, &r->train) : MEP_OK;
}

static mep_status evaluate_length(study *s, study_run *r, int64_t length, json_t *eval, const run_files *files)
{
    phase_context context = {.study = s, .run = r};
    mep_eval_settings settings = r->eval;
    mep_eval_result result = {0};
    settings.length = length;
    begin_phase(s, MEP_STUDY_EVALUATING, length);
    double *samples = NULL;
    const mep_eval_call call = {.model = files->model,
                                .settings = &settings,
                                .progress = evaluation_progress,
                                .context = &context,
                                .samples = &samples};
    mep_status status = mep_evaluate_mix(&call, files->data, &result, NULL);
    if (status == MEP_OK) status = find_folder(s, r);
    if (status == MEP_OK) status = mep_study_eval_add(eval, r->folder, &result, samples);
    mep_free(&samples);
    return status;
}

static mep_status measure_point(study *s, study_run *r, mep_study_measurement *m, const mep_study_point *point,
                                const run_files *files)
{
    phase_context context = {.study = s, .run = r};
    begin_phase(s, MEP_STUDY_MEASURING, point->length);
    s->now.measure = m->spec;
    s->now.at = point->at;
    MEP_TRY(mep_study_measurement_take(m, point, files->model, files->data, measure_progress, &context));
    MEP_TRY(find_folder(s, r));
    return mep_study_measurement_save(m, r->folder);
}

/* Take measure number `index` of a run at all points where it is missing. */
static mep_status measure(study *s, study_run *r, int64_t index, run_files *files)
{
    const mep_study_plan *plan = plan_of(s, r, index);
    const char *spec = s->settings->measures[index];
    mep_study_measurement m;
    MEP_TRY(mep_study_measurement_open(&m, r->folder, s->settings, &r->eval, spec));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < plan->count && status == MEP_OK; i++) {
        if (!can_take(r, plan->points[i].length) || mep_study_measurement_has(&m, &plan->points[i])) continue;
        status = load_files(r, files);
        if (status == MEP_OK) status = measure_point(s, r, &m, &plan->points[i], files);
    }
    mep_study_measurement_close(&m);
    if (status == MEP_OK || status == MEP_INTERRUPTED) return status;
    return mep_fail_in(status, "%s: ", spec);
}

/* Evaluate all lengths without a result, then take all measures. */
static mep_status evaluate(study *s, study_run *r)
{
    json_t *eval = NULL;
    run_files files = {.model = NULL};
    mep_status status;
    MEP_TRY(find_folder(s, r));
    MEP_TRY_OR(status, mep_study_eval_read(r->folder, &r->eval, r->train.steps, &eval), end);
    for (int64_t i = 0; i < s->settings->length_count; i++) {
        int64_t length = s->settings->lengths[i];
        int is_missing = 0;
        MEP_TRY_OR(status, find_missing(s, r, eval, length, &is_missing), end);
        if (!is_missing) continue;
        MEP_TRY_OR(status, load_files(r, &files), end);
        MEP_TRY_OR(status, evaluate_length(s, r, length, eval, &files), end);
    }
    for (int64_t i = 0; i < s->settings->measure_count; i++) MEP_TRY_OR(status, measure(s, r, i, &files), end);
end:
    json_decref(eval);
    mep_model_destroy(&files.model);
    mep_data_mix_close(&files.data);
    return status;
}

/* Train and evaluate a run if it is one of this process. Runs without work are passed over. */
static mep_status do_run(study *s, study_run *r)
{
    int64_t owner = s->owner[s->at++];
    if (owner == NO_OWNER) return MEP_OK;
    s->now.run++;
    if (owner != s->group->rank) return MEP_OK;
    s->now.corpus = s->settings->corpora[r->corpus];
    s->now.encoding = s->settings->encodings[r->encoding];
    s->now.seed = r->train.seed;
    mep_status status = r->is_asked ? train(s, r) : MEP_OK;
    if (status == MEP_OK) status = evaluate(s, r);
    if (status == MEP_INTERRUPTED) return status;
    if (status != MEP_OK) return mep_fail_in(status, "%s: ", r->folder);
    begin_phase(s, MEP_STUDY_RUN_DONE, 0);
    if (report(s) != 0 && s->now.run < s->now.runs)
        return mep_fail(MEP_INTERRUPTED, "stopped after run %lld of %lld", (long long)s->now.run,
                        (long long)s->now.runs);
    return MEP_OK;
}

/* Call `action` for each run, all encodings of the first seed first. */
static mep_status for_each_run(study *s, mep_status (*action)(study *, study_run *))
{
    s->at = 0;
    for (int64_t corpus = 0; corpus < s->settings->corpus_count; corpus++)
        for (int64_t seed = 0; seed < s->settings->seed_count; seed++)
            for (int64_t encoding = 0; encoding < s->settings->encoding_count; encoding++) {
                study_run run;
                MEP_TRY(plan_run(s, corpus, seed, encoding, &run));
                MEP_TRY(action(s, &run));
            }
    return MEP_OK;
}

/* Choose the process for the next run: runs with work go to the processes in turn, finished ones are reported by
 * process 0. A run of an earlier call is not trained further; if it is trained, it is evaluated at every length, so
 * that the table is complete and all results are of the same tokens and dtype. */
static mep_status choose_owner(study *s, study_run *r)
{
    double before = s->work.left[0] + s->work.left[1];
    int64_t *owner = &s->owner[s->at++], steps = 0;
    *owner = NO_OWNER;
    MEP_TRY(find_steps(s, r, &steps));
    if (!r->is_asked && steps < r->train.steps) return MEP_OK;
    MEP_TRY(add_work(s, r));
    int has_work = s->work.left[0] + s->work.left[1] > before;
    if (has_work || r->is_asked) *owner = has_work ? s->taken++ % s->group->size : 0;
    return MEP_OK;
}

static mep_status add_own_work(study *s, study_run *r)
{
    return s->owner[s->at++] == s->group->rank ? add_work(s, r) : MEP_OK;
}

/* Process 0 finds the work that is left before any process starts. */
static mep_status divide(study *s)
{
    mep_status status = s->group->rank == 0 ? for_each_run(s, choose_owner) : MEP_OK;
    MEP_TRY(mep_dist_agree(s->group, status));
    MEP_TRY(mep_dist_broadcast(s->group, s->owner, s->runs * (int64_t)sizeof *s->owner));
    s->work.left[0] = s->work.left[1] = 0;
    for (int64_t i = 0; i < s->runs; i++) s->now.runs += s->owner[i] != NO_OWNER;
    return mep_dist_agree(s->group, for_each_run(s, add_own_work));
}

/* All processes have the same data: a copy on another machine may be out of date. */
static mep_status check_same_data(const study *s, const mep_study_corpus *corpora)
{
    const int64_t *vocabulary = &s->settings->train.model.vocab_size;
    for (int64_t i = 0; i < s->settings->corpus_count; i++)
        MEP_TRY(mep_dist_check_same(s->group, &corpora[i], sizeof *corpora, s->settings->corpora[i]));
    return mep_dist_check_same(s->group, vocabulary, sizeof *vocabulary, s->settings->corpora[0]);
}

/* All processes see the same folder, not a folder of the same name on each machine: process 0 creates an entry that the
 * others must see. */
static mep_status check_common_folder(const study *s, const char *folder)
{
    char name[32] = "", *path = NULL;
    struct timespec now = {0};
    (void)timespec_get(&now, TIME_UTC);
    snprintf(name, sizeof name, ".seen-%" PRIx64, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
    mep_status status = mep_dist_broadcast(s->group, name, sizeof name);
    if (status == MEP_OK) status = mep_path_join(&path, folder, name);
    if (status == MEP_OK && s->group->rank == 0) status = mep_make_folder(path, 0);
    status = mep_dist_agree(s->group, status);
    if (status == MEP_OK && !mep_folder_exists(path))
        status =
            mep_fail(MEP_ERROR_IO, "%s: is not the folder of process 0; all processes need a common folder", folder);
    status = mep_dist_agree(s->group, status);
    if (path != NULL && s->group->rank == 0) (void)mep_remove_tree(path);
    mep_free(&path);
    return status;
}

/* Process 0 opens and locks the folder; then all processes read the lists of the study. */
static mep_status open_folder(study *s, const char *folder, const mep_study_corpus *corpora)
{
    int writes = s->group->rank == 0;
    MEP_TRY(mep_dist_agree(s->group, writes ? mep_study_open_folder(folder, s->asked, corpora, &s->held) : MEP_OK));
    if (s->group->size > 1) MEP_TRY(check_common_folder(s, folder));
    mep_status status = writes ? MEP_OK : mep_run_folder_open(&s->held, folder, 0);
    if (status == MEP_OK) status = mep_study_lists_read(&s->all, folder, s->asked);
    if (status == MEP_OK) s->settings = mep_study_lists_settings(s->all);
    s->runs = s->settings->corpus_count * s->settings->seed_count * s->settings->encoding_count;
    if (status == MEP_OK) status = MEP_ALLOC(&s->owner, s->runs);
    return mep_dist_agree(s->group, status);
}

/* Find where the measures of the study are taken on a corpus. */
static mep_status plan_corpus(study *s, int64_t corpus)
{
    const mep_study_settings *all = s->settings;
    mep_train_settings run = all->train;
    mep_data_mix *data = NULL;
    mep_eval_settings eval;
    mep_status status;
    MEP_TRY(mep_study_data_settings(all, corpus, &run));
    MEP_TRY(mep_train_open_valid(&data, &run));
    MEP_TRY_OR(status, mep_study_eval_settings_on(all, data, &eval), end);
    for (int64_t i = 0; i < all->measure_count; i++) {
        mep_study_plan *plan = &s->plans[corpus * all->measure_count + i];
        status = mep_study_plan_measure(all, s->asked, all->measures[i], &eval, data, plan);
        MEP_TRY_OR(status, status == MEP_OK ? MEP_OK : mep_fail_in(status, "%s: ", all->measures[i]), end);
    }
end:
    mep_data_mix_close(&data);
    return status;
}

static mep_status plan_measures(study *s)
{
    const mep_study_settings *all = s->settings;
    if (all->measure_count == 0) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&s->plans, all->corpus_count * all->measure_count));
    for (int64_t i = 0; i < all->corpus_count; i++) MEP_TRY(plan_corpus(s, i));
    return MEP_OK;
}

static void free_plans(study *s)
{
    int64_t count = s->plans != NULL ? s->settings->corpus_count * s->settings->measure_count : 0;
    for (int64_t i = 0; i < count; i++) mep_free(&s->plans[i].points);
    mep_free(&s->plans);
}

/* Do all runs, and agree on the status with all processes. A failure keeps its message if the others cannot be reached,
 * and a process that stopped for this reason reports it. */
static mep_status do_runs(study *s)
{
    char message[MESSAGE];
    mep_status status = for_each_run(s, do_run);
    if (s->lost[0] != '\0' && (status == MEP_OK || status == MEP_INTERRUPTED))
        status = mep_fail(MEP_ERROR_IO, "%s; when it is started again, the study continues from here", s->lost);
    if (status == MEP_OK) return mep_dist_agree(s->group, status);
    snprintf(message, MESSAGE, "%s", mep_error_message());
    if (mep_dist_notify(s->group) != MEP_OK) return mep_fail(status, "%s", message);
    return mep_dist_agree(s->group, status);
}

/* Check that the device supports the heads of the runs, before study.json is written. */
static mep_status check_attention(const mep_train_settings *t)
{
    mep_attention_settings a;
    mep_attention *plan = NULL;
    if (mep_device_is_host(t->device)) return MEP_OK;
    mep_attention_defaults(&a);
    a.heads = t->model.num_attention_heads;
    a.head_dim = mep_head_dim(&t->model);
    a.max_length = t->length;
    a.dtype = t->dtype;
    a.device = t->device;
    mep_status status = mep_attention_create(&plan, &a);
    mep_attention_destroy(&plan);
    return status;
}

/* Check all settings and the data before anything is written. The caller frees *corpora. */
static mep_status check(const study *s, mep_study_corpus **corpora)
{
    const mep_study_settings *settings = s->asked;
    MEP_TRY(MEP_ALLOC(corpora, settings->corpus_count));
    MEP_TRY(mep_study_check(settings, *corpora));
    MEP_TRY(mep_eval_check_device(s->group, settings->train.device, settings->train.dtype));
    MEP_TRY(mep_eval_check_device(s->group, settings->eval.device, settings->eval.dtype));
    return check_attention(&settings->train);
}

mep_status mep_study_run_in(mep_dist *group, const char *folder, const mep_study_settings *settings,
                            mep_study_fn progress, void *context)
{
    MEP_REQUIRE(folder, settings);
    MEP_TRY(mep_study_check_lists(__func__, settings));
    if (group == NULL) group = &mep_dist_alone;
    study s = {.group = group, .asked = settings, .settings = settings, .progress = progress, .context = context};
    mep_study_corpus *corpora = NULL;
    mep_status status;
    MEP_TRY_OR(status, mep_dist_agree(group, check(&s, &corpora)), end);
    MEP_TRY_OR(status, check_same_data(&s, corpora), end);
    MEP_TRY_OR(status, open_folder(&s, folder, corpora), end);
    MEP_TRY_OR(status, mep_dist_agree(group, plan_measures(&s)), end);
    MEP_TRY_OR(status, divide(&s), end);
    status = do_runs(&s);
end:
    mep_free(&corpora);
    mep_free(&s.owner);
    free_plans(&s);
    mep_study_lists_free(&s.all);
    mep_run_folder_close(&s.held);
    return status;
}

mep_status mep_study_run(const char *folder, const mep_study_settings *settings, mep_study_fn progress, void *context)
{
    return mep_study_run_in(NULL, folder, settings, progress, context);
}
