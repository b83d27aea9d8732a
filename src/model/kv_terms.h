/* SPDX-License-Identifier: MIT */
/*
 * Score terms for the implementations of kv.h: what a layer's attention takes of the model's parameters, and the gates
 * of a call's tokens. In host memory.
 */
#ifndef MEP_MODEL_KV_TERMS_H
#define MEP_MODEL_KV_TERMS_H

#include "attention/fire.h"
#include "model/kv.h"

/* Tables of the distance bias, [heads, length] or, where weights depend on the query, [heads, kernels, length]. NULL
 * where no layer needs them. */
typedef struct mep_kv_tables {
    const mep_model *model;
    int64_t length;
    float *table, *kernels;
    double *scratch;
} mep_kv_tables;

/* Allocate them for distances below `length`; compute them from the model's parameters. */
mep_status mep_kv_tables_create(mep_kv_tables *tables, const mep_model *model, int64_t length);
mep_status mep_kv_tables_refresh(mep_kv_tables *tables);
void mep_kv_tables_destroy(mep_kv_tables *tables);

/* The terms of a layer. They refer to the tables and to the model's parameters. */
mep_attention_terms mep_kv_layer_terms(const mep_kv_tables *tables, int64_t layer);

/* The function that a layer's attention computes for queries beyond fire's threshold, of tables that are up to date;
 * 0: it has none. The arrays belong to the model's bias. */
int mep_kv_layer_fire(const mep_kv_tables *tables, int64_t layer, mep_fire *fire);

/* Set the terms of a layer. sums: see mep_attention_set_fire. */
mep_status mep_kv_set_terms(mep_attention *attention, const mep_kv_tables *tables, int64_t layer, double *sums);

/* The number of different sets of terms: 1, or one per layer. */
int64_t mep_kv_term_sets(const mep_model *model);

/* MEP_ERROR_UNSUPPORTED where a layer encodes position by terms that `what` does not compute. */
mep_status mep_kv_refuse_content(const mep_model *model, const char *what);

/* The cumulative sums of log sigmoid(logits) over the tokens of each sequence and head, in float64: logits [batch,
 * length, heads], gate [batch, heads, length]. They continue from total[batch * heads], which becomes the last sum;
 * NULL: from 0.
 */
void mep_gate_sums(int64_t batch, int64_t length, int64_t heads, const float *logits, double *total, double *gate);

/* The gradient of the logits from that of the sums that start from 0. */
void mep_gate_sums_backward(int64_t batch, int64_t length, int64_t heads, const float *logits, const double *dgate,
                            float *dlogits);

#endif
