/* SPDX-License-Identifier: MIT */
/*
 * kerple_power: log K = -a_h d^(p_h), 0^p = 0, a and p learned (KERPLE, arXiv:2205.09921).
 */
#include "bias/kernel.h"

#include <math.h>

#include "base/random.h"

enum { A, P };

/* a ~ U(0, 1), p ~ U(0, 2). */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)term;
    return (param == P ? 2.0 : 1.0) * mep_random_uniform(seed, stream, (uint64_t)index);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    const double *a = mep_term_param(term, A), *p = mep_term_param(term, P);
    for (int64_t h = 0; h < term->heads; h++) out[h] = -a[h] * pow(distance, p[h]);
}

/* Both derivatives are 0 at distance 0. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    if (distance == 0.0) return;
    const double *a = mep_term_param(term, A), *p = mep_term_param(term, P);
    double *da = mep_term_gradient(term, A, grad), *dp = mep_term_gradient(term, P, grad);
    double log_distance = log(distance);
    for (int64_t h = 0; h < term->heads; h++) {
        double power = pow(distance, p[h]);
        da[h] -= upstream[h] * power;
        dp[h] -= upstream[h] * a[h] * power * log_distance;
    }
}

static const mep_kernel_param params[] = {
    [A] = {.name = "a",
           .shape = {MEP_DIMENSION_HEADS},
           .min = 0.01,
           .max = MEP_PARAM_MAX,
           .initial = "U(0, 1)",
           .python = "torch.rand(shape)"},
    [P] = {.name = "p",
           .shape = {MEP_DIMENSION_HEADS},
           .min = 0.01,
           .max = 2.0,
           .initial = "U(0, 2)",
           .python = "2 * torch.rand(shape)"},
    {.name = NULL},
};

const mep_kernel mep_kernel_kerple_power = {
    .name = "kerple_power",
    .help = "-a d^p, a and p learned",
    .formula = "-a_h d^{p_h}$, $0^p = 0",
    .python = "return -k.column('a') * d ** k.column('p')",
    .params = params,
    .init = init,
    .log_value = log_value,
    .gradient = gradient,
};
