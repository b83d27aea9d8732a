/* SPDX-License-Identifier: MIT */
/*
 * The tiled forward pass below mep_attention_forward: over the tensors of a call, or over the rings of a cache
 * (cache.c).
 */
#ifndef MEP_ATTENTION_FORWARD_H
#define MEP_ATTENTION_FORWARD_H

#include "attention/plan.h"

/* A pass over `source` instead of the k and v of the call. */
typedef struct mep_forward {
    mep_attention_plan *plan;
    const mep_attention_call *call;
    const mep_source *source; /* [batch * heads] */
    float margin;             /* see mep_terms_margin */
} mep_forward;

/* Compute call->out and call->lse, and the plan's computed fraction. MEP_INTERRUPTED where the plan's watch stops it.
 */
mep_status mep_forward_run(const mep_forward *pass);

#endif
