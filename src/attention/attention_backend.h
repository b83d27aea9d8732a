/* SPDX-License-Identifier: MIT */
/*
 * What a back end provides for fused attention: the functions below include/mep/attention.h, which checks settings,
 * sizes and terms before it calls them (attention.c). The CPU's are in attention_cpu.c, CUDA's in
 * src/cuda/cuda_attention.c.
 */
#ifndef MEP_ATTENTION_BACKEND_H
#define MEP_ATTENTION_BACKEND_H

#include "attention/fire.h"
#include "base/watch.h"
#include "mep/attention.h"

/* A back end's plan; each has its own members. */
typedef struct mep_attention_plan mep_attention_plan;

typedef struct mep_attention_backend {
    const char *name; /* in messages */
    int all_terms;    /* 0: score terms are the table alone, and kv_heads are heads; others are refused before a call */
    /* A plan without terms; settings->scale is not 0. On failure *plan is NULL. */
    mep_status (*create)(mep_attention_plan **plan, const mep_attention_settings *settings);
    void (*destroy)(mep_attention_plan **plan); /* of a plan that is not NULL */
    mep_status (*set_terms)(mep_attention_plan *plan, const mep_attention_terms *terms); /* never NULL */
    mep_status (*set_fire)(mep_attention_plan *plan, const mep_fire *fire,
                           double *sums); /* see fire.h; NULL: refused */
    mep_status (*forward)(mep_attention_plan *plan, const mep_attention_call *call);
    mep_status (*backward)(mep_attention_plan *plan, const mep_attention_call *call,
                           const mep_attention_gradient *gradient);
    double (*computed_fraction)(const mep_attention_plan *plan);
    /* Report later forward calls to `watch`, NULL: to no watch. NULL where calls do not wait for their work. */
    void (*set_watch)(mep_attention_plan *plan, mep_watch *watch);
} mep_attention_backend;

/* The CPU's. */
extern const mep_attention_backend mep_attention_cpu;

/* Report later forward calls of a plan to `watch`, which stays valid until the plan has another; NULL: to no watch.
 * Back ends whose calls do not wait for their work report nothing. */
void mep_attention_set_watch(mep_attention *plan, mep_watch *watch);

#endif
