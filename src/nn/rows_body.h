/* SPDX-License-Identifier: MIT */
/*
 * The row kernels, once for every vector width (base/simd.h). The including file defines KERNELS, the name of its
 * table, and KERNELS_NAME. Rows end in a partial vector, read with zeros behind it and written only as far as the row
 * goes.
 */
#include "nn/rows.h"

#include <math.h>

#include "base/simd.h"
#include "base/tile.h"

/* Vector at i of a row of n: zeros beyond its end. */
MEP_INLINE vf load_at(const float *x, int64_t i, int64_t n)
{
    if (i + LANES <= n) return vf_load(x + i);
    float part[LANES] = {0};
    memcpy(part, x + i, (size_t)(n - i) * sizeof *x);
    return vf_load(part);
}

MEP_INLINE void store_at(float *y, int64_t i, int64_t n, vf v)
{
    if (i + LANES <= n) {
        vf_store(y + i, v);
        return;
    }
    float part[LANES];
    vf_store(part, v);
    memcpy(y + i, part, (size_t)(n - i) * sizeof *y);
}

static void layer_norm(int64_t n, const float *x, const float *weight, const float *bias, float eps, float *y,
                       float *mean, float *rstd)
{
    vf sum = vf_set(0), squares = vf_set(0);
    for (int64_t i = 0; i < n; i += LANES) sum += load_at(x, i, n);
    float center = vf_sum(sum) / (float)n;
    for (int64_t i = 0; i + LANES <= n; i += LANES) {
        vf d = vf_load(x + i) - center;
        squares += d * d;
    }
    float variance = vf_sum(squares);
    for (int64_t i = n / LANES * LANES; i < n; i++) variance += (x[i] - center) * (x[i] - center);
    float scale = 1 / sqrtf(variance / (float)n + eps);
    for (int64_t i = 0; i < n; i += LANES)
        store_at(y, i, n, (load_at(x, i, n) - center) * scale * load_at(weight, i, n) + load_at(bias, i, n));
    *mean = center;
    *rstd = scale;
}

/* y = xhat weight + bias, xhat = (x - mean) rstd; with g = dy weight: dx = rstd (g - mean(g) - xhat mean(g xhat)). */
static void layer_norm_backward(int64_t n, const float *x, const float *weight, float mean, float rstd, const float *dy,
                                float *dx)
{
    vf sum_g = vf_set(0), sum_gx = vf_set(0);
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = load_at(dy, i, n) * load_at(weight, i, n);
        sum_g += g;
        sum_gx += g * ((load_at(x, i, n) - mean) * rstd);
    }
    float mean_g = vf_sum(sum_g) / (float)n, mean_gx = vf_sum(sum_gx) / (float)n;
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = load_at(dy, i, n) * load_at(weight, i, n), xhat = (load_at(x, i, n) - mean) * rstd;
        store_at(dx, i, n, load_at(dx, i, n) + rstd * (g - mean_g - xhat * mean_gx));
    }
}

static void gelu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = load_at(x, i, n);
        store_at(y, i, n, 0.5f * v * (1.0f + vf_erf(v * 0.70710678f)));
    }
}

/* y = x Phi(x): dy/dx = Phi(x) + x phi(x), phi the normal density. */
static void gelu_backward(int64_t n, const float *x, const float *dy, float *dx)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = load_at(x, i, n);
        vf cumulative = 0.5f * (1.0f + vf_erf(v * 0.70710678f));
        vf density = 0.39894228f * vf_exp(-0.5f * v * v);
        store_at(dx, i, n, load_at(dy, i, n) * (cumulative + v * density));
    }
}

static float cross_entropy(int64_t n, float *x, int64_t target, float scale)
{
    vf highest_lanes = vf_set(-INFINITY), sum_lanes = vf_set(0);
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) highest_lanes = vf_max(highest_lanes, vf_load(x + i));
    float highest = vf_highest(highest_lanes), sum = 0;
    for (int64_t i = whole; i < n; i++) highest = x[i] > highest ? x[i] : highest;
    float logit = x[target];
    for (int64_t i = 0; i < whole; i += LANES) {
        vf e = vf_exp(vf_load(x + i) - highest);
        sum_lanes += e;
        if (scale != 0) vf_store(x + i, e);
    }
    for (int64_t i = whole; i < n; i++) {
        float e = vf_exp(vf_set(x[i] - highest))[0];
        sum += e;
        if (scale != 0) x[i] = e;
    }
    sum += vf_sum(sum_lanes);
    if (scale != 0) {
        float factor = scale / sum;
        for (int64_t i = 0; i < n; i++) x[i] *= factor;
        x[target] -= scale;
    }
    return logf(sum) + (highest - logit);
}

static void add(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void to_bf16(int64_t n, const float *x, mep_bf16 *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = mep_bf16_from_float(x[i]);
}

static void from_bf16(int64_t n, const mep_bf16 *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = mep_bf16_to_float(x[i]);
}

static double sum_of_squares(int64_t n, const float *x)
{
    enum { SUMS = 16 };
    double sum[SUMS] = {0}, total = 0;
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int s = 0; s < SUMS; s++) sum[s] += (double)x[i + s] * (double)x[i + s];
    for (; i < n; i++) total += (double)x[i] * (double)x[i];
    for (int s = 0; s < SUMS; s++) total += sum[s];
    return total;
}

static void adamw(int64_t n, const mep_adamw_step *step, float *restrict p, const float *restrict gradient,
                  float *restrict m, float *restrict v)
{
    const mep_adamw_step s = *step;
    float rate = s.learning_rate / s.correction1, root = 1 / sqrtf(s.correction2);
    float keep = 1 - s.learning_rate * s.weight_decay;
    for (int64_t i = 0; i < n; i++) {
        float g = gradient[i] * s.gradient_scale;
        m[i] = s.beta1 * m[i] + s.rest1 * g;
        v[i] = s.beta2 * v[i] + s.rest2 * g * g;
        p[i] = p[i] * keep - rate * m[i] / (sqrtf(v[i]) * root + s.eps);
    }
}

const mep_row_kernels KERNELS = {
    KERNELS_NAME, LANES,   layer_norm, layer_norm_backward, gelu,  gelu_backward, cross_entropy,
    add,          to_bf16, from_bf16,  sum_of_squares,      adamw, tile_product,
};
