/* SPDX-License-Identifier: MIT */
/*
 * The layers of the network other than attention and matrix products, forward and backward. Threads share rows or
 * columns, in an order that does not depend on their number. The residual stream and all sums are float32; activations
 * between layers have the compute type, float32 or bfloat16.
 */
#ifndef MEP_NN_LAYERS_H
#define MEP_NN_LAYERS_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest width of a row of layer norm. */
enum { MEP_MAX_WIDTH = 16384 };

/* An activation [rows, width], contiguous. */
typedef struct mep_activation {
    void *data;
    mep_dtype dtype;
} mep_activation;

/* Layer norm of rows: y = (x - mean) rstd weight + bias; or RMSNorm, y = x / sqrt(mean of x^2 + eps) weight. */
typedef struct mep_layer_norm {
    int64_t rows, width;
    const float *x;             /* [rows, width] */
    const float *weight, *bias; /* [width]; bias may be NULL, and only the forward pass reads it */
    float eps;                  /* only the forward pass reads it */
    float *mean, *rstd;         /* [rows]: written by the forward pass, read by the backward pass */
    int rms;                    /* 1: RMSNorm, without mean and bias */
} mep_layer_norm;

typedef struct mep_layer_norm_gradient {
    mep_activation dy;
    float *dx, *dweight, *dbias; /* added to; dbias may be NULL */
} mep_layer_norm_gradient;

/* y may be x. */
void mep_layer_norm_forward(const mep_layer_norm *norm, mep_activation y);
void mep_layer_norm_backward(const mep_layer_norm *norm, const mep_layer_norm_gradient *gradient);

/* RMSNorm of the rows x heads vectors of an activation, with one weight [dim] for all: queries or keys before rotary.
 * rstd is [rows, heads]. */
typedef struct mep_head_norm {
    int64_t rows, heads, dim;
    const float *weight;
    float eps;
    float *rstd;
    mep_activation x;
    int64_t row_stride, head_stride; /* of x and of y */
} mep_head_norm;

/* y, laid out as x, may be x. */
void mep_head_norm_forward(const mep_head_norm *norm, mep_activation y);
/* dy, laid out as x, becomes the gradient of x; dweight is added to. */
void mep_head_norm_backward(const mep_head_norm *norm, mep_activation dy, float *dweight);

/* SwiGLU: y[r, c] = gate sigmoid(gate) up with gate = x[r, c] and up = x[r, width + c]; x is [rows, 2 width]. */
void mep_swiglu_forward(int64_t rows, int64_t width, mep_activation x, mep_activation y);
void mep_swiglu_backward(int64_t rows, int64_t width, mep_activation x, mep_activation dy, mep_activation dx);

/* sum[c] += sum over rows of x[r, c]: the gradient of a linear layer's bias. */
void mep_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum);

/* Embedding of sequences of `length` tokens. */
typedef struct mep_embedding {
    int64_t count, length, width; /* count: tokens of all sequences */
    const int32_t *tokens;        /* [count] */
} mep_embedding;

/* x[t, :] = table[tokens[t], :] (+ position[t % length, :] where position is not NULL). */
void mep_embedding_forward(const mep_embedding *e, const float *table, const float *position, float *x);
/* dtable[tokens[t], :] += dx[t, :]; dposition[t % length, :] += dx[t, :] where dposition is not NULL. */
void mep_embedding_backward(const mep_embedding *e, const float *dx, float *dtable, float *dposition);

/* losses[r] = -log softmax(logits[r])[targets[r]]. Where scale is not 0 the logits become scale times their gradient.
 * A row with a negative target has loss and gradient 0. */
void mep_cross_entropy(int64_t rows, int64_t vocab, float *logits, const int32_t *targets, float scale, float *losses);

/* x = 0 */
void mep_clear(int64_t n, float *x);

/* Copy n values, and convert them where the types differ. */
void mep_convert(int64_t n, mep_activation from, mep_activation to);

/* table[p, c] of the sinusoidal encoding: sines, then cosines, of the angles p / base^(2c/width). */
void mep_sinusoidal_table(int64_t length, int64_t width, double base, float *table);

/* Cosine and sine [length, count] of the angles p * frequency[i], multiplied by `factor`. */
void mep_rotary_tables(int64_t length, int64_t count, const double *frequency, double factor, float *cosine,
                       float *sine);

/* Rotary positions (RoPE, arXiv:2104.09864) of rows x heads vectors, in the half-split form: the pairs of channels
 * (i, i + dims/2) are rotated by the angle of position first + row % length, backwards with `inverse`. */
typedef struct mep_rotary {
    int64_t rows, length, first, heads;
    int64_t dims;               /* channels that are rotated */
    const float *cosine, *sine; /* [position, dims/2] */
    int inverse;
    mep_activation x;                /* changed in place */
    int64_t row_stride, head_stride; /* vector (row, head) is at row * row_stride + head * head_stride */
} mep_rotary;

void mep_rotary_apply(const mep_rotary *rotary);

#ifdef __cplusplus
}
#endif

#endif
