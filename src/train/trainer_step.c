/* SPDX-License-Identifier: MIT */
/*
 * One training step: the gradients of all micro-batches, their sum over processes, and the update.
 */
#include <math.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/integer.h"
#include "model/train_pass.h"
#include "train/trainer_state.h"

/* Read the tokens of this process's sequences. */
static mep_status read_tokens(mep_trainer *t)
{
    int64_t length = t->settings.length, begin = t->group->rank * t->own_sequences;
    for (int64_t b = begin; b < begin + t->own_sequences; b++)
        MEP_TRY(mep_data_order_read(&t->order, t->state.step * t->settings.batch_size + b, t->inputs + b * length,
                                    t->targets + b * length));
    return MEP_OK;
}

/* Count the trained targets of the step, of all processes: the number that losses and gradients are divided by. At
 * least 1: a step may have none. */
static mep_status count_targets(mep_trainer *t)
{
    t->trained_targets = 0;
    for (int64_t b = 0; b < t->settings.batch_size; b++) {
        int64_t trained = 0, index = t->state.step * t->settings.batch_size + b;
        MEP_TRY(mep_data_order_trained(&t->order, index, t->targets + b * t->settings.length, &trained));
        t->trained_targets += trained;
    }
    t->trained_targets = max_i64(t->trained_targets, 1);
    return MEP_OK;
}

/* Compute losses and gradients of this process's sequences. */
static mep_status accumulate(mep_trainer *t)
{
    int64_t length = t->settings.length, begin = t->group->rank * t->own_sequences, end = begin + t->own_sequences;
    MEP_TRY(count_targets(t));
    float scale = 1.0f / (float)t->trained_targets;
    MEP_TRY(mep_session_refresh(t->session));
    MEP_TRY(read_tokens(t));
    for (int64_t first = begin; first < end; first += t->micro_sequences) {
        float *gradients = mep_gradient_tree_begin(t->tree, (first - begin) / t->part_sequences);
        int ends_part = (first + t->micro_sequences) % t->part_sequences == 0;
        t->session->final = ends_part ? mep_gradient_tree_final : NULL;
        const mep_train_batch batch = {.batch = t->micro_sequences,
                                       .length = length,
                                       .inputs = t->inputs + first * length,
                                       .targets = t->targets + first * length,
                                       .scale = scale,
                                       .accumulate = first % t->part_sequences > 0};
        MEP_TRY(mep_session_train(t->session, &batch, t->losses + first * length, gradients));
    }
    return MEP_OK;
}

static mep_status open_log(mep_trainer *t)
{
    return mep_run_open_log(t->run, &t->log);
}

/* Compute the loss and the gradient norm of the step. Afterwards the gradients of this process's shards are the sums of
 * all processes. The log is opened first: a step that cannot be logged must not update anything. */
static mep_status compute(mep_trainer *t, mep_train_progress *p)
{
    int64_t length = t->settings.length;
    const float *losses = t->losses + t->group->rank * t->own_sequences * length;
    double loss = 0, square = 0;
    mep_status status = accumulate(t), summed = mep_reduction_finish(t->reduction);
    if (summed == MEP_OK && t->group->rank == 0) summed = mep_trainer_write(t, open_log);
    int is_bad = status == MEP_ERROR_NUMERIC; /* the position bias is not finite */
    MEP_TRY(mep_dist_agree(t->group, status != MEP_OK && !is_bad ? status : summed));
    MEP_TRY(mep_adamw_squares(t->optimizer, t->gradients)); /* can fail on a device only, which has one process */
    MEP_TRY(mep_sums_run(t->sums, length, is_bad ? NULL : losses, t->optimizer->squares, &loss, &square));
    p->loss = loss / (double)t->trained_targets;
    p->grad_norm = sqrt(square);
    return MEP_OK;
}

mep_status mep_trainer_step(mep_trainer *t, mep_train_progress *p)
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
        MEP_TRY(mep_trainer_bad_step(t, p));
    }
    t->state.step++;
    p->skipped = t->state.skipped;
    p->tokens_per_second = (double)(s->batch_size * s->length) / (mep_now() - start);
    return MEP_OK;
}
