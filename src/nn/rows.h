/* SPDX-License-Identifier: MIT */
/*
 * The table of row kernels: everything in the network other than matrix products and attention, on contiguous float32
 * rows of any length, single-threaded. Each CPU level fills one table (rows_*.c, all from rows_body.h); layers.c adds
 * threads and bfloat16.
 */
#ifndef MEP_NN_ROWS_H
#define MEP_NN_ROWS_H

#include <stdint.h>

#include "base/bf16.h"
#include "base/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Constants of one AdamW step; see adamw below. */
typedef struct mep_adamw_step {
    float learning_rate, beta1, beta2, eps, weight_decay;
    float rest1, rest2;             /* 1 - beta, computed in float64: 1 - 0.999f is off by 1e-5 */
    float correction1, correction2; /* 1 - beta^step */
    float gradient_scale;           /* clipping and averaging, applied to the gradient first */
} mep_adamw_step;

typedef struct mep_row_kernels {
    const char *name;
    int lanes; /* floats per vector */

    /* y = (x - mean) rstd weight + bias, with mean and rstd = 1/sqrt(variance + eps) of the row, which are returned.
     * bias may be NULL. */
    void (*layer_norm)(int64_t n, const float *x, const float *weight, const float *bias, float eps, float *y,
                       float *mean, float *rstd);
    /* dx += gradient with respect to x. */
    void (*layer_norm_backward)(int64_t n, const float *x, const float *weight, float mean, float rstd, const float *dy,
                                float *dx);
    /* dweight += dy xhat, dbias += dy: the contribution of one row to the gradients of weight and bias. */
    void (*layer_norm_weights)(int64_t n, const float *x, float mean, float rstd, const float *dy, float *dweight,
                               float *dbias);
    /* RMSNorm: y = x rstd weight, rstd = 1/sqrt(mean of x^2 + eps). y may be x. dx += gradient with respect to x. */
    void (*rms_norm)(int64_t n, const float *x, const float *weight, float eps, float *y, float *rstd);
    void (*rms_norm_backward)(int64_t n, const float *x, const float *weight, float rstd, const float *dy, float *dx);
    /* SwiGLU: y = gate sigmoid(gate) up. The gradients overwrite dgate and dup. */
    void (*swiglu)(int64_t n, const float *gate, const float *up, float *y);
    void (*swiglu_backward)(int64_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup);
    /* Rotate the pairs (a[i], b[i]) by the angle with this cosine and sign * sine. */
    void (*rotate)(int64_t n, const float *cosine, const float *sine, float sign, float *a, float *b);
    /* y = x (1 + erf(x / sqrt 2)) / 2; y may be x. dx = dy times its derivative; dx may be dy. */
    void (*gelu)(int64_t n, const float *x, float *y);
    void (*gelu_backward)(int64_t n, const float *x, const float *dy, float *dx);
    /* The same for y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which differs from it by up to 5e-4. */
    void (*gelu_tanh)(int64_t n, const float *x, float *y);
    void (*gelu_tanh_backward)(int64_t n, const float *x, const float *dy, float *dx);
    /* Returns log sum exp(x) - x[target]. Where scale is not 0, x becomes scale (softmax(x) - one_hot(target)). */
    float (*cross_entropy)(int64_t n, float *x, int64_t target, float scale);
    /* y += x */
    void (*add)(int64_t n, const float *x, float *y);
    void (*to_bf16)(int64_t n, const float *x, mep_bf16 *y);
    void (*from_bf16)(int64_t n, const mep_bf16 *x, float *y);
    /* pairs[i] = a[i], b[i] in memory order */
    void (*interleave)(int64_t n, const mep_bf16 *a, const mep_bf16 *b, void *pairs);
    /* out[c][r] = in[r][c], values of 32 bits; strides in bytes, of any alignment. */
    void (*transpose)(int64_t rows, int64_t columns, const void *in, int64_t in_stride, void *out, int64_t out_stride);
    /* Sum of squares in float64. */
    double (*sum_of_squares)(int64_t n, const float *x);
    /* AdamW (arXiv:1711.05101) with moments m, v: decay p *= 1 - learning_rate weight_decay; then p -= learning_rate (m
     * / correction1) / (sqrt(v / correction2) + eps). */
    void (*adamw)(int64_t n, const mep_adamw_step *step, float *p, const float *gradient, float *m, float *v);
} mep_row_kernels;

/* The variant for a CPU level: the highest one at or below it. */
const mep_row_kernels *mep_row_kernels_for(mep_cpu_level level);

extern const mep_row_kernels mep_row_kernels_c;
#if defined(__x86_64__)
extern const mep_row_kernels mep_row_kernels_avx2;
extern const mep_row_kernels mep_row_kernels_avx512;
extern const mep_row_kernels mep_row_kernels_avx512_bf16;
#elif defined(__aarch64__)
extern const mep_row_kernels mep_row_kernels_neon;
#endif

#ifdef __cplusplus
}
#endif

#endif
