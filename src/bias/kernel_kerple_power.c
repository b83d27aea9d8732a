/* SPDX-License-Identifier: MIT */
/*
 * kerple_power: log K = -a_h d^(p_h), 0^p = 0, a and p learned (KERPLE, arXiv:2205.09921).
 */
#include "bias/kernel.h"

#include <math.h>

#include "base/random.h"

enum { A, P };

/* a ~ U(0, 1), p ~ U(0, 2). */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t place)
{
    (void)term;
    return (param == P ? 2.0 : 1.0) * mep_random_uniform(seed, stream, (uint64_t)place);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->param[A][h] * pow(distance, term->param[P][h]);
}

/* Both derivatives are 0 at distance 0. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *const *grad)
{
    if (distance == 0.0) return;
    double log_distance = log(distance);
    for (int64_t h = 0; h < term->heads; h++) {
        double power = pow(distance, term->param[P][h]);
        grad[A][h] -= upstream[h] * power;
        grad[P][h] -= upstream[h] * term->param[A][h] * power * log_distance;
    }
}

const mep_kernel mep_kernel_kerple_power = {
    .name = "kerple_power",
    .help = "-a d^p, a and p learned",
    .params = {{.name = "a", .min = 0.01, .max = MEP_PARAM_MAX}, {.name = "p", .min = 0.01, .max = 2.0}},
    .init = init,
    .log_value = log_value,
    .gradient = gradient,
};
