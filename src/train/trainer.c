/* SPDX-License-Identifier: MIT */
/*
 * The training loop: data, micro-batches, AdamW, checkpoints, in one process or divided over several. Files are run.c's
 * business, mathematics model's and adamw's, the order of sums parts.c's and sums.c's, how gradients and moments travel
 * reduction.c's and shards.c's.
 */
#include "mep/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"
#include "eval/evaluate.h"
#include "io/files.h"
#include "io/model_files.h"
#include "mep/device.h"
#include "model/session.h"
#include "model/train_pass.h"
#include "train/adamw.h"
#include "train/data_order.h"
#include "train/numeric.h"
#include "train/parts.h"
#include "train/run.h"
#include "train/run_data.h"
#include "train/run_folder.h"
#include "train/sums.h"

enum { MESSAGE = 1024 };

typedef struct trainer {
    mep_dist *group;
    const char *run;       /* its folder; in process 0 that of `folder` once it is open */
    mep_run_folder folder; /* of process 0 */
    mep_train_settings settings;
    mep_data_mix *data, *valid; /* valid->count is 0 if there is none */
    mep_data_order order;
    mep_eval_result valid_results[MEP_DATA_MIX_MOST]; /* of each corpus, at the last validation */
    mep_model *model;
    mep_session *session;
    mep_shards *shards;
    mep_adamw *optimizer;
    mep_reduction *reduction;
    mep_parts *parts;
    mep_sums *sums;
    float *gradients; /* where the session computes */
    float *space;     /* a block like the model's values in the program's memory: the gradients on the processor */
    float *losses;    /* of all tokens of the step, as inputs and targets are; only the share's are computed */
    int32_t *inputs, *targets;
    int64_t share, part, micro; /* sequences of a step that this process computes, of a part of them, and at a time */
    mep_run_state state;
    int64_t saved; /* step of the newest checkpoint */
    mep_lines log; /* of process 0, during a step */
} trainer;

static void close_trainer(trainer *t)
{
    mep_parts_destroy(&t->parts);
    mep_sums_destroy(&t->sums);
    (void)mep_lines_close(&t->log); /* of a step that failed */
    mep_reduction_destroy(&t->reduction);
    mep_adamw_destroy(&t->optimizer);
    mep_session_destroy(&t->session);
    mep_shards_destroy(&t->shards);
    mep_model_destroy(&t->model);
    mep_data_order_close(&t->order);
    mep_data_mix_close(&t->data);
    mep_data_mix_close(&t->valid);
    mep_run_folder_close(&t->folder);
    if (t->space != t->gradients) mep_free(&t->space);
    mep_device_release(t->settings.device, &t->gradients);
    mep_free(&t->losses);
    mep_free(&t->inputs);
    mep_free(&t->targets);
}

static mep_status open_data(trainer *t)
{
    const mep_train_settings *s = &t->settings;
    mep_data_order unused;
    MEP_TRY(mep_train_open_data(&t->data, s));
    MEP_TRY(mep_train_verify_data(t->data, s));
    MEP_TRY(mep_train_open_valid(&t->valid, s));
    MEP_TRY(mep_train_verify_data(t->valid, s));
    MEP_TRY(mep_data_mix_check_tokenizers(t->data, t->valid));
    MEP_TRY(mep_data_order_open(&unused, t->valid, s->length, 0)); /* too short shows now, not after hours */
    mep_data_order_close(&unused);
    return mep_data_order_open(&t->order, t->data, s->length, s->seed);
}

/* The tokenizer.json of the folder that the run begins from is the data's, where both are known. */
static mep_status check_init_tokenizer(const trainer *t)
{
    mep_tokenizer *model = NULL, *data = NULL;
    char *folder = NULL, *path = NULL;
    const char *name = mep_dataset_tokenizer(t->data->data[0]);
    MEP_TRY(mep_model_folder(t->settings.init, &folder));
    mep_status status = mep_path_join(&path, folder, "tokenizer.json");
    if (status == MEP_OK && name[0] != '\0' && mep_file_exists(path)) {
        status = mep_tokenizer_open(&model, path);
        if (status == MEP_OK) status = mep_tokenizer_open(&data, name);
        if (status == MEP_OK && !mep_tokenizer_equal(model, data))
            status = mep_fail(MEP_ERROR_ARGUMENT,
                              "%s was prepared with the tokenizer %s, but %s reads the tokens of %s; prepare the text "
                              "with that one",
                              t->settings.data, name, t->settings.init, path);
    }
    mep_tokenizer_destroy(&model);
    mep_tokenizer_destroy(&data);
    mep_free(&folder);
    mep_free(&path);
    return status;
}

