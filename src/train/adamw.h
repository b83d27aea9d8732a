/* SPDX-License-Identifier: MIT */
/*
 * AdamW with gradient clipping over a model's parameters. Weight decay falls on matrices and embeddings only.
 */
#ifndef MEP_TRAIN_ADAMW_H
#define MEP_TRAIN_ADAMW_H

#include "model/model.h"

typedef struct mep_adamw_settings {
    double beta1, beta2, eps, weight_decay;
    double max_grad_norm; /* gradients are scaled down to this norm; 0: never */
} mep_adamw_settings;

typedef struct mep_adamw {
    mep_adamw_settings settings;
    int64_t size;    /* values */
    float *m, *v;    /* moments, laid out like the model's values */
    double *partial; /* partial sums of squares */
    int64_t step;    /* updates done */
} mep_adamw;

/* Moments zero, for `model`; *optimizer is the caller's. */
mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings);
void mep_adamw_destroy(mep_adamw **optimizer);

/* Norm of a gradient block, in an order that does not depend on the number of threads. */
double mep_adamw_norm(mep_adamw *optimizer, const float *gradients);

/* One step with gradients of norm `norm` (for clipping) and the given learning rate; the position parameters are then
 * moved into their ranges by the next mep_session_refresh. */
void mep_adamw_step_run(mep_adamw *optimizer, mep_model *model, const float *gradients, double norm,
                        double learning_rate);

#endif
