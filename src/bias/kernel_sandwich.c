/* SPDX-License-Identifier: MIT */
/*
 * sandwich: log K = (sum over i = 1..64 of cos(d / 10000^(i/64)) - 64) / (8h/H), h = 1..H (arXiv:2212.10356).
 */
#include "bias/kernel.h"

#include <math.h>

enum { WAVES = 64 };
static const double TWO_PI = 6.283185307179586476925;

static double wave_length(int i)
{
    return pow(10000.0, (i + 1) / (double)WAVES);
}

static double divisor(const mep_term *term, int64_t head)
{
    return 8.0 * (double)(head + 1) / (double)term->heads;
}

static void log_value(const mep_term *term, double distance, double *out)
{
    double sum = 0.0;
    for (int i = 0; i < WAVES; i++) sum += cos(distance / wave_length(i));
    for (int64_t h = 0; h < term->heads; h++) out[h] = (sum - WAVES) / divisor(term, h);
}

/* The sum of each wave's own maximum: 1 where the interval contains a crest, else the larger value of its ends. */
static void sup(const mep_term *term, double from, double to, double *out)
{
    double sum = 0.0;
    for (int i = 0; i < WAVES; i++) {
        double a = from / wave_length(i), b = to / wave_length(i);
        int crest = ceil(a / TWO_PI) * TWO_PI <= b;
        sum += crest ? 1.0 : fmax(cos(a), cos(b));
    }
    sum = fmin(sum + 1e-10, WAVES); /* 1e-10 exceeds the rounding errors of the 64 waves */
    for (int64_t h = 0; h < term->heads; h++) out[h] = (sum - WAVES) / divisor(term, h);
}

const mep_kernel mep_kernel_sandwich = {
    .name = "sandwich",
    .help = "(sum of cos(d / 10000^(i/64)), i = 1..64, - 64) / (8h/H), head h = 1..H",
    .formula = "\\left(\\sum_{n=1}^{64} \\cos\\left(d / 10000^{n/64}\\right) - 64\\right) / (8h/H)$, $h = 1..H",
    .python = "waves = 10000 ** (torch.arange(1, 65, dtype=d.dtype, device=d.device) / 64)\n"
              "head = torch.arange(1, k.heads + 1, dtype=d.dtype, device=d.device)\n"
              "return (torch.cos(d[:, None] / waves).sum(1) - 64) / (8 * head / k.heads)[:, None]",
    .log_value = log_value,
    .sup = sup,
};
