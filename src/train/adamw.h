/* SPDX-License-Identifier: MIT */
/*
 * AdamW with gradient clipping over a model's parameters. Weight decay falls on matrices and embeddings only.
 */
#ifndef MEP_TRAIN_ADAMW_H
#define MEP_TRAIN_ADAMW_H

#include "model/model.h"
#include "nn/device.h"

typedef struct mep_adamw_settings {
    double beta1, beta2, eps, weight_decay;
    double max_grad_norm; /* gradients are scaled down to this norm; 0: never */
} mep_adamw_settings;

/* Values first .. first + count - 1 of a block. */
typedef struct mep_range {
    int64_t first, count;
} mep_range;

/* Moments, parameters and gradients lie where it computes. A range is worked on in chunks (nn/device.h): whoever has a
 * chunk computes the same bits. */
typedef struct mep_adamw {
    mep_adamw_settings settings;
    mep_context place;
    mep_range *part; /* [parts] the values that it updates: all of the model's, or this process's */
    int64_t parts;
    int64_t size;    /* values of all parts */
    float *m, *v;    /* moments of the parts, one after the other */
    int64_t chunks;  /* of all parts */
    double *squares; /* [chunks], in the program's memory */
    int64_t step;    /* updates done */
} mep_adamw;

/* Moments zero, for all values of `model`; *optimizer is the caller's, and must not outlive the place's state. */
mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings,
                            mep_context place);
/* The same for some of them. */
mep_status mep_adamw_create_part(mep_adamw **optimizer, const mep_range *part, int64_t parts,
                                 const mep_adamw_settings *settings, mep_context place);
void mep_adamw_destroy(mep_adamw **optimizer);

/* optimizer->squares: the sum of squares of each chunk of the parts of a gradient block, one after the other. */
mep_status mep_adamw_squares(mep_adamw *optimizer, const float *gradients);

/* The root of their sum, in an order that does not depend on the number of threads. */
mep_status mep_adamw_norm(mep_adamw *optimizer, const float *gradients, double *norm);

/* One step of its parts of `values`, laid out like the model's, with gradients of norm `norm` (for clipping) and the
 * given learning rate; the position parameters are then moved into their ranges by the next mep_session_refresh. */
void mep_adamw_step_run(mep_adamw *optimizer, const mep_model *model, float *values, const float *gradients,
                        double norm, double learning_rate);

#endif
