/* SPDX-License-Identifier: MIT */
/*
 * exp: log K = -c s_h d, ALiBi's bias (arXiv:2108.12409).
 */
#include "bias/kernel.h"

static void log_value(const mep_term *term, double distance, double *out)
{
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->rate[h] * distance;
}

/* d log K / d log c = log K. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *const *grad)
{
    for (int64_t h = 0; h < term->heads; h++) grad[0][h] -= upstream[h] * term->rate[h] * distance;
}

const mep_kernel mep_kernel_exp = {
    .name = "exp",
    .help = "-c s d, with ALiBi's slope s of the head, 2^-bias_max in the last",
    .has_slope = 1,
    .options = {MEP_OPTIONS_SLOPE(1.0)},
    .params = {MEP_PARAM_LOG_C},
    .init = mep_kernel_init_log_c,
    .log_value = log_value,
    .gradient = gradient,
};