/* The weights that a new run begins with. */
static mep_status initialize(trainer *t)
{
    if (t->settings.init[0] == '\0') return MEP_OK;
    MEP_TRY(check_init_tokenizer(t));
    return mep_model_read_weights(t->model, t->settings.init);
}

/* Share, part and micro-batch: the largest that is not above micro_batch_size and divides the part. */
static mep_status divide_batch(trainer *t)
{
    const mep_train_settings *s = &t->settings;
    int64_t parts = mep_train_gradient_parts(s, t->group->size);
    if (s->batch_size % t->group->size != 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%lld processes cannot share %lld sequences a step evenly; start as many as divide batch_size",
                        (long long)t->group->size, (long long)s->batch_size);
    t->share = s->batch_size / t->group->size;
    t->part = s->batch_size / parts;
    t->micro = s->micro_batch_size > 0 && s->micro_batch_size < t->part ? s->micro_batch_size : t->part;
    while (t->part % t->micro != 0) t->micro--;
    return MEP_OK;
}

static mep_status open_step(trainer *t)
{
    const mep_train_settings *s = &t->settings;
    mep_adamw_settings adamw = {s->beta1, s->beta2, s->eps, s->weight_decay, s->max_grad_norm};
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = t->micro;
    session.length = s->length;
    session.dtype = s->dtype;
    session.training = 1;
    session.recompute = s->recompute;
    session.device = s->device;
    int64_t rows = 0;
    MEP_TRY(mep_multiply(s->batch_size, s->length, 1, &rows));
    MEP_TRY(mep_session_create(&t->session, t->model, &session));
    mep_context place = mep_session_context(t->session);
    MEP_TRY(mep_device_array(s->device, &t->gradients, t->model->size, sizeof *t->gradients));
    if (s->device == MEP_DEVICE_CPU)
        t->space = t->gradients;
    else
        MEP_TRY(mep_alloc(&t->space, t->model->size, sizeof *t->space));
    MEP_TRY(mep_alloc(&t->losses, rows, sizeof *t->losses));
    MEP_TRY(mep_alloc(&t->inputs, rows, sizeof *t->inputs));
    MEP_TRY(mep_alloc(&t->targets, rows, sizeof *t->targets));
    MEP_TRY(mep_shards_create(&t->shards, t->model, t->group));
    MEP_TRY(mep_adamw_create_part(&t->optimizer, t->shards->own, t->shards->count, &adamw, place));
    MEP_TRY(mep_reduction_create(&t->reduction, t->model, t->shards, t->gradients));
    MEP_TRY(mep_parts_create(&t->parts, t->model, t->share / t->part, t->gradients, t->reduction, place));
    MEP_TRY(mep_sums_create(&t->sums, t->shards, t->share));
    t->session->final_context = t->parts;
    return MEP_OK;
}

/* All memory of a run is taken here, before its first step. */
static mep_status open_trainer(trainer *t)
{
    MEP_TRY(divide_batch(t));
    MEP_TRY(open_data(t));
    mep_status status = mep_model_create(&t->model, &t->settings.model, t->settings.seed);
    if (status == MEP_OK) status = open_step(t);
    if (status == MEP_ERROR_MEMORY)
        mep_fail_in(status, "the run needs more memory than there is; a smaller --micro-batch-size, or --recompute, "
                            "needs less: ");
    return status;
}

/* The parameters of process 0 in all processes, and where they compute: they have read no files, and may be processors
 * of different kinds. */
