/* SPDX-License-Identifier: MIT */
/*
 * The tiled forward pass: over the tensors of a call, or over the ring buffers of a cache (cache.c).
 */
#ifndef MEP_ATTENTION_FORWARD_H
#define MEP_ATTENTION_FORWARD_H

#include "attention/plan.h"

/* A pass that reads keys and values from `source` and not from the call's k and v. */
typedef struct mep_forward {
    mep_attention_plan *plan;
    const mep_attention_call *call;
    const mep_source *source; /* [batch * heads] */
    float margin;             /* see mep_terms_margin */
} mep_forward;

/* Compute call->out, call->lse and the plan's computed fraction. MEP_INTERRUPTED where the plan's watch stops the pass.
 */
mep_status mep_forward_run(const mep_forward *pass);

#endif
