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

/* Values first .. first + count - 1 of a block. */
typedef struct mep_range {
    int64_t first, count;
} mep_range;

/* A range is worked on in chunks of so many values, the last one shorter. Whoever has a chunk computes the same bits.
 */
enum { MEP_ADAMW_CHUNK = 4096 };

static inline int64_t mep_adamw_chunks(int64_t values)
{
    return (values + MEP_ADAMW_CHUNK - 1) / MEP_ADAMW_CHUNK;
}

typedef struct mep_adamw {
    mep_adamw_settings settings;
    mep_range *part; /* [parts] the values that it updates: all of the model's, or this process's */
    int64_t parts;
    int64_t size;    /* values of all parts */
    float *m, *v;    /* moments of the parts, one after the other */
    int64_t chunks;  /* of all parts */
    double *squares; /* [chunks] */
    int64_t step;    /* updates done */
} mep_adamw;

/* Moments zero, for all values of `model`; *optimizer is the caller's. */
mep_status mep_adamw_create(mep_adamw **optimizer, const mep_model *model, const mep_adamw_settings *settings);
/* The same for some of them. */
mep_status mep_adamw_create_part(mep_adamw **optimizer, const mep_range *part, int64_t parts,
                                 const mep_adamw_settings *settings);
void mep_adamw_destroy(mep_adamw **optimizer);

/* optimizer->squares: the sum of squares of each chunk of the parts of a gradient block, one after the other. */
void mep_adamw_squares(mep_adamw *optimizer, const float *gradients);

/* The root of their sum, in an order that does not depend on the number of threads. */
double mep_adamw_norm(mep_adamw *optimizer, const float *gradients);

/* One step of its parts with gradients of norm `norm` (for clipping) and the given learning rate; the position
 * parameters are then moved into their ranges by the next mep_session_refresh. */
void mep_adamw_step_run(mep_adamw *optimizer, mep_model *model, const float *gradients, double norm,
                        double learning_rate);

#endif