static mep_status share_parameters(trainer *t)
{
    MEP_TRY(mep_dist_broadcast(t->group, t->model->values, t->model->size * (int64_t)sizeof *t->model->values));
    return mep_session_load(t->session);
}

/* ---- A step ---- */

/* Losses and gradients of this process's share. */
static mep_status accumulate(trainer *t)
{
    const mep_train_settings *s = &t->settings;
    int64_t length = s->length, begin = t->group->rank * t->share, end = begin + t->share;
    float scale = 1.0f / (float)(s->batch_size * length);
    MEP_TRY(mep_session_refresh(t->session));
    for (int64_t b = begin; b < end; b++)
        MEP_TRY(mep_data_order_read(&t->order, t->state.step * s->batch_size + b, t->inputs + b * length,
                                    t->targets + b * length));
    for (int64_t first = begin; first < end; first += t->micro) {
        float *gradients = mep_parts_begin(t->parts, (first - begin) / t->part);
        int last = (first + t->micro) % t->part == 0;
        t->session->final = last ? mep_parts_final : NULL;
        MEP_TRY(mep_session_train(t->session, t->micro, length, t->inputs + first * length, t->targets + first * length,
                                  scale, first % t->part > 0, t->losses + first * length, gradients));
    }
    return MEP_OK;
}

/* The run's folder where it is now, by process 0. */
static mep_status follow(trainer *t, int *moved)
{
    mep_status status = mep_run_folder_follow(&t->folder, moved);
    t->run = t->folder.path;
    return status;
}

/* Write something in the run's folder. Where it is moved just then, what was written goes along: it is written again.
 */
static mep_status write_in_folder(trainer *t, mep_status (*write)(trainer *t))
{
    int moved = 0;
    char reason[MESSAGE];
    MEP_TRY(follow(t, &moved));
    mep_status status = write(t);
    if (status != MEP_ERROR_IO) return status;
    snprintf(reason, sizeof reason, "%s", mep_error_message());
    MEP_TRY(follow(t, &moved));
    return moved ? write(t) : mep_fail(status, "%s", reason);
}

static mep_status open_log(trainer *t)
{
    return mep_run_open_log(t->run, &t->log);
}

/* Loss and gradient norm of the step; the gradients that are this process's to update are then those of all. Nothing is
 * updated where the step could not be logged. */
static mep_status compute(trainer *t, mep_train_progress *p)
{
    int64_t length = t->settings.length;
    const float *losses = t->losses + t->group->rank * t->share * length;
    double loss = 0, square = 0;
    mep_status status = accumulate(t), summed = mep_reduction_finish(t->reduction);
    if (summed == MEP_OK && t->group->rank == 0) summed = write_in_folder(t, open_log);
    int bad = status == MEP_ERROR_NUMERIC; /* the position bias */
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK && !bad ? status : summed));
    MEP_TRY(mep_adamw_squares(t->optimizer, t->gradients)); /* fails on a device alone, which one process has */
    MEP_TRY(mep_sums_run(t->sums, length, bad ? NULL : losses, t->optimizer->squares, &loss, &square));
    p->loss = loss / (double)(t->settings.batch_size * length);
    p->grad_norm = sqrt(square);
    return MEP_OK;
}

/* All of a step's tokens, losses and gradients in every process, which are only looked at when something is wrong. */
static mep_status gather_step(trainer *t)
{
    int64_t tokens = t->share * t->settings.length, own = t->group->rank * tokens;
    MEP_TRY(mep_dist_gather(t->group, t->inputs + own, tokens * (int64_t)sizeof *t->inputs, t->inputs));
    MEP_TRY(mep_dist_gather(t->group, t->targets + own, tokens * (int64_t)sizeof *t->targets, t->targets));
    MEP_TRY(mep_dist_gather(t->group, t->losses + own, tokens * (int64_t)sizeof *t->losses, t->losses));
    MEP_TRY(mep_shards_gather(t->shards, t->gradients));
    if (t->space == t->gradients) return MEP_OK;
    MEP_TRY(mep_session_store(t->session));
    return mep_device_read(t->settings.device, t->space, t->gradients, t->model->size * (int64_t)sizeof *t->space);
}

