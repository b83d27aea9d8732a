/* SPDX-License-Identifier: MIT */
/*
 * AdamW with gradient clipping over the parameters of a model. Weight decay applies to matrices and embeddings only.
 */
#ifndef MEP_TRAIN_ADAMW_H
#define MEP_TRAIN_ADAMW_H

#include "model/model_internal.h"
#include "nn/network.h"

typedef struct mep_adamw_settings {
    double beta1, beta2, eps, weight_decay;
    double max_grad_norm; /* gradients are scaled down to this norm; 0: never */
} mep_adamw_settings;

/* Values first .. first + count - 1 of a block. */
typedef struct mep_range {
    int64_t first, count;
} mep_range;

/* Moments, parameters and gradients are in the memory of the context's device. A range is processed in chunks
 * (nn/network.h), and the bits of a chunk do not depend on the range that contains it. */
typedef struct mep_adamw {
    mep_adamw_settings settings;
    mep_context context;
    mep_range *ranges; /* [range_count] the values that it updates: all of the model's, or this process's shards */
    int64_t range_count;
    int64_t size;    /* values of all ranges */
    float *m, *v;    /* moments of the ranges, one after the other */
    int64_t chunks;  /* of all ranges */
    double *squares; /* [chunks], in host memory */
    int64_t step;    /* number of updates */
} mep_adamw;

/* Create an optimizer with zero moments for all values of `model`. It must not outlive the context's state. */
mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings,
                            mep_context context);
/* Create an optimizer for some ranges of the values. */
mep_status mep_adamw_create_ranges(mep_adamw **optimizer, const mep_range *ranges, int64_t range_count,
                                   const mep_adamw_settings *settings, mep_context context);
void mep_adamw_destroy(mep_adamw **optimizer);

/* Set optimizer->squares to the sum of squares of each chunk of its ranges in a gradient block. */
mep_status mep_adamw_squares(mep_adamw *optimizer, const float *gradients);

/* Compute the norm of the gradients. The order of the additions does not depend on the number of threads. */
mep_status mep_adamw_norm(mep_adamw *optimizer, const float *gradients, double *norm);

/* Update its ranges of `values`, laid out like the model's, with gradients of norm `norm` (for clipping). The next
 * mep_session_refresh clamps the position parameters to their valid ranges. */
void mep_adamw_step_run(mep_adamw *optimizer, const mep_model *model, float *values, const float *gradients,
                        double norm, double learning_rate);

#endif
