/* SPDX-License-Identifier: MIT */
/*
 * The tiled forward pass below mep_attention_forward: over tensors, or over the rings of a cache (cache.c).
 */
#ifndef MEP_ATTENTION_FORWARD_H
#define MEP_ATTENTION_FORWARD_H

#include "attention/plan.h"

/* A call. Queries are the last of `keys` positions. */
typedef struct mep_forward {
    mep_attention *plan;
    int64_t batch, queries, keys;
    mep_tensor_view q, out;
    float *lse;               /* [batch, heads, queries], or NULL */
    const mep_source *source; /* [batch * heads] */
    float margin;             /* see mep_attention_margin */
} mep_forward;

/* Carry it out; the plan's computed share is brought up to date. MEP_INTERRUPTED where the plan's watch stops it. */
mep_status mep_forward_run(const mep_forward *call);

/* Report forward calls of a plan to `watch`, NULL: to nobody. It has to live until the plan has another. */
void mep_attention_set_watch(mep_attention *plan, mep_watch *watch);

#endif
