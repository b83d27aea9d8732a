/* SPDX-License-Identifier: MIT */
/*
 * The network's layers beside attention, forward and backward, threaded over rows or columns in an order that does not
 * depend on the number of threads. The residual stream and all sums are float32; what passes between layers
 * ("activations") has the compute type, float32 or bfloat16.
 */
#ifndef MEP_NN_LAYERS_H
#define MEP_NN_LAYERS_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Widest row that layer norm takes. */
enum { MEP_MAX_WIDTH = 16384 };

/* An activation [rows, width], contiguous. */
typedef struct mep_activation {
    void *data;
    mep_dtype dtype;
} mep_activation;

/* y = layer norm of x [rows, width]; mean, rstd [rows] are kept for the backward pass. bias may be NULL; y may be x. */
void mep_layer_norm_forward(int64_t rows, int64_t width, const float *x, const float *weight, const float *bias,
                            float eps, mep_activation y, float *mean, float *rstd);
/* dx, dweight, dbias += gradients; dbias may be NULL. */
void mep_layer_norm_backward(int64_t rows, int64_t width, const float *x, const float *weight, const float *mean,
                             const float *rstd, mep_activation dy, float *dx, float *dweight, float *dbias);

/* sum[c] += sum over rows of x[r, c]: the gradient of a linear layer's bias. */
void mep_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum);

/* x[t, :] = table[tokens[t], :] (+ position[t % length, :] where position is not NULL). */
void mep_embedding_forward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens,
                           const float *table, const float *position, float *x);
/* dtable[token] += dx; dposition[t % length] += dx where not NULL. */
void mep_embedding_backward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens, const float *dx,
                            float *dtable, float *dposition);

/* losses[r] = -log softmax(logits[r])[targets[r]]; where scale is not 0 the logits become scale times their gradient.
 * A row with a negative target has loss and gradient 0. */
void mep_cross_entropy(int64_t rows, int64_t vocab, float *logits, const int32_t *targets, float scale, float *losses);

/* x = 0 */
void mep_clear(int64_t n, float *x);

/* Copy n values, converting where the types differ. */
void mep_convert(int64_t n, mep_activation from, mep_activation to);

/* table[p, c] of the sinusoidal encoding: sin | cos halves, angle p / 10000^(2c/width). */
void mep_sinusoidal_table(int64_t length, int64_t width, double base, float *table);

/* Cosine and sine [length, dims/2] of the angles p / base^(2i/dims). */
void mep_rotary_tables(int64_t length, int64_t dims, double base, float *cosine, float *sine);

/* Rotate the first `dims` channels of rows x heads vectors in place, half-split form (RoPE, arXiv:2104.09864): pairs
 * (i, i + dims/2) by the angle of position first + row % length, backwards when inverse. Vector (row, head) lies at
 * row * row_stride + head * head_stride. */
void mep_rotary_apply(int64_t rows, int64_t length, int64_t first, int64_t heads, int64_t dims, const float *cosine,
                      const float *sine, int inverse, mep_activation x, int64_t row_stride, int64_t head_stride);

#ifdef __cplusplus
}
#endif

#endif
