/* SPDX-License-Identifier: MIT */
/*
 * gauss: log K = -c s_h d^2 (MEP, arXiv:2403.17698).
 */
#include "bias/kernel.h"

static void log_value(const mep_term *term, double distance, double *out)
{
    double square = distance * distance;
    for (int64_t h = 0; h < term->heads; h++) out[h] = -term->rate[h] * square;
}

/* d log K / d log c = log K. */
static void gradient(const mep_term *term, double distance, const double *upstream, double *const *grad)
{
    double square = distance * distance;
    for (int64_t h = 0; h < term->heads; h++) grad[0][h] -= upstream[h] * term->rate[h] * square;
}

const mep_kernel mep_kernel_gauss = {
    .name = "gauss",
    .help = "-c s d^2",
    .has_slope = 1,
    .options = {MEP_OPTIONS_SLOPE(1.0)},
    .params = {MEP_PARAM_LOG_C},
    .init = mep_kernel_init_log_c,
    .log_value = log_value,
    .gradient = gradient,
};
