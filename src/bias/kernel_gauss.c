/* SPDX-License-Identifier: MIT */
/*
 * gauss: log K = -c s_h d^2 (MEP, arXiv:2403.17698).
 */
#include "bias/slope.h"

static void log_value(const mep_term *term, double distance, double *out)
{
    double square = distance * distance;
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->derived[h] * square;
}

/* d log K / d log c = log K. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    double square = distance * distance, *log_c = mep_term_gradient(term, 0, grad);
    for (int64_t h = 0; h < term->heads; h++) log_c[h] -= upstream[h] * term->derived[h] * square;
}

const mep_kernel mep_kernel_gauss = {
    .name = "gauss",
    .help = "-c s d^2",
    .formula = "-c\\, s_h d^2",
    .python = "return -k.rate(d.device) * d * d",
    .options = MEP_SLOPE_OPTIONS(1.0),
    .params = mep_slope_params,
    .derived = 1,
    .init = mep_slope_init,
    .prepare = mep_slope_prepare,
    .log_value = log_value,
    .gradient = gradient,
};
