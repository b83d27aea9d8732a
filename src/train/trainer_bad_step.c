/* SPDX-License-Identifier: MIT */
/*
 * What a training does about a step whose loss or gradient is not finite: skip it, dump it, or stop.
 */
#include <stdio.h>

#include "base/error.h"
#include "mep/device.h"
#include "train/numeric.h"
#include "train/trainer_state.h"

/* Gather all tokens, losses and gradients of the step in every process. This is done only for a bad step. */
static mep_status gather_step(mep_trainer *t)
{
    int64_t tokens = t->own_sequences * t->settings.length, own = t->group->rank * tokens;
    MEP_TRY(mep_dist_gather(t->group, t->inputs + own, tokens * (int64_t)sizeof *t->inputs, t->inputs));
    MEP_TRY(mep_dist_gather(t->group, t->targets + own, tokens * (int64_t)sizeof *t->targets, t->targets));
    MEP_TRY(mep_dist_gather(t->group, t->losses + own, tokens * (int64_t)sizeof *t->losses, t->losses));
    MEP_TRY(mep_shards_gather(t->shards, t->gradients));
    if (t->space == t->gradients) return MEP_OK;
    MEP_TRY(mep_session_store(t->session));
    return mep_device_read(t->settings.device, t->space, t->gradients, t->model->size * (int64_t)sizeof *t->space);
}

static mep_status dump(const mep_trainer *t, const mep_train_progress *p, mep_bad_tensors bad)
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

/* What the user can do. */
static const char *advice(const mep_trainer *t, mep_bad_tensors bad)
{
    if (bad.parameter >= 0) return t->saved > 0 ? "go back to an older checkpoint" : "check the initial weights";
    return t->settings.on_nan == MEP_NAN_SKIP ? "try a lower learning rate"
                                              : "try a lower learning rate, or --on-nan skip";
}

static mep_status fail(const mep_trainer *t, const mep_train_progress *p, mep_bad_tensors bad, const char *note)
{
    char kept[64] = "there is no checkpoint yet";
    const char *what = bad.parameter >= 0 ? " (the weights)" : bad.gradient >= 0 ? " (the gradient)" : "";
    if (t->saved > 0) snprintf(kept, sizeof kept, "checkpoint %lld is complete", (long long)t->saved);
    return mep_fail(MEP_ERROR_NUMERIC,
                    "step %lld: loss %g, gradient norm %g; first tensor that is not finite: %s%s%s; the step was not "
                    "applied, %s; %s",
                    (long long)p->step, p->loss, p->grad_norm, p->skipped_for, what, note, kept, advice(t, bad));
}

mep_status mep_trainer_bad_step(mep_trainer *t, mep_train_progress *p)
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
        snprintf(note, sizeof note, ", nan-%lld has its tokens and tensors", (long long)p->step);
    }
    return fail(t, p, bad, note);
}
