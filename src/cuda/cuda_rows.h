/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the network other than products and attention: those of nn/layers.h and nn/rows.h, with the same
 * meaning, shapes and order of arguments. cuda_network.c makes a table of them.
 *
 * All pointers are to device memory unless a comment says otherwise; `stream` is a cudaStream_t. A call only queues
 * work and does not wait for the device; the caller's next cudaGetLastError returns the error of a launch that fails.
 * The order of every sum depends on the shapes alone, so results are bit-identical in every run. Rows can have any
 * width below 2^31; rows of a multiple of 4 values, in memory aligned to 4 values, are read and written four values at
 * a time.
 */
#ifndef MEP_CUDA_ROWS_H
#define MEP_CUDA_ROWS_H

#include "nn/network.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Floats of scratch memory for sums over up to `rows` rows of up to `width` values: 2 to 256 rows. */
int64_t mep_cuda_rows_scratch(int64_t rows, int64_t width);

/* As mep_layer_norm_forward and mep_layer_norm_backward; scratch: mep_cuda_rows_scratch(norm->rows, norm->width). */
void mep_cuda_layer_norm_forward(const mep_layer_norm *norm, mep_activation y, void *stream);
void mep_cuda_layer_norm_backward(const mep_layer_norm *norm, const mep_layer_norm_gradient *gradient, float *scratch,
                                  void *stream);

/* sum[c] += sum over rows of x[r, c]. scratch: mep_cuda_rows_scratch(rows, width). */
void mep_cuda_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum, float *scratch, void *stream);

/* As mep_embedding_forward. */
void mep_cuda_embedding_forward(const mep_embedding *e, const float *table, const float *position, float *x,
                                void *stream);
/* Sort the indices of tokens by token, for the backward pass, on the host: tokens and runs [2 * count + 2] are in host
 * memory, and the caller copies runs to the device. runs[0]: number of different tokens; then all indices, those of the
 * lowest token first, each token's in ascending order; then the offset of each token's first index, and the end. Tokens
 * are not negative. */
void mep_cuda_token_runs(int64_t count, const int32_t *tokens, int32_t *runs);
/* As mep_embedding_backward. */
void mep_cuda_embedding_backward(const mep_embedding *e, const int32_t *runs, const float *dx, float *dtable,
                                 float *dposition, void *stream);

/* The loss of mep_cross_entropy_call, with rows of `stride` logits, of which call->vocab are used, and of a gradient of
 * the same stride. The logits are not changed unless they are the gradient. Where the stride has room, the columns from
 * vocab to the next multiple of 4 are read, without effect, and become 0 in the gradient. */
void mep_cuda_cross_entropy(const mep_cross_entropy_call *call, int64_t stride, void *stream);

/* As mep_rotary_apply. */
void mep_cuda_rotary_apply(const mep_rotary *rotary, void *stream);

/* Apply to C what the library has not applied: x = C (+ bias) (+ residual) (times f'(slope_input)); then C = x and
 * activated = f(x), as described in mep_gemm. Reads m, n, c and the members after c except `accumulate`. */
void mep_cuda_gemm_finish(const mep_gemm *gemm, void *stream);

/* x = 0 */
void mep_cuda_clear(int64_t n, float *x, void *stream);
/* Copy n values, and convert them where the types differ. */
void mep_cuda_convert(int64_t n, mep_activation from, mep_activation to, void *stream);
/* y += x */
void mep_cuda_add(int64_t n, const float *x, float *y, void *stream);

/* squares[i] = the sum of squares in float64 of chunk i of MEP_CHUNK values. */
void mep_cuda_squares(int64_t n, const float *x, double *squares, void *stream);
/* One AdamW step (mep_row_kernels.adamw) of n values p with moments m, v; `step` is in host memory. */
void mep_cuda_adamw(int64_t n, const mep_adamw_step *step, float *p, const float *gradient, float *m, float *v,
                    void *stream);

#ifdef __cplusplus
}
#endif

#endif
