/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the network beside products and attention: what nn/layers.h and nn/rows.h are on the CPU, with the
 * same meaning, shapes and order of arguments. nn.c makes a table of them.
 *
 * All pointers are to device memory unless a comment says otherwise; `stream` is a cudaStream_t. A call only queues
 * work: nothing waits for the device, and a launch that fails is found by the caller's next cudaGetLastError. The order
 * of every sum depends on the shapes alone, so results are the same bits from run to run. Rows may be of any width
 * below 2^31; those of a multiple of 4 values, in memory aligned to 4 values, are read and written four at a time.
 */
#ifndef MEP_CUDA_ROWS_H
#define MEP_CUDA_ROWS_H

#include "nn/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Floats of scratch memory that sums over up to so many rows, of up to this width, take: two to 256 rows. */
int64_t mep_cuda_rows_scratch(int64_t rows, int64_t width);

/* y = layer norm of x [rows, width]; mean, rstd [rows] are kept for the backward pass. Width at most MEP_MAX_WIDTH.
 * bias may be NULL; y may be x. */
void mep_cuda_layer_norm_forward(int64_t rows, int64_t width, const float *x, const float *weight, const float *bias,
                                 float eps, mep_activation y, float *mean, float *rstd, void *stream);
/* dx, dweight, dbias += gradients; dbias may be NULL. scratch: mep_cuda_rows_scratch(rows, width). */
void mep_cuda_layer_norm_backward(int64_t rows, int64_t width, const float *x, const float *weight, const float *mean,
                                  const float *rstd, mep_activation dy, float *dx, float *dweight, float *dbias,
                                  float *scratch, void *stream);

/* sum[c] += sum over rows of x[r, c]. scratch: mep_cuda_rows_scratch(rows, width). */
void mep_cuda_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum, float *scratch, void *stream);

/* x[t, :] = table[tokens[t], :] (+ position[t % length, :] where position is not NULL). */
void mep_cuda_embedding_forward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens,
                                const float *table, const float *position, float *x, void *stream);
/* The places of equal tokens together, for the backward pass: computed on the host, from tokens there, into
 * runs [2 * count + 2] there, which the caller copies to the device. runs[0]: how many different tokens; then all
 * places, those of the lowest token first, each token's in order; then where each token's places begin, and their end.
 * Tokens are not negative. */
void mep_cuda_token_runs(int64_t count, const int32_t *tokens, int32_t *runs);
/* dtable[token] += dx; dposition[t % length] += dx where not NULL. */
void mep_cuda_embedding_backward(int64_t tokens_count, int64_t length, int64_t width, const int32_t *tokens,
                                 const int32_t *runs, const float *dx, float *dtable, float *dposition, void *stream);

/* losses[r] = -log softmax(logits[r])[targets[r]], logits [rows, stride] of which `vocab` a row count; where
 * gradient.data is not NULL it becomes scale times their gradient, with the same stride. It may be the logits. Where
 * the stride has room, columns from vocab to the next multiple of 4 are read, for nothing, and become 0 in the
 * gradient. */
void mep_cuda_cross_entropy(int64_t rows, int64_t vocab, int64_t stride, const float *logits, const int32_t *targets,
                            float scale, mep_activation gradient, float *losses, void *stream);

/* Rotate the first `dims` channels of rows x heads vectors in place, as mep_rotary_apply does. */
void mep_cuda_rotary_apply(int64_t rows, int64_t length, int64_t first, int64_t heads, int64_t dims,
                           const float *cosine, const float *sine, int inverse, mep_activation x, int64_t row_stride,
                           int64_t head_stride, void *stream);

/* What a product's library did not do to its sums, which C holds: x = C (+ bias) (+ residual) (times
 * gelu'(gelu_input)); then C = x and gelu = gelu(x), by the rules of mep_gemm, of which m, n, c and the members behind
 * it except `accumulate` are read. */
void mep_cuda_gemm_finish(const mep_gemm *gemm, void *stream);

/* x = 0 */
void mep_cuda_clear(int64_t n, float *x, void *stream);
/* Copy n values, converting where the types differ. */
void mep_cuda_convert(int64_t n, mep_activation from, mep_activation to, void *stream);
/* y += x */
void mep_cuda_add(int64_t n, const float *x, float *y, void *stream);

/* squares[i] = the sum of squares in float64 of chunk i of MEP_CHUNK values. */
void mep_cuda_squares(int64_t n, const float *x, double *squares, void *stream);
/* One AdamW step (mep_row_kernels.adamw) of n values p with moments m, v; `step` lies in the program's memory. */
void mep_cuda_adamw(int64_t n, const mep_adamw_step *step, float *p, const float *gradient, float *m, float *v,
                    void *stream);

#ifdef __cplusplus
}
#endif

#endif
