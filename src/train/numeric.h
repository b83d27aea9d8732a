/* SPDX-License-Identifier: MIT */
/*
 * Values that are not finite: find the first such tensor of a step, and write the step to a folder for inspection.
 * trainer_bad_step.c decides what the run does then.
 */
#ifndef MEP_TRAIN_NUMERIC_H
#define MEP_TRAIN_NUMERIC_H

#include "mep/train.h"
#include "model/model_internal.h"

/* A step whose loss or gradient is not finite. Tokens and losses are [batch, length]. */
typedef struct mep_bad_step {
    const char *run;
    const mep_model *model;
    const float *gradients; /* a block laid out like the model's values */
    const int32_t *inputs, *targets;
    const float *losses;
    int64_t batch, length;
    const mep_train_progress *progress; /* step, loss, norm, rate */
} mep_bad_step;

/* The first parameter with a value that is not finite, in the order of the forward pass, and the first such gradient,
 * in the order of the backward pass; -1 if all are finite. If there is such a parameter, it is the cause of the rest.
 */
typedef struct mep_bad_tensors {
    int64_t parameter, gradient;
} mep_bad_tensors;

mep_bad_tensors mep_find_bad_tensors(const mep_model *model, const float *gradients);

/* Write RUN/nan-STEP: step.json (numbers, names, the number of values of each tensor that are not finite) and
 * tensors.safetensors (inputs, targets, losses, and the tensors of `bad` as "parameter" and "gradient"). An existing
 * folder is replaced. */
mep_status mep_dump_bad_step(const mep_bad_step *step, mep_bad_tensors bad);

#endif
