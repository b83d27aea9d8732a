/* SPDX-License-Identifier: MIT */
/*
 * Position encodings that depend on the content, in a block: the products that make gates, profiles and mixture weights
 * of the input of attention, the scaling of queries, and the gradients of all their parameters. What attention does
 * with them is in attention/content.h. Everything is in host memory; a session elsewhere refuses such a model.
 */
#ifndef MEP_MODEL_CONTENT_TERMS_H
#define MEP_MODEL_CONTENT_TERMS_H

#include "model/session.h"

/* Allocate what a session and its layers need. Called for each layer whose activations are its own. */
mep_status mep_content_allocate(mep_session *session);
mep_status mep_content_allocate_layer(mep_session *session, mep_layer_state *layer, int64_t rows);

/* After the parameters changed. */
void mep_content_refresh(mep_session *session);

/* The products of rows of norm1. */
mep_status mep_content_forward(mep_session *session, int64_t layer, mep_row_range rows);

/* Before the backward pass of a step: what is summed over layers. */
void mep_content_clear(mep_session *session);

/* Scale the queries of a layer, after rotary. */
void mep_content_scale_queries(mep_session *session, int64_t layer);

/* The largest magnitude of what mep_content_scale_queries multiplies a head's queries by, in texts of up to `tokens`
 * tokens; 1 where the layer does not scale them. */
double mep_content_largest_scale(const mep_model *model, int64_t layer, int64_t head, int64_t tokens);

/* Add the layer's terms to the call of its attention, and their gradients to that of the gradients. */
void mep_content_call(const mep_session *session, int64_t layer, mep_kv_call *call);
void mep_content_gradient(mep_session *session, int64_t layer, mep_kv_gradient *gradient);

/* After the backward pass of attention: the gradients of parameters that attention itself has, and that of the queries
 * before they were scaled. Before rotary. */
void mep_content_attended(mep_session *session, int64_t layer, mep_tensor_view dq, float *gradients);

/* From the gradients of the products: d_narrow, the gradient of norm1, is increased, and those of the matrices are
 * computed. */
mep_status mep_content_backward(mep_session *session, int64_t layer, float *gradients);

/* After all layers: the gradient of the distance bias from those of its kernels, in float64, is added to `dparams`. */
mep_status mep_content_bias_backward(mep_session *session, double *dparams, double *scratch);

#endif
