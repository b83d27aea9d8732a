/* SPDX-License-Identifier: MIT */
/*
 * What the kernels with an ALiBi slope have in common: the options c and bias_max, the learned parameter log_c, and the
 * rate c s_h^(bias_max / 8) of each head, which is their derived value.
 */
#ifndef MEP_BIAS_SLOPE_H
#define MEP_BIAS_SLOPE_H

#include "bias/kernel.h"

/* ALiBi's slope of one head, from 0, of `heads`. */
double mep_alibi_slope(int64_t head, int64_t heads);

/* MPT's alibi_bias_max gives the slopes 2^(-bias_max h/H). They are powers of ALiBi's, which have bias_max 8. */
#define MEP_ALIBI_BIAS_MAX 8.0

enum { MEP_SLOPE_C, MEP_SLOPE_BIAS_MAX };

/* mep_kernel.options with the default value C of c. */
/* clang-format off */
#define MEP_SLOPE_OPTIONS(C) \
    (const mep_kernel_option[]){ \
        [MEP_SLOPE_C] = {.name = "c", .value = (C), .min = 1e-12, .max = 1e12}, \
        [MEP_SLOPE_BIAS_MAX] = {.name = "bias_max", .value = MEP_ALIBI_BIAS_MAX, .min = 0.01, .max = 100.0}, \
        {.name = NULL}}
/* clang-format on */

/* mep_kernel.params: log_c, learned with learn=slopes. */
extern const mep_kernel_param mep_slope_params[];

/* mep_kernel.init: log c. */
double mep_slope_init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index);

/* mep_kernel.prepare: the rates. */
void mep_slope_prepare(const mep_term *term, double *rates);

#endif
