/* SPDX-License-Identifier: MIT */
/*
 * tanh: log K = log(1e-6 + 1 + tanh(-c s_h d)), from the ablations of MEP; the 1e-6 is its author's.
 *
 * The terms are added in the order of the author's code. At large distances, where tanh is near -1, this fixes b only
 * to 1e-10, but any other order would differ from the published one by as much.
 */
#include <math.h>

#include "bias/slope.h"

static double value(double x)
{
    return 1e-6 + 1.0 + tanh(-x);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = log(value(term->derived[h] * distance));
}

/* With x = c s d: d log K / d log c = -x (1 - tanh(x)^2) / K, and 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = exp(-2x),
 * which loses no digits where tanh(x) is near 1. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    double *log_c = mep_term_gradient(term, 0, grad);
    for (int64_t h = 0; h < term->heads; h++) {
        double x = term->derived[h] * distance;
        double e = exp(-2.0 * x);
        log_c[h] -= upstream[h] * x * 4.0 * e / ((1.0 + e) * (1.0 + e)) / value(x);
    }
}

const mep_kernel mep_kernel_tanh = {
    .name = "tanh",
    .help = "log(1e-6 + 1 + tanh(-c s d))",
    .formula = "\\log(10^{-6} + 1 + \\tanh(-c\\, s_h d))",
    .python = "return torch.log(1e-6 + 1 + torch.tanh(-k.rate(d.device) * d))",
    .options = MEP_SLOPE_OPTIONS(0.5),
    .params = mep_slope_params,
    .derived = 1,
    .init = mep_slope_init,
    .prepare = mep_slope_prepare,
    .log_value = log_value,
    .gradient = gradient,
};
