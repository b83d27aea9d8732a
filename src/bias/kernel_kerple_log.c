/* SPDX-License-Identifier: MIT */
/*
 * kerple_log: log K = -p_h log(1 + a_h d), p and a learned (KERPLE, arXiv:2205.09921).
 */
#include "bias/kernel.h"

#include <math.h>

#include "base/random.h"

enum { P, A };

/* p ~ U(0, 2), a ~ U(0, 1). */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)term;
    return (param == P ? 2.0 : 1.0) * mep_random_uniform(seed, stream, (uint64_t)index);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    const double *p = mep_term_param(term, P), *a = mep_term_param(term, A);
    for (int64_t h = 0; h < term->heads; h++) out[h] = -p[h] * log1p(a[h] * distance);
}

static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    const double *p = mep_term_param(term, P), *a = mep_term_param(term, A);
    double *dp = mep_term_gradient(term, P, grad), *da = mep_term_gradient(term, A, grad);
    for (int64_t h = 0; h < term->heads; h++) {
        dp[h] -= upstream[h] * log1p(a[h] * distance);
        da[h] -= upstream[h] * p[h] * distance / (1.0 + a[h] * distance);
    }
}

static const mep_kernel_param params[] = {
    [P] = {.name = "p",
           .shape = {MEP_DIMENSION_HEADS},
           .min = 0.01,
           .max = MEP_PARAM_MAX,
           .initial = "U(0, 2)",
           .python = "2 * torch.rand(shape)"},
    [A] = {.name = "a",
           .shape = {MEP_DIMENSION_HEADS},
           .min = 0.01,
           .max = MEP_PARAM_MAX,
           .initial = "U(0, 1)",
           .python = "torch.rand(shape)"},
    {.name = NULL},
};

const mep_kernel mep_kernel_kerple_log = {
    .name = "kerple_log",
    .help = "-p log(1 + a d), p and a learned",
    .formula = "-p_h \\log(1 + a_h d)",
    .python = "return -k.column('p') * torch.log1p(k.column('a') * d)",
    .params = params,
    .init = init,
    .log_value = log_value,
    .gradient = gradient,
};