static mep_status dump(const trainer *t, const mep_train_progress *p, mep_bad_tensors bad)
{
    const mep_bad_step step = {.run = t->run,
                               .model = t->model,
                               .gradients = t->space,
                               .inputs = t->inputs,
                               .targets = t->targets,
                               .losses = t->losses,
                               .batch = t->settings.batch_size,
                               .length = t->settings.length,
                               .progress = p};
    return mep_dump_bad_step(&step, bad);
}

/* What a user can do about a step that is not finite. */
static const char *advice(const trainer *t, mep_bad_tensors bad)
{
    if (bad.parameter >= 0) return t->saved > 0 ? "go back to an older one" : "check the weights that it began with";
    return t->settings.on_nan == MEP_NAN_SKIP ? "try a lower learning rate"
                                              : "try a lower learning rate, or --on-nan skip";
}

static mep_status fail_bad_step(const trainer *t, const mep_train_progress *p, mep_bad_tensors bad, const char *note)
{
    char kept[64] = "there is no checkpoint yet";
    const char *what = bad.parameter >= 0 ? " (the weights)" : bad.gradient >= 0 ? " (the gradient)" : "";
    if (t->saved > 0) snprintf(kept, sizeof kept, "checkpoint %lld is whole", (long long)t->saved);
    return mep_fail(MEP_ERROR_NUMERIC,
                    "step %lld: loss %g, gradient norm %g; first tensor that is not finite: %s%s%s; the step was not "
                    "applied, %s; %s",
                    (long long)p->step, p->loss, p->grad_norm, p->skipped_for, what, note, kept, advice(t, bad));
}

/* The loss or the gradient of a step is not finite: skip the step, or end the run. */
static mep_status handle_bad_step(trainer *t, mep_train_progress *p)
{
    char note[96] = "";
    mep_on_nan action = t->settings.on_nan;
    MEP_TRY(gather_step(t));
    mep_bad_tensors bad = mep_find_bad_tensors(t->model, t->space);
    int64_t first = bad.parameter >= 0 ? bad.parameter : bad.gradient;
    p->skipped_for = first >= 0 ? t->model->tensors[first].name : "loss";
    if (action == MEP_NAN_SKIP && t->state.skipped_in_a_row + 1 < MEP_NAN_MOST) {
        t->state.skipped++;
        t->state.skipped_in_a_row++;
        return MEP_OK;
    }
    if (action == MEP_NAN_SKIP) snprintf(note, sizeof note, ", as in the %d steps before it", MEP_NAN_MOST - 1);
    if (action == MEP_NAN_DUMP) {
        mep_status status = mep_dist_agree(t->group, t->group->rank == 0 ? dump(t, p, bad) : MEP_OK);
        if (status != MEP_OK)
            return mep_fail_in(status,
                               "step %lld: loss %g, gradient norm %g; it cannot be dumped: ", (long long)p->step,
                               p->loss, p->grad_norm);
        snprintf(note, sizeof note, ", all about it is in nan-%lld", (long long)p->step);
    }
    return fail_bad_step(t, p, bad, note);
}

static mep_status run_step(trainer *t, mep_train_progress *p)
{
    const mep_train_settings *s = &t->settings;
    double start = mep_now();
    *p = (mep_train_progress){.step = t->state.step + 1, .steps = s->steps, .valid_loss = NAN};
    p->learning_rate = mep_train_learning_rate(s, t->state.step);
    MEP_TRY(compute(t, p));
    if (isfinite(p->loss) && isfinite(p->grad_norm)) {
        mep_adamw_step_run(t->optimizer, t->model, t->session->values, t->gradients, p->grad_norm, p->learning_rate);
        MEP_TRY(mep_shards_gather(t->shards, t->model->values));
        t->state.skipped_in_a_row = 0;
    } else {
        MEP_TRY(handle_bad_step(t, p));
    }
    t->state.step++;
    p->skipped = t->state.skipped;
    p->tokens_per_second = (double)(s->batch_size * s->length) / (mep_now() - start);
    return MEP_OK;
}

