/* SPDX-License-Identifier: MIT */
/*
 * ALiBi's slopes, and what the kernels that have one share.
 */
#include <math.h>

#include "base/error.h"
#include "bias/slope.h"
#include "mep/bias.h"

/* ---- The slopes ---- */

/* Slope number i, from 1, of `heads` heads, a power of two. */
static double slope_of_power(int64_t i, int64_t heads)
{
    return exp2(-8.0 * (double)i / (double)heads);
}

/* The slopes of the largest power of two within `heads`, then every other slope of twice as many heads. */
double mep_alibi_slope(int64_t head, int64_t heads)
{
    int64_t power = 1;
    while (power <= heads / 2) power *= 2;
    return head < power ? slope_of_power(head + 1, power) : slope_of_power(2 * (head - power) + 1, 2 * power);
}

mep_status mep_alibi_slopes(int64_t heads, double *slopes)
{
    MEP_REQUIRE(slopes);
    if (heads < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "the number of heads must be at least 1, but is %lld", (long long)heads);
    for (int64_t h = 0; h < heads; h++) slopes[h] = mep_alibi_slope(h, heads);
    return MEP_OK;
}

/* ---- Kernels with a slope ---- */

const mep_kernel_param mep_slope_params[] = {
    {.name = "log_c",
     .shape = {MEP_DIMENSION_HEADS},
     .min = -30.0,
     .max = 30.0,
     .learn = MEP_LEARN_SLOPES,
     .initial = "$\\log c$",
     .python = "torch.full(shape, math.log(k.options['c']))"},
    {.name = NULL},
};

double mep_slope_init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)param, (void)seed, (void)stream, (void)index;
    return log(term->options[MEP_SLOPE_C]);
}

void mep_slope_prepare(const mep_term *term, double *rates)
{
    const double *log_c = mep_term_param(term, 0);
    double power = term->options[MEP_SLOPE_BIAS_MAX] / MEP_ALIBI_BIAS_MAX;
    for (int64_t h = 0; h < term->heads; h++)
        rates[h] =
            (log_c == NULL ? term->options[MEP_SLOPE_C] : exp(log_c[h])) * pow(mep_alibi_slope(h, term->heads), power);
}
