/* SPDX-License-Identifier: MIT */
/*
 * The contents of a mep_bias. Only files of this room and tests include this header.
 *
 * Arrays [terms, heads] have term m of head h at m*heads + h. Everything that depends on learned parameters (derived
 * values, weights) is computed again whenever they change.
 */
#ifndef MEP_BIAS_BIAS_INTERNAL_H
#define MEP_BIAS_BIAS_INTERNAL_H

#include "bias/kernel.h"
#include "bias/spec.h"
#include "mep/bias.h"

/* One learned parameter: what callers see of it, and which term it belongs to. */
typedef struct mep_bias_entry {
    mep_bias_param info;
    char *name;
    double min, max;
    int term;  /* -1: the "weights" of the mixture */
    int param; /* of the term's kernel */
} mep_bias_entry;

struct mep_bias {
    int64_t heads, head_dim;
    mep_spec spec;
    char *canonical;
    mep_term terms[MEP_SPEC_TERMS];
    int learns[MEP_SPEC_TERMS];    /* 1: the term has learned parameters */
    double *derived;               /* of all terms */
    double *weights, *log_weights; /* [terms, heads]; the weights of a head sum to 1 */

    int entry_count;
    mep_bias_entry *entries; /* term by term, the mixture's weights last */
    int64_t *offsets;        /* of all terms: mep_term.offsets */
    int64_t weights_offset;  /* of the learned weights in `params`; -1 where they are fixed */
    int64_t value_count;
    double *params; /* [value_count] */
};

/* The largest distance that is computed. */
#define MEP_DISTANCE_MAX ((int64_t)1 << 31)

/* MEP_ERROR_ARGUMENT if a table of this length would be empty, or reach beyond MEP_DISTANCE_MAX. */
mep_status mep_bias_check_length(int64_t length);

/* values[m, h] = log K_m,h(distance), [terms, heads]. */
void mep_bias_log_values(const mep_bias *bias, double distance, double *values);

/* max_m values[m, head]. */
double mep_bias_largest(const mep_bias *bias, int64_t head, const double *values);

/* log sum_m w_m exp(values[m, head]), computed without the values of the kernels themselves: exact where they
 * underflow, and where the sum is near 1. */
double mep_bias_mix(const mep_bias *bias, int64_t head, const double *values);

/* out[m, head] = the responsibility of term m, w_m exp(values[m, head]) / sum; those of a head sum to 1. */
void mep_bias_responsibilities(const mep_bias *bias, int64_t head, const double *values, double *out);

#endif