static mep_status validate(trainer *t, mep_train_progress *p)
{
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = t->settings.length;
    e.max_tokens = t->settings.valid_tokens;
    e.batch_tokens = t->micro * t->settings.length;
    e.dtype = t->settings.dtype;
    e.device = t->settings.device;
    double start = mep_now();
    MEP_TRY(mep_session_store(t->session));
    const mep_eval_call call = {.group = t->group, .model = t->model, .settings = &e};
    MEP_TRY(mep_evaluate_mix(&call, t->valid, &result, t->valid_results));
    p->valid_loss = result.loss;
    p->valid_seconds = mep_now() - start;
    return MEP_OK;
}

static mep_moments moments_of(const trainer *t)
{
    return (mep_moments){t->optimizer, t->shards, t->space};
}

static mep_status write_checkpoint(trainer *t)
{
    mep_moments moments = moments_of(t);
    return mep_run_save(t->run, &t->settings, t->model, &moments, &t->state);
}

static mep_status save(trainer *t)
{
    mep_moments moments = moments_of(t);
    mep_status status = mep_session_store(t->session);
    if (status == MEP_OK)
        status = mep_model_sync_bias(t->model); /* position parameters are saved within their ranges */
    if (status == MEP_OK && t->group->rank == 0) status = write_in_folder(t, write_checkpoint);
    mep_status finished = mep_moments_finish(&moments);
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK ? status : finished));
    t->saved = t->state.step;
    return MEP_OK;
}

/* The training cannot go on: data that cannot be read, a log that cannot be written. Save what was done, if that is
 * possible, and hand the failure on. Work is more than a line: a step whose line alone could not be written is saved.
 */
static mep_status end_early(trainer *t, mep_status status)
{
    char reason[MESSAGE];
    if (status == MEP_ERROR_NUMERIC || t->saved == t->state.step || t->group->broken) return status;
    snprintf(reason, sizeof reason, "%s", mep_error_message());
    if (save(t) == MEP_OK) return mep_fail(status, "%s; saved after step %lld", reason, (long long)t->state.step);
    if (t->saved == 0) return mep_fail(status, "%s; nothing could be saved", reason);
    return mep_fail(status, "%s; nothing after step %lld could be saved", reason, (long long)t->saved);
}

/* One step, its validation loss where it is due, and its line in the log. */
static mep_status log_step(trainer *t, mep_train_progress *p)
{
    const mep_train_settings *s = &t->settings;
    mep_status status = MEP_OK, logged = MEP_OK;
    MEP_TRY(run_step(t, p));
    if (t->valid->count > 0 && s->valid_every > 0 && (p->step % s->valid_every == 0 || p->step == s->steps))
        status = validate(t, p);
    if (t->group->rank == 0) {
        logged = mep_run_log(&t->log, p, t->valid, t->valid_results);
        mep_status closed = mep_lines_close(&t->log);
        if (logged == MEP_OK) logged = closed;
    }
    logged = mep_dist_agree(t->group, logged);
    return status != MEP_OK ? status : logged;
}

static mep_status loop(trainer *t, mep_train_fn progress, void *context)
{
    const mep_train_settings *s = &t->settings;
    t->saved = t->state.step;
    while (t->state.step < s->steps) {
        mep_train_progress p;
        mep_status status = log_step(t, &p);
        if (status != MEP_OK) return end_early(t, status);
        p.run = t->run;
        int last = p.step == s->steps, stop = progress != NULL && progress(context, &p) != 0;
        MEP_TRY(mep_dist_any(t->group, &stop));
        if (stop || last || (s->save_every > 0 && p.step % s->save_every == 0)) MEP_TRY(save(t));
        if (stop && !last)
            return mep_fail(MEP_INTERRUPTED, "stopped after step %lld of %lld; everything is saved in %s",
                            (long long)p.step, (long long)s->steps, t->run);
    }
    return MEP_OK;
}

static mep_run_checksums checksums_of(const trainer *t)
{
    mep_run_checksums checksums = {0};
    mep_data_mix_checksums(t->data, checksums.data);
    mep_data_mix_checksums(t->valid, checksums.valid);
    return checksums;
}

