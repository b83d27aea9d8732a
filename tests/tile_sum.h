/* SPDX-License-Identifier: MIT */
/*
 * An element of a product at the level amx_bf16, in the order and with the roundings of docs/kernels.md ("Sums of
 * amx_bf16"), which are those of Intel's definition of TDPBF16PS.
 */
#ifndef MEP_TESTS_TILE_SUM_H
#define MEP_TESTS_TILE_SUM_H

#include <float.h>
#include <math.h>
#include <stdint.h>

#include "base/bf16.h"

/* A denormal number becomes a zero of its sign. */
static inline float flush_denormal(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

/* x y + z with one rounding. Denormal operands count as zeros. The result is flushed if it would be below FLT_MIN were
 * it rounded to 24 bits with any exponent, which is also true of some results that round up to FLT_MIN here. */
static inline float flushed_multiply_add(float x, float y, float z)
{
    x = flush_denormal(x), y = flush_denormal(y), z = flush_denormal(z);
    float sum = fmaf(x, y, z);
    if (fabsf(sum) == FLT_MIN) { /* then z is small, and so is one of the factors */
        int x_is_smaller = fabsf(x) < fabsf(y);
        float scaled = fmaf(x_is_smaller ? x * 0x1p30f : x, x_is_smaller ? y : y * 0x1p30f, z * 0x1p30f);
        if (fabsf(scaled) < FLT_MIN * 0x1p30f) return copysignf(0, sum);
    }
    return flush_denormal(sum);
}

/* Sums in the denormal range are exact. */
static inline float flushed_add(float x, float y)
{
    return flush_denormal(flush_denormal(x) + flush_denormal(y));
}

/* Add the products of k pairs x[i * x_stride] y[i * y_stride] to `sum`. */
static inline float tile_sum(float sum, int64_t k, const mep_bf16 *x, int64_t x_stride, const mep_bf16 *y,
                             int64_t y_stride)
{
    for (int64_t first = 0; first < k; first += 32) {
        float part[2] = {0, 0}; /* of even and of odd indices */
        for (int64_t i = first; i < first + 32; i++) {
            float a = i < k ? mep_bf16_to_float(x[i * x_stride]) : 0,
                  b = i < k ? mep_bf16_to_float(y[i * y_stride]) : 0;
            part[i % 2] = flushed_multiply_add(a, b, part[i % 2]);
        }
        sum = flushed_add(sum, flushed_add(part[0], part[1]));
    }
    return sum;
}

#endif
