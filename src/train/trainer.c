/* SPDX-License-Identifier: MIT */
/*
 * Starting and resuming a run, in one process or several.
 */
#include "mep/train.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "eval/evaluate.h"
#include "train/trainer_state.h"

static mep_status begin(const mep_trainer *t, mep_train_begun_fn begun, void *context)
{
    return begun == NULL ? MEP_OK : mep_dist_agree(t->group, begun(context, &t->settings, t->state.step));
}

/* ---- Start ---- */

/* The number of gradient parts of a new run: that of the settings, or 0 for the number of processes. */
static mep_status choose_parts(mep_trainer *t)
{
    int64_t processes = t->group->size, *parts = &t->settings.gradient_parts;
    char possible[MEP_GRADIENT_PARTS_TEXT];
    if (*parts == 0) *parts = processes;
    if (mep_train_gradient_parts(&t->settings, processes) == *parts) return MEP_OK;
    mep_gradient_parts_processes(*parts, possible);
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "%lld processes cannot sum gradients in %lld parts; start a number of processes that can (%s), or "
                    "use %lld parts",
                    (long long)processes, (long long)*parts, possible, (long long)processes);
}

/* All processes have the same data: a copy on another machine may be out of date. */
static mep_status check_same_data(const mep_trainer *t)
{
    mep_run_checksums c = mep_trainer_checksums(t);
    MEP_TRY(mep_dist_check_same(t->group, c.data, sizeof c.data, t->settings.data));
    return mep_dist_check_same(t->group, c.valid, sizeof c.valid,
                               t->settings.valid[0] != '\0' ? t->settings.valid : t->settings.data);
}

/* Check the settings, with the model's sizes of process 0: they may come from files, which differ on another machine.
 */
static mep_status check_settings(mep_trainer *t)
{
    mep_train_settings *s = &t->settings;
    if (s->model.max_position_embeddings < s->length) s->model.max_position_embeddings = s->length;
    mep_status status = mep_train_check(s);
    if (status == MEP_OK) status = mep_eval_check_device(t->group, s->device, s->dtype);
    MEP_TRY(mep_dist_agree(t->group, status));
    return mep_dist_broadcast(t->group, &s->model, sizeof s->model);
}

/* Everything that can fail before anything is reported or written. */
static mep_status prepare(mep_trainer *t)
{
    int writes = t->group->rank == 0;
    MEP_TRY(choose_parts(t));
    if (writes) MEP_TRY(mep_trainer_check_folder(t));
    MEP_TRY(mep_trainer_open(t));
    return writes ? mep_trainer_initialize(t) : MEP_OK;
}

mep_status mep_train_start_in(mep_dist *group, const char *run, const mep_train_settings *settings,
                              mep_train_begun_fn begun, mep_train_fn progress, void *context)
{
    MEP_REQUIRE(run, settings);
    if (group == NULL) group = &mep_dist_alone;
    mep_trainer t = {.group = group, .run = run, .settings = *settings};
    mep_status status;
    MEP_TRY(check_settings(&t));
    MEP_TRY_OR(status, mep_dist_agree(group, prepare(&t)), end);
    MEP_TRY_OR(status, check_same_data(&t), end);
    MEP_TRY_OR(status, begin(&t, begun, context), end);
    MEP_TRY_OR(status, mep_dist_agree(group, group->rank == 0 ? mep_trainer_make_folder(&t) : MEP_OK), end);
    MEP_TRY_OR(status, mep_trainer_broadcast(&t), end);
    status = mep_trainer_loop(&t, progress, context);
end:
    mep_trainer_close(&t);
    return status;
}

/* ---- Resume ---- */

/* What process 0 reads for all processes. */
typedef struct run_files {
    mep_train_settings settings;
    mep_run_checksums checksums;
    int64_t done; /* steps */
} run_files;

static mep_status read_files(mep_trainer *t, run_files *files)
{
    MEP_TRY(mep_run_read_settings(t->run, &files->settings, &files->checksums));
    return mep_train_steps_done(t->run, &files->done);
}

