/* SPDX-License-Identifier: MIT */
/*
 * The training loop: steps, validation, the log, and checkpoints.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "eval/evaluate.h"
#include "train/trainer_state.h"

/* ---- Checkpoints ---- */

static mep_status write_checkpoint(mep_trainer *t)
{
    mep_moments moments = mep_trainer_moments(t);
    return mep_run_save(t->run, &t->settings, t->model, &moments, &t->state);
}

static mep_status save(mep_trainer *t)
{
    mep_moments moments = mep_trainer_moments(t);
    mep_status status = mep_session_store(t->session);
    if (status == MEP_OK) status = mep_model_sync_bias(t->model); /* clamps the position parameters that are saved */
    if (status == MEP_OK && t->group->rank == 0) status = mep_trainer_write(t, write_checkpoint);
    mep_status finished = mep_moments_finish(&moments);
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK ? status : finished));
    t->saved = t->state.step;
    return MEP_OK;
}

/* The training cannot continue, because data cannot be read or the log cannot be written: save the finished steps if
 * possible and return the failure. A step is saved even if its line could not be written. */
static mep_status end_early(mep_trainer *t, mep_status status)
{
    char reason[MEP_TRAINER_MESSAGE];
    if (status == MEP_ERROR_NUMERIC || t->saved == t->state.step || t->group->broken) return status;
    snprintf(reason, sizeof reason, "%s", mep_error_message());
    if (save(t) == MEP_OK) return mep_fail(status, "%s; saved after step %lld", reason, (long long)t->state.step);
    if (t->saved == 0) return mep_fail(status, "%s; nothing could be saved", reason);
    return mep_fail(status, "%s; nothing after step %lld could be saved", reason, (long long)t->saved);
}

/* ---- Steps ---- */

static mep_status validate(mep_trainer *t, mep_train_progress *p)
{
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = t->settings.length;
    e.max_tokens = t->settings.valid_tokens;
    e.batch_tokens = t->micro_sequences * t->settings.length;
    e.dtype = t->settings.dtype;
    e.device = t->settings.device;
    const mep_eval_call call = {.group = t->group, .model = t->model, .settings = &e};
    double start = mep_now();
    MEP_TRY(mep_session_store(t->session));
    MEP_TRY(mep_evaluate_mix(&call, t->valid, &result, t->valid_results));
    p->valid_loss = result.loss;
    p->valid_seconds = mep_now() - start;
    return MEP_OK;
}

/* Run one step, the validation if it is due, and write the step's line to the log. */
static mep_status run_step(mep_trainer *t, mep_train_progress *p)
{
    const mep_train_settings *s = &t->settings;
    mep_status status = MEP_OK, logged = MEP_OK;
    MEP_TRY(mep_trainer_step(t, p));
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

mep_status mep_trainer_loop(mep_trainer *t, mep_train_fn progress, void *context)
{
    const mep_train_settings *s = &t->settings;
    t->saved = t->state.step;
    while (t->state.step < s->steps) {
        mep_train_progress p;
        mep_status status = run_step(t, &p);
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
