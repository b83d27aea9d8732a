/* SPDX-License-Identifier: MIT */
/*
 * The tile kernels, once for every vector width (base/simd.h). The including file defines KERNELS, the name of its
 * table, and KERNELS_NAME.
 */
#include "attention/kernels.h"

#include "base/simd.h"
#include "base/tile.h"

static void softmax(int64_t rows, float *s, const float *bias, float *maximum, float *sum, float *rescale)
{
    enum { VECTORS = BLOCK_KEYS / LANES };
    for (int64_t r = 0; r < rows; r++, s += BLOCK_KEYS) {
        vf x[VECTORS], highest = vf_set(maximum[r]), total = vf_set(0);
        for (int n = 0; n < VECTORS; n++) {
            x[n] = vf_load(s + n * LANES) + vf_load(bias - r + n * LANES);
            highest = vf_max(highest, x[n]);
        }
        float new_maximum = vf_highest(highest);
        vf shift = vf_set(new_maximum);
        for (int n = 0; n < VECTORS; n++) {
            x[n] = vf_exp(x[n] - shift);
            total += x[n];
            vf_store(s + n * LANES, x[n]);
        }
        rescale[r] = maximum[r] - new_maximum;
        maximum[r] = new_maximum;
        sum[r] = sum[r] * vf_exp(vf_set(rescale[r]))[0] + vf_sum(total);
    }
    for (int64_t r = 0; r < rows; r += LANES) vf_store(rescale + r, vf_exp(vf_load(rescale + r)));
}

static void scale_rows(int64_t rows, int64_t columns, float *o, int64_t o_row, const float *factor)
{
    for (int64_t r = 0; r < rows; r++, o += o_row)
        if (factor[r] != 1.0f)
            for (int64_t c = 0; c < columns; c += LANES) vf_store(o + c, vf_load(o + c) * factor[r]);
}

static void gradient(int64_t rows, float *s, float *dp, const float *bias, const float *lse, const float *delta,
                     float *diagonal)
{
    for (int64_t r = 0; r < rows; r++, s += BLOCK_KEYS, dp += BLOCK_KEYS)
        for (int n = 0; n < BLOCK_KEYS; n += LANES) {
            vf p = vf_exp(vf_load(s + n) + vf_load(bias - r + n) - lse[r]);
            vf ds = p * (vf_load(dp + n) - delta[r]);
            vf_store(s + n, p);
            vf_store(dp + n, ds);
            vf_store(diagonal - r + n, vf_load(diagonal - r + n) + ds);
        }
}

static float dot(int64_t n, const float *a, const float *b)
{
    vf sum = vf_set(0);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) sum += vf_load(a + i) * vf_load(b + i);
    float total = vf_sum(sum);
    for (; i < n; i++) total += a[i] * b[i];
    return total;
}

static void add_scaled(int64_t n, float x, const float *a, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store(y + i, vf_load(y + i) + x * vf_load(a + i));
    for (; i < n; i++) y[i] += x * a[i];
}

static float exponentials(int64_t n, float shift, float *y)
{
    float total = 0;
    int64_t i = 0;
    vf sum = vf_set(0);
    for (; i + LANES <= n; i += LANES) {
        vf e = vf_exp(vf_load(y + i) - shift);
        vf_store(y + i, e);
        sum += e;
    }
    for (; i < n; i++) total += y[i] = vf_exp(vf_set(y[i] - shift))[0];
    return total + vf_sum(sum);
}

const mep_attention_kernels KERNELS = {KERNELS_NAME, LANES, tile_product, softmax,     scale_rows,
                                       gradient,     dot,   add_scaled,   exponentials};
