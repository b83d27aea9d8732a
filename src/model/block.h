/* SPDX-License-Identifier: MIT */
/*
 * A transformer block: norm, attention and MLP with their residual connections, forward and backward. Which norm, MLP
 * and residual connection is the model's configuration.
 */
#ifndef MEP_MODEL_BLOCK_H
#define MEP_MODEL_BLOCK_H

#include "model/session.h"

/* A norm of the model: the indices of its parameters (-1: there is none), and what it keeps for the backward pass. */
typedef struct mep_norm_state {
    int64_t weight, bias;
    float *mean, *rstd;
} mep_norm_state;

/* y = norm of rows of x [rows, hidden]. */
void mep_normalize(const mep_session *session, mep_row_range rows, const float *x, const mep_norm_state *norm,
                   mep_activation y);

/* y = norm(x) of all rows: dx += gradient of x, and the gradients of the norm's parameters, from dy. */
void mep_normalize_backward(const mep_session *session, const float *x, const mep_norm_state *norm, mep_activation dy,
                            float *dx, float *gradients);

/* The two norms of a layer. */
mep_norm_state mep_norm1(const mep_session *session, int64_t layer);
mep_norm_state mep_norm2(const mep_session *session, int64_t layer);

/* Queries (0), keys (1) or values (2) of rows of an activation laid out as qkv; and the norm of queries or keys. */
mep_activation mep_qkv_part(const mep_session *session, mep_activation qkv, mep_row_range rows, int which);
mep_head_norm mep_head_norm_of(const mep_session *session, int64_t layer, mep_row_range rows, int which);

/* The attention of a layer as its keys and values take it. */
mep_kv_call mep_attention_call_of(const mep_session *session, int64_t layer);

/* x[layer] -> x[layer + 1]; with `inner` only what the backward pass needs: everything except the last product. */
mep_status mep_block_forward(mep_session *session, int64_t layer, int inner);

/* dx at the output of the layer -> dx at its input, and the gradients of the layer's tensors. */
mep_status mep_block_backward(mep_session *session, int64_t layer, float *gradients);

#endif
