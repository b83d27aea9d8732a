/* SPDX-License-Identifier: MIT */
/*
 * The training pass: forward, losses and backward of a session that was created for training.
 */
#ifndef MEP_MODEL_TRAIN_PASS_H
#define MEP_MODEL_TRAIN_PASS_H

#include "model/session.h"

/* A micro-batch: `batch` sequences of `length` tokens. */
typedef struct mep_train_batch {
    int64_t batch, length;
    const int32_t *inputs, *targets; /* [batch, length] */
    float scale;                     /* of the gradients: they are scale * gradient of the sum of losses */
    int accumulate;                  /* add to the gradients; 0: overwrite them, which is faster than clearing them */
} mep_train_batch;

/* Compute losses [batch, length] (host) and gradients, a block laid out like the model's values in the memory of the
 * session's device. */
mep_status mep_session_train(mep_session *session, const mep_train_batch *batch, float *losses, float *gradients);

#endif
