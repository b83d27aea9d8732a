/* SPDX-License-Identifier: MIT */
/*
 * The row kernels, compiled once per vector width (base/simd.h). The including file defines KERNELS, the name of its
 * table, and KERNELS_NAME. Rows end in a partial vector, which is read with zeros after the row and written up to the
 * row's end.
 */
#include "nn/rows.h"

#include <math.h>

#include "base/simd.h"
#include "base/transpose.h"

/* The vector at i of a row of n; zeros after its end. */
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
    for (int64_t i = 0; i < n; i += LANES) {
        vf shift = bias != NULL ? load_at(bias, i, n) : vf_set(0);
        store_at(y, i, n, (load_at(x, i, n) - center) * scale * load_at(weight, i, n) + shift);
    }
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

static void layer_norm_weights(int64_t n, const float *x, float mean, float rstd, const float *dy,
                               float *restrict dweight, float *restrict dbias)
{
    for (int64_t i = 0; i < n; i++) {
        dweight[i] += dy[i] * ((x[i] - mean) * rstd);
        dbias[i] += dy[i];
    }
}

static void rms_norm(int64_t n, const float *x, const float *weight, float eps, float *y, float *rstd)
{
    vf squares = vf_set(0);
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = load_at(x, i, n);
        squares += v * v;
    }
    float scale = 1 / sqrtf(vf_sum(squares) / (float)n + eps);
    for (int64_t i = 0; i < n; i += LANES) store_at(y, i, n, load_at(x, i, n) * scale * load_at(weight, i, n));
    *rstd = scale;
}

/* y = xhat weight, xhat = x rstd; with g = dy weight: dx = rstd (g - xhat mean(g xhat)). */
static void rms_norm_backward(int64_t n, const float *x, const float *weight, float rstd, const float *dy, float *dx)
{
    vf sum = vf_set(0);
    for (int64_t i = 0; i < n; i += LANES) sum += load_at(dy, i, n) * load_at(weight, i, n) * (load_at(x, i, n) * rstd);
    float mean = vf_sum(sum) / (float)n;
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = load_at(dy, i, n) * load_at(weight, i, n), xhat = load_at(x, i, n) * rstd;
        store_at(dx, i, n, load_at(dx, i, n) + rstd * (g - xhat * mean));
    }
}

/* exp(-x), bounded so that it is finite. */
MEP_INLINE vf bounded_exp(vf x)
{
    return vf_exp(-vf_max(vf_set(-80.0f), x)); /* vf_max returns the second operand where one is NaN */
}

static void swiglu(int64_t n, const float *gate, const float *up, float *y)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = load_at(gate, i, n);
        store_at(y, i, n, g / (1.0f + bounded_exp(g)) * load_at(up, i, n));
    }
}

/* y = g s u, s = 1 / (1 + e): dy/du = g s, dy/dg = u s (1 + g (1 - s)), 1 - s = e s. */
static void swiglu_backward(int64_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf g = load_at(gate, i, n), u = load_at(up, i, n), d = load_at(dy, i, n), e = bounded_exp(g);
        vf s = 1.0f / (1.0f + e);
        store_at(dgate, i, n, d * u * (s * (1.0f + g * (e * s))));
        store_at(dup, i, n, d * (g * s));
    }
}

static void rotate(int64_t n, const float *cosine, const float *sine, float sign, float *restrict a, float *restrict b)
{
    for (int64_t i = 0; i < n; i++) {
        float x = a[i], y = b[i], s = sign * sine[i];
        a[i] = x * cosine[i] - y * s;
        b[i] = y * cosine[i] + x * s;
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

/* With u = sqrt(2/pi) (x + a x^3), (1 + tanh u) / 2 = 1 / (1 + e), e = exp(-2u). Outside +-10, where that is 0 or 1 in
 * float32, e keeps its value at +-10 and is finite. */
MEP_INLINE vf gelu_tanh_exp(vf bounded)
{
    return vf_exp(-1.5957691216f * bounded * (1.0f + 0.044715f * bounded * bounded));
}

MEP_INLINE vf within_10(vf x)
{
    return -vf_max(vf_set(-10.0f), -vf_max(vf_set(-10.0f), x)); /* returns the second operand where one is NaN */
}

static void gelu_tanh(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = load_at(x, i, n);
        store_at(y, i, n, v / (1.0f + gelu_tanh_exp(within_10(v))));
    }
}

/* y = x s, s = 1 / (1 + e): dy/dx = s + x s (1 - s) 2 du/dx, 1 - s = e s. */
static void gelu_tanh_backward(int64_t n, const float *x, const float *dy, float *dx)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = within_10(load_at(x, i, n)), e = gelu_tanh_exp(v), s = 1.0f / (1.0f + e);
        vf slope = 1.5957691216f * (1.0f + 3 * 0.044715f * v * v);
        store_at(dx, i, n, load_at(dy, i, n) * (s + v * slope * (e * s * s)));
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
    int64_t i = 0;
#if defined(__AVX512BF16__)
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vf pairs = vf_to_pairs(vf_load(x + i), vf_load(x + i + LANES));
        memcpy(y + i, &pairs, sizeof pairs);
    }
#endif
    for (; i < n; i++) y[i] = mep_bf16_from_float(x[i]);
}

static void from_bf16(int64_t n, const mep_bf16 *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = mep_bf16_to_float(x[i]);
}

static void interleave(int64_t n, const mep_bf16 *a, const mep_bf16 *b, void *pairs)
{
    mep_bf16 *out = pairs;
    for (int64_t i = 0; i < n; i++) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
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
    .name = KERNELS_NAME,
    .lanes = LANES,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .layer_norm_weights = layer_norm_weights,
    .rms_norm = rms_norm,
    .rms_norm_backward = rms_norm_backward,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rotate = rotate,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .gelu_tanh = gelu_tanh,
    .gelu_tanh_backward = gelu_tanh_backward,
    .cross_entropy = cross_entropy,
    .add = add,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .interleave = interleave,
    .transpose = transpose_words,
    .sum_of_squares = sum_of_squares,
    .adamw = adamw,
};