/* In process 0: read the run's files. An unfinished run is locked until the trainer is destroyed, and read again, since
 * another process may just have ended. A finished one is only compared with its settings, so it may be in a folder that
 * is not writable. */
static mep_status lock_and_read(mep_trainer *t, run_files *files)
{
    MEP_TRY(read_files(t, files));
    if (files->done >= files->settings.steps) return mep_run_check(t->run, &files->settings);
    MEP_TRY(mep_trainer_lock_folder(t));
    return read_files(t, files);
}

static mep_status read_run(mep_trainer *t, run_files *files)
{
    MEP_TRY(mep_dist_agree(t->group, t->group->rank == 0 ? lock_and_read(t, files) : MEP_OK));
    return mep_dist_broadcast(t->group, files, sizeof *files);
}

static mep_status check_data(const mep_trainer *t, const mep_run_checksums *then)
{
    mep_run_checksums now = mep_trainer_checksums(t);
    int differs = strcmp(now.data, then->data) != 0;
    if (!differs && strcmp(now.valid, then->valid) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: is not the data that %s was started with; bring it back, or start a new run",
                    differs || t->settings.valid[0] == '\0' ? t->settings.data : t->settings.valid, t->run);
}

/* Open the data and memory of the run that files describe, before the checkpoint is loaded. */
static mep_status reopen(mep_trainer *t, const run_files *files)
{
    mep_status status = mep_eval_check_device(t->group, t->settings.device, t->settings.dtype);
    if (status != MEP_OK)
        return mep_fail_in(status, "%s computes on %s (--device moves it): ", t->run,
                           mep_device_name(t->settings.device));
    MEP_TRY(mep_trainer_open(t));
    return check_data(t, &files->checksums);
}

/* In process 0: read the newest checkpoint, or the initial weights if there is none. */
static mep_status read_checkpoint(mep_trainer *t, int64_t done, const mep_moments *moments)
{
    if (done == 0) MEP_TRY(mep_trainer_initialize(t));
    MEP_TRY(mep_run_load(t->run, &t->settings, t->model, moments, &t->state));
    return mep_run_trim_log(t->run, t->state.step);
}

static mep_status load(mep_trainer *t, int64_t done)
{
    mep_moments moments = mep_trainer_moments(t);
    mep_status status = t->group->rank == 0 ? read_checkpoint(t, done, &moments) : MEP_OK;
    mep_status finished = mep_moments_finish(&moments);
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK ? status : finished));
    MEP_TRY(mep_dist_broadcast(t->group, &t->state, sizeof t->state));
    t->optimizer->step = t->state.step - t->state.skipped;
    return mep_trainer_broadcast(t);
}

mep_status mep_train_resume_in(mep_dist *group, const char *run, mep_train_begun_fn begun, mep_train_fn progress,
                               void *context)
{
    MEP_REQUIRE(run);
    if (group == NULL) group = &mep_dist_alone;
    mep_trainer t = {.group = group, .run = run};
    run_files *files;
    mep_status status;
    MEP_TRY(MEP_ALLOC(&files, 1));
    MEP_TRY_OR(status, read_run(&t, files), end);
    t.settings = files->settings;
    if (files->done >= files->settings.steps) goto end;
    MEP_TRY_OR(status, mep_dist_agree(group, reopen(&t, files)), end);
    MEP_TRY_OR(status, load(&t, files->done), end);
    MEP_TRY_OR(status, begin(&t, begun, context), end);
    status = mep_trainer_loop(&t, progress, context);
end:
    mep_trainer_close(&t);
    mep_free(&files);
    return status;
}

/* ---- One process ---- */

mep_status mep_train_start(const char *run, const mep_train_settings *settings, mep_train_fn progress, void *context)
{
    return mep_train_start_in(NULL, run, settings, NULL, progress, context);
}

mep_status mep_train_resume(const char *run, mep_train_fn progress, void *context)
{
    return mep_train_resume_in(NULL, run, NULL, progress, context);
}
