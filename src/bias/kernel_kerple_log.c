/* SPDX-License-Identifier: MIT */
/*
 * kerple_log: log K = -p_h log(1 + a_h d), p and a learned (KERPLE, arXiv:2205.09921).
 */
#include "bias/kernel.h"

#include <math.h>

#include "base/random.h"

enum { P, A };

/* p ~ U(0, 2), a ~ U(0, 1). */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t place)
{
    (void)term;
    return (param == P ? 2.0 : 1.0) * mep_random_uniform(seed, stream, (uint64_t)place);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->param[P][h] * log1p(term->param[A][h] * distance);
}

static void gradient(const mep_term *term, double distance, const double *upstream, double *const *grad)
{
    for (int64_t h = 0; h < term->heads; h++) {
        double p = term->param[P][h], a = term->param[A][h];
        grad[P][h] -= upstream[h] * log1p(a * distance);
        grad[A][h] -= upstream[h] * p * distance / (1.0 + a * distance);
    }
}

const mep_kernel mep_kernel_kerple_log = {
    .name = "kerple_log",
    .help = "-p log(1 + a d), p and a learned",
    .params = {{.name = "p", .min = 0.01, .max = MEP_PARAM_MAX}, {.name = "a", .min = 0.01, .max = MEP_PARAM_MAX}},
    .init = init,
    .log_value = log_value,
    .gradient = gradient,
};
