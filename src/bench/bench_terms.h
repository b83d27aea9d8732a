/* SPDX-License-Identifier: MIT */
/*
 * The score terms of a position encoding as operands of attention, filled with random values: what a layer of a model
 * with this encoding passes to attention. A gate decays by about 1 in 100 tokens.
 */
#ifndef MEP_BENCH_BENCH_TERMS_H
#define MEP_BENCH_BENCH_TERMS_H

#include "attention/fire.h"
#include "mep/attention.h"
#include "mep/bias.h"

typedef struct mep_bench_terms {
    mep_attention_terms terms;       /* tables in host memory */
    mep_attention_call call;         /* gate, profiles, mixture */
    mep_attention_gradient gradient; /* of the terms that a model with this encoding learns */
    mep_device device;               /* of the gradient of the table; the others are in host memory */
    void *memory[12];
    void *dtable;
    int count;
    mep_bias *bias; /* that fire refers to */
    mep_fire fire;  /* pieces 0: none. Its default threshold is the length */
    double *dfire;
} mep_bench_terms;

typedef struct mep_bench_terms_settings {
    const char *spec; /* "none", or an encoding whose attention differs from it */
    mep_device device;
    int64_t batch, length, heads, head_dim;
    int gradients; /* 1: allocate gradients */
} mep_bench_terms_settings;

/* The first layer's terms. On failure nothing is allocated. */
mep_status mep_bench_terms_create(mep_bench_terms *terms, const mep_bench_terms_settings *settings);
void mep_bench_terms_destroy(mep_bench_terms *terms);

#endif