/* ---- A run ---- */

static mep_status has_file(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

/* A new run takes no folder that holds another, or a study. Where the other one has other settings, the first is named.
 */
static mep_status check_folder(const trainer *t)
{
    int is_run = 0, is_study = 0;
    MEP_TRY(has_file(t->run, "train.json", &is_run));
    MEP_TRY(has_file(t->run, "study.json", &is_study));
    if (is_study) return mep_fail(MEP_ERROR_ARGUMENT, "%s: is the folder of a study; choose another folder", t->run);
    if (!is_run) return MEP_OK;
    MEP_TRY(mep_run_check_settings(t->run, &t->settings));
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: holds a run already; resume it, or choose another folder", t->run);
}

/* Hold the run's folder against other processes. */
static mep_status hold_folder(trainer *t)
{
    MEP_TRY(mep_run_folder_open(&t->folder, t->run, 1));
    t->run = t->folder.path;
    return MEP_OK;
}

/* The run's folder, by process 0. Another process may have begun a run in it since it was checked. */
static mep_status make_folder(trainer *t)
{
    mep_run_checksums checksums = checksums_of(t);
    MEP_TRY(mep_make_folder(t->run, 1));
    MEP_TRY(hold_folder(t));
    MEP_TRY(check_folder(t));
    MEP_TRY(mep_run_write_tokenizer(t->run, t->data->data[0]));
    return mep_run_write_settings(t->run, &t->settings, &checksums);
}

/* A new run is summed in as many parts as it has processes, or as it was asked for. */
static mep_status choose_parts(trainer *t)
{
    int64_t processes = t->group->size, *parts = &t->settings.gradient_parts;
    char possible[MEP_PARTS_TEXT];
    if (*parts == 0) *parts = processes;
    if (mep_train_gradient_parts(&t->settings, processes) == *parts) return MEP_OK;
    mep_parts_processes(*parts, possible);
    return mep_fail(
        MEP_ERROR_ARGUMENT,
        "%lld processes cannot sum gradients in %lld parts; start as many as can (%s), or ask for %lld parts",
        (long long)processes, (long long)*parts, possible, (long long)processes);
}

/* A copy of the data on another machine may be an old one. */
static mep_status check_same_data(const trainer *t)
{
    mep_run_checksums c = checksums_of(t);
    MEP_TRY(mep_dist_check_same(t->group, c.data, sizeof c.data, t->settings.data));
    return mep_dist_check_same(t->group, c.valid, sizeof c.valid,
                               t->settings.valid[0] != '\0' ? t->settings.valid : t->settings.data);
}

static mep_status begin(const trainer *t, mep_train_begun_fn begun, void *context)
{
    return begun == NULL ? MEP_OK : mep_dist_agree(t->group, begun(context, &t->settings, t->state.step));
}

mep_status mep_train_start_in(mep_dist *group, const char *run, const mep_train_settings *settings,
                              mep_train_begun_fn begun, mep_train_fn progress, void *context)
{
    MEP_REQUIRE(run, settings);
    if (group == NULL) group = &mep_dist_alone;
    trainer t = {.group = group, .run = run, .settings = *settings};
    int writes = group->rank == 0;
    if (t.settings.model.max_position_embeddings < settings->length)
        t.settings.model.max_position_embeddings = settings->length;
    mep_status status = mep_train_check(&t.settings);
    if (status == MEP_OK) status = mep_eval_check_device(group, settings->device, settings->dtype);
    MEP_TRY(mep_dist_agree(group, status));
    /* sizes may come from files, and those of another machine be others */
    MEP_TRY(mep_dist_broadcast(group, &t.settings.model, sizeof t.settings.model));
    status = choose_parts(&t);
    if (status == MEP_OK && writes) status = check_folder(&t);
    if (status == MEP_OK) status = open_trainer(&t);
    if (status == MEP_OK && writes) status = initialize(&t);
    status = mep_dist_agree(group, status); /* before anything is said or written */
    if (status == MEP_OK) status = check_same_data(&t);
    if (status == MEP_OK) status = begin(&t, begun, context);
    if (status == MEP_OK) status = mep_dist_agree(group, writes ? make_folder(&t) : MEP_OK);
    if (status == MEP_OK) status = share_parameters(&t);
    if (status == MEP_OK) status = loop(&t, progress, context);
    close_trainer(&t);
    return status;
}

static mep_status check_data(const trainer *t, const mep_run_checksums *then)
{
    mep_run_checksums now = checksums_of(t);
    int differs = strcmp(now.data, then->data) != 0;
    if (!differs && strcmp(now.valid, then->valid) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: is not the data that %s was started with; bring it back, or start a new run",
                    differs || t->settings.valid[0] == '\0' ? t->settings.data : t->settings.valid, t->run);
}

/* What process 0 reads for all. */
typedef struct run_files {
    mep_train_settings settings;
    mep_run_checksums checksums;
    int64_t done;
} run_files;

static mep_status read_files(trainer *t, run_files *files)
{
    MEP_TRY(mep_run_read_settings(t->run, &files->settings, &files->checksums));
    return mep_train_steps_done(t->run, &files->done);
}

/* A run that is not finished is held from here on, and read again: another process may just have ended. A finished one
 * is only compared with its settings, and may be where nothing can be written. */
static mep_status read_run(trainer *t, run_files *files)
{
    mep_status status = MEP_OK;
    if (t->group->rank == 0) {
        status = read_files(t, files);
        int is_done = status == MEP_OK && files->done >= files->settings.steps;
        if (is_done) status = mep_run_check(t->run, &files->settings);
        if (status == MEP_OK && !is_done) status = hold_folder(t);
        if (status == MEP_OK && !is_done) status = read_files(t, files);
    }
    MEP_TRY(mep_dist_agree(t->group, status));
    return mep_dist_broadcast(t->group, files, sizeof *files);
}

/* The newest checkpoint, or the beginning of a run that has none. */
static mep_status load(trainer *t, int64_t done)
{
    mep_moments moments = moments_of(t);
    mep_status status = MEP_OK;
    if (t->group->rank == 0) {
        if (done == 0) status = initialize(t);
        if (status == MEP_OK) status = mep_run_load(t->run, &t->settings, t->model, &moments, &t->state);
        if (status == MEP_OK) status = mep_run_trim_log(t->run, t->state.step);
    }
    mep_status finished = mep_moments_finish(&moments);
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK ? status : finished));
    MEP_TRY(mep_dist_broadcast(t->group, &t->state, sizeof t->state));
    t->optimizer->step = t->state.step - t->state.skipped;
    return share_parameters(t);
}

