/* SPDX-License-Identifier: MIT */
/*
 * tanh: log K = log(1e-6 + 1 + tanh(-c s_h d)), from the ablations of MEP; the 1e-6 is its author's.
 *
 * The sum is added up in the order in which the author's code does it. Far away, where tanh is near -1, that fixes b
 * only to 1e-10, but every other order would differ from the published one by as much.
 */
#include "bias/kernel.h"

#include <math.h>

static double value(double x)
{
    return 1e-6 + 1.0 + tanh(-x);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = log(value(term->rate[h] * distance));
}

/* With x = c s d: d log K / d log c = -x (1 - tanh(x)^2) / K, and 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = exp(-2x),
 * which loses no digits where tanh(x) is near 1. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *const *grad)
{
    for (int64_t h = 0; h < term->heads; h++) {
        double x = term->rate[h] * distance;
        double e = exp(-2.0 * x);
        grad[0][h] -= upstream[h] * x * 4.0 * e / ((1.0 + e) * (1.0 + e)) / value(x);
    }
}

const mep_kernel mep_kernel_tanh = {
    .name = "tanh",
    .help = "log(1e-6 + 1 + tanh(-c s d))",
    .has_slope = 1,
    .options = {MEP_OPTIONS_SLOPE(0.5)},
    .params = {MEP_PARAM_LOG_C},
    .init = mep_kernel_init_log_c,
    .log_value = log_value,
    .gradient = gradient,
};
