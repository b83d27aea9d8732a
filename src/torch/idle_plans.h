/* SPDX-License-Identifier: MIT */
/*
 * Plans of attention that no call uses at the moment, the last ones used, with the terms that they have: a call with
 * the same settings and terms as one before prepares nothing.
 */
#ifndef MEP_TORCH_IDLE_PLANS_H
#define MEP_TORCH_IDLE_PLANS_H

#include "mep/attention.h"

/* What a plan depends on, without padding. */
typedef struct plan_key {
    int64_t heads, kv_heads, head_dim, max_length, dtype, bidirectional, threads;
    double scale, tolerance;
} plan_key;

typedef struct idle_plan {
    plan_key key;
    mep_attention *plan;
    mep_attention_terms terms; /* those of the plan; their arrays are parts of `values` */
    float *values;
    int64_t count; /* of `values` */
} idle_plan;

/* A plan with this key and these terms, for the caller alone: an idle one, or a new one. */
mep_status mep_torch_take_plan(idle_plan **plan, const plan_key *key, const mep_attention_terms *terms);

/* Keep a plan for later calls. */
void mep_torch_give_plan(idle_plan **plan);

/* Destroy a plan whose call failed. NULL is allowed. */
void mep_torch_destroy_plan(idle_plan **plan);

#endif
