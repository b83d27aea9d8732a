/* SPDX-License-Identifier: MIT */
/*
 * The inside of a mep_bias, for the files of this room only.
 *
 * Arrays [terms, heads] have term m of head h at m*heads + h. Everything that depends on learned parameters (rates,
 * weights) is computed again whenever they change.
 */
#ifndef MEP_BIAS_BIAS_H
#define MEP_BIAS_BIAS_H

#include "bias/kernel.h"
#include "bias/spec.h"
#include "mep/bias.h"

enum { MEP_BIAS_ENTRIES = MEP_SPEC_TERMS * MEP_KERNEL_PARAMS + 1 };

/* One learned parameter: what callers see of it, and whose it is. */
typedef struct mep_bias_entry {
    mep_bias_param info;
    char name[40];
    double min, max;
    int term;  /* -1: the mixture's "weights" */
    int param; /* of the term's kernel */
} mep_bias_entry;

struct mep_bias {
    int64_t heads, head_dim;
    mep_spec spec;
    char *canonical;
    mep_term terms[MEP_SPEC_TERMS];
    double *slopes;                /* [heads] */
    double *rates;                 /* [terms, heads]: mep_term.rate */
    double *weights, *log_weights; /* [terms, heads]; the weights of a head sum to 1 */

    int entry_count;
    mep_bias_entry entries[MEP_BIAS_ENTRIES];
    int64_t value_count;
    double *params; /* [value_count] */
};

/* Largest distance that is computed. */
#define MEP_DISTANCE_MAX ((int64_t)1 << 31)

/* MEP_ERROR_ARGUMENT where a table of this length would hold no distance, or one beyond MEP_DISTANCE_MAX. */
mep_status mep_bias_check_length(int64_t length);

/* values[m, h] = log K_m,h(distance), [terms, heads]. */
void mep_bias_log_values(const mep_bias *bias, double distance, double *values);

/* log sum_m w_m exp(values[m, head]), never through the values of the kernels themselves: exact where they underflow,
 * and where the sum is near 1. */
double mep_bias_mix(const mep_bias *bias, int64_t head, const double *values);

/* share[m, head] = the responsibility of term m, w_m exp(values[m, head]) / sum; they sum to 1. */
void mep_bias_share(const mep_bias *bias, int64_t head, const double *values, double *share);

#endif
