/* SPDX-License-Identifier: MIT */
/*
 * The training pass: forward, losses and backward of a session that was created for training.
 */
#ifndef MEP_MODEL_TRAIN_PASS_H
#define MEP_MODEL_TRAIN_PASS_H

#include "model/session.h"

/* Losses [rows] (host) and gradients: the block `gradients`, laid out like the model's values, becomes scale * gradient
 * of the sum of losses; with `accumulate` that is added to it. The first micro-batch of a step overwrites what the
 * block held, which is faster than setting it to 0 first. */
mep_status mep_session_train(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float scale, int accumulate, float *losses, float *gradients);

#endif
