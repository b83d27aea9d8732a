/* SPDX-License-Identifier: MIT */
/*
 * bam: log K = -(exp(log_a_h) d + 1e-5)^(p_h), log_a and p learned (BAM with location 0, arXiv:2505.22842). With a
 * negative p the kernel rises with the distance.
 */
#include <math.h>

#include "bias/slope.h"

enum { LOG_A, P };

/* ALiBi's slopes to the power 1. */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)seed, (void)stream;
    return param == LOG_A ? log(mep_alibi_slope(index, term->heads)) : 1.0;
}

/* exp(log_a). */
static void prepare(const mep_term *term, double *a)
{
    const double *log_a = mep_term_param(term, LOG_A);
    for (int64_t h = 0; h < term->heads; h++) a[h] = exp(log_a[h]);
}

static double base(const mep_term *term, int64_t head, double distance)
{
    return term->derived[head] * distance + 1e-5;
}

static void log_value(const mep_term *term, double distance, double *out)
{
    const double *p = mep_term_param(term, P);
    for (int64_t h = 0; h < term->heads; h++) out[h] = -pow(base(term, h, distance), p[h]);
}

/* With u = a d + 1e-5: d u^p / d log_a = p u^(p - 1) a d, d u^p / dp = u^p log u. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    const double *p = mep_term_param(term, P);
    double *dlog_a = mep_term_gradient(term, LOG_A, grad), *dp = mep_term_gradient(term, P, grad);
    for (int64_t h = 0; h < term->heads; h++) {
        double u = base(term, h, distance), power = pow(u, p[h]);
        dlog_a[h] -= upstream[h] * p[h] * power / u * term->derived[h] * distance;
        dp[h] -= upstream[h] * power * log(u);
    }
}

/* The value at the nearer end, or at the farther end of a head whose kernel rises. */
static void sup(const mep_term *term, double from, double to, double *out)
{
    const double *p = mep_term_param(term, P);
    for (int64_t h = 0; h < term->heads; h++) out[h] = -pow(base(term, h, p[h] < 0.0 ? to : from), p[h]);
}

static const mep_kernel_param params[] = {
    [LOG_A] = {.name = "log_a",
               .shape = {MEP_DIMENSION_HEADS},
               .min = -20.0,
               .max = 5.0,
               .initial = "$\\log s_h$",
               .python = "k.slopes().log()"},
    [P] = {.name = "p",
           .shape = {MEP_DIMENSION_HEADS},
           .min = -3.0,
           .max = 3.0,
           .initial = "1",
           .python = "torch.ones(shape)"},
    {.name = NULL},
};

const mep_kernel mep_kernel_bam = {
    .name = "bam",
    .help = "-(a d + 1e-5)^p, a = exp(log_a) and p learned",
    .formula = "-(e^{\\mathtt{log\\_a}_h} d + 10^{-5})^{p_h}",
    .python = "return -(k.column('log_a').exp() * d + 1e-5) ** k.column('p')",
    .params = params,
    .derived = 1,
    .init = init,
    .prepare = prepare,
    .log_value = log_value,
    .gradient = gradient,
    .sup = sup,
};
