/* SPDX-License-Identifier: MIT */
/*
 * Numbers gone wrong: which tensor of a step is the first that is not finite, and a folder with what is needed to look
 * at that step. What a run then does is trainer.c's business.
 */
#ifndef MEP_TRAIN_NUMERIC_H
#define MEP_TRAIN_NUMERIC_H

#include "mep/train.h"
#include "model/model_internal.h"

/* A step whose loss or gradient is not finite. Tokens and losses are [batch, length]. */
typedef struct mep_bad_step {
    const char *run;
    const mep_model *model;
    const float *gradients; /* a block like the model's values */
    const int32_t *inputs, *targets;
    const float *losses;
    int64_t batch, length;
    const mep_train_progress *progress; /* step, loss, norm, rate */
} mep_bad_step;

/* The first parameter with a value that is not finite, in the order of the forward pass, and the first gradient, in the
 * order of the backward pass; -1 where all are finite. The parameter is the cause where there is one: from it the
 * forward pass got the rest. */
typedef struct mep_bad_tensors {
    int64_t parameter, gradient;
} mep_bad_tensors;

mep_bad_tensors mep_find_bad_tensors(const mep_model *model, const float *gradients);

/* Write RUN/nan-STEP: step.json (numbers, names, how many values of each tensor are not finite) and tensors.safetensors
 * (inputs, targets, losses, and the tensors that `bad` names as "parameter" and "gradient"). One that is there
 * already is replaced. */
mep_status mep_dump_bad_step(const mep_bad_step *step, mep_bad_tensors bad);

#endif