mep_status mep_train_resume_in(mep_dist *group, const char *run, mep_train_begun_fn begun, mep_train_fn progress,
                               void *context)
{
    MEP_REQUIRE(run);
    if (group == NULL) group = &mep_dist_alone;
    trainer t = {.group = group, .run = run};
    run_files *files;
    MEP_TRY(mep_alloc(&files, 1, sizeof *files));
    mep_status status = read_run(&t, files);
    t.settings = files->settings;
    if (status == MEP_OK && files->done < files->settings.steps) {
        status = mep_eval_check_device(group, t.settings.device, t.settings.dtype);
        if (status != MEP_OK)
            mep_fail_in(status, "%s computes on %s (--device moves it): ", run, mep_device_name(t.settings.device));
        if (status == MEP_OK) status = open_trainer(&t);
        if (status == MEP_OK) status = check_data(&t, &files->checksums);
        status = mep_dist_agree(group, status);
        if (status == MEP_OK) status = load(&t, files->done);
        if (status == MEP_OK) status = begin(&t, begun, context);
        if (status == MEP_OK) status = loop(&t, progress, context);
    }
    close_trainer(&t);
    mep_free(&files);
    return status;
}

mep_status mep_train_start(const char *run, const mep_train_settings *settings, mep_train_fn progress, void *context)
{
    return mep_train_start_in(NULL, run, settings, NULL, progress, context);
}

mep_status mep_train_resume(const char *run, mep_train_fn progress, void *context)
{
    return mep_train_resume_in(NULL, run, NULL, progress, context);
}
