/* SPDX-License-Identifier: MIT */
/*
 * exp: log K = -c s_h d, ALiBi's bias (arXiv:2108.12409).
 */
#include "bias/slope.h"

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->derived[h] * distance;
}

/* d log K / d log c = log K. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    double *log_c = mep_term_gradient(term, 0, grad);
    for (int64_t h = 0; h < term->heads; h++) log_c[h] -= upstream[h] * term->derived[h] * distance;
}

const mep_kernel mep_kernel_exp = {
    .name = "exp",
    .help = "-c s d, with ALiBi's slope s of the head, 2^-bias_max in the last",
    .formula = "-c\\, s_h d",
    .python = "return -k.rate(d.device) * d",
    .options = MEP_SLOPE_OPTIONS(1.0),
    .params = mep_slope_params,
    .derived = 1,
    .init = mep_slope_init,
    .prepare = mep_slope_prepare,
    .log_value = log_value,
    .gradient = gradient,
};
