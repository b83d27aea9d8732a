/* SPDX-License-Identifier: MIT */
/*
 * The network beside attention, on any device: a table of functions that the processor fills with those of layers.h and
 * gemm.h, CUDA with its own. Models call them through the table alone.
 *
 * Arguments are those of layers.h and gemm.h, and mean the same; pointers are to the device's memory (mep/device.h)
 * unless a comment says otherwise. Calls on a GPU only queue work, in one stream; what fails there is reported by
 * mep_device_read and mep_device_wait. On every device the order of all sums depends on the shapes alone.
 */
#ifndef MEP_NN_DEVICE_H
#define MEP_NN_DEVICE_H

#include "mep/device.h"
#include "nn/gemm.h"
#include "nn/layers.h"
#include "nn/rows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a device needs to compute with: a stream, scratch memory. */
typedef struct mep_nn_state mep_nn_state;

typedef struct mep_nn_device {
    /* For calls of up to `rows` rows of up to `width` columns; the caller's, used by one thread at a time. */
    mep_status (*create)(mep_nn_state **state, int64_t rows, int64_t width);
    void (*destroy)(mep_nn_state **state);
    /* For the settings of attention; NULL where there is none. */
    void *(*stream)(const mep_nn_state *state);

    mep_status (*gemm)(mep_nn_state *state, const mep_gemm *gemm);
    /* mep_packed_size and mep_pack (nn/pack.h) where products of few rows are faster with a packed B; NULL elsewhere.
     */
    mep_status (*packed_size)(int64_t k, int64_t n, mep_dtype dtype, int64_t *size);
    mep_matrix (*pack)(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory);
    void (*layer_norm_forward)(mep_nn_state *state, int64_t rows, int64_t width, const float *x, const float *weight,
                               const float *bias, float eps, mep_activation y, float *mean, float *rstd);
    void (*layer_norm_backward)(mep_nn_state *state, int64_t rows, int64_t width, const float *x, const float *weight,
                                const float *mean, const float *rstd, mep_activation dy, float *dx, float *dweight,
                                float *dbias);
    void (*column_sum)(mep_nn_state *state, int64_t rows, int64_t width, mep_activation x, float *sum);

    void (*embedding_forward)(mep_nn_state *state, int64_t tokens_count, int64_t length, int64_t width,
                              const int32_t *tokens, const float *table, const float *position, float *x);
    /* Before embedding_backward of the same tokens, which are given here in the program's memory: what it needs to
     * know of their order. */
    mep_status (*embedding_order)(mep_nn_state *state, int64_t tokens_count, const int32_t *tokens);
    void (*embedding_backward)(mep_nn_state *state, int64_t tokens_count, int64_t length, int64_t width,
                               const int32_t *tokens, const float *dx, float *dtable, float *dposition);

    /* losses[r] = -log softmax(logits[r])[targets[r]]; where gradient.data is not NULL it becomes scale times the
     * gradient of the logits, and may be the logits, which are overwritten in either case. */
    void (*cross_entropy)(mep_nn_state *state, int64_t rows, int64_t vocab, float *logits, const int32_t *targets,
                          float scale, mep_activation gradient, float *losses);
    void (*rotary_apply)(mep_nn_state *state, int64_t rows, int64_t length, int64_t first, int64_t heads, int64_t dims,
                         const float *cosine, const float *sine, int inverse, mep_activation x, int64_t row_stride,
                         int64_t head_stride);

    void (*clear)(mep_nn_state *state, int64_t n, float *x);
    void (*convert)(mep_nn_state *state, int64_t n, mep_activation from, mep_activation to);
    /* `rows` rows of `bytes` bytes from one place to another; strides are in bytes. The two do not overlap. */
    void (*copy)(mep_nn_state *state, int64_t rows, int64_t bytes, const void *from, int64_t from_stride, void *to,
                 int64_t to_stride);
    /* y += x */
    void (*add)(mep_nn_state *state, int64_t n, const float *x, float *y);

    /* squares[i], in the program's memory: the sum of squares in float64 of the values of x from i * MEP_CHUNK on, up
     * to the next chunk or the end. Waits for it. */
    mep_status (*squares)(mep_nn_state *state, int64_t n, const float *x, double *squares);
    /* One AdamW step (mep_row_kernels.adamw) of values first .. end - 1. The bits of a value depend on its place in its
     * chunk of MEP_CHUNK values, counted from 0, and not on where the call begins. */
    void (*adamw)(mep_nn_state *state, int64_t first, int64_t end, const mep_adamw_step *step, float *p,
                  const float *gradient, float *m, float *v);
} mep_nn_device;

/* Sums of squares and AdamW work on chunks of so many values, the last one of a block shorter. */
enum { MEP_CHUNK = 4096 };

static inline int64_t mep_chunks(int64_t values)
{
    return (values + MEP_CHUNK - 1) / MEP_CHUNK;
}

/* Where something is computed: a device, its functions, and what they take as their first argument. */
typedef struct mep_context {
    mep_device device;
    const mep_nn_device *nn;
    mep_nn_state *state;
} mep_context;

extern const mep_nn_device mep_nn_cpu;
extern const mep_context mep_context_cpu;

#ifdef __cplusplus
}
#endif

#endif
