/* SPDX-License-Identifier: MIT */
/*
 * What a back end provides for the network other than attention: a table of functions. The CPU's (network_cpu.c) are
 * those of layers.h and gemm.h; CUDA has its own (src/cuda/cuda_network.c). Models call them through the table only.
 *
 * Arguments have the meaning that they have in layers.h and gemm.h; pointers are to the device's memory (mep/device.h)
 * unless a comment says otherwise. Calls on a GPU only queue work, in one stream; mep_device_read and mep_device_wait
 * report what fails there. On every device the order of all sums depends on the shapes alone.
 */
#ifndef MEP_NN_NETWORK_H
#define MEP_NN_NETWORK_H

#include "mep/device.h"
#include "nn/gemm.h"
#include "nn/layers.h"
#include "nn/rows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a back end keeps between calls: a stream, scratch memory. One thread uses it at a time. */
typedef struct mep_network_state mep_network_state;

/* losses[r] = -log softmax(logits[r])[targets[r]] of rows of `vocab` logits. Where gradient.data is not NULL it becomes
 * scale times the gradient of the logits. It may be the logits, which are overwritten in either case.
 * A row with a negative target has loss and gradient 0. */
typedef struct mep_cross_entropy_call {
    int64_t rows, vocab;
    float *logits;
    const int32_t *targets; /* [rows] */
    float scale;
    mep_activation gradient;
    float *losses; /* [rows] */
} mep_cross_entropy_call;

typedef struct mep_network {
    /* For calls of up to `rows` rows of up to `width` columns. The caller owns *state. */
    mep_status (*create)(mep_network_state **state, int64_t rows, int64_t width);
    void (*destroy)(mep_network_state **state);
    /* The stream, for the settings of attention; NULL where there is none. */
    void *(*stream)(const mep_network_state *state);

    mep_status (*gemm)(mep_network_state *state, const mep_gemm *gemm);
    /* mep_packed_size and mep_pack (nn/pack.h) where products of few rows are faster with a packed B; else NULL. */
    mep_status (*packed_size)(int64_t k, int64_t n, mep_dtype dtype, int64_t *size);
    mep_matrix (*pack)(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory);

    void (*layer_norm_forward)(mep_network_state *state, const mep_layer_norm *norm, mep_activation y);
    void (*layer_norm_backward)(mep_network_state *state, const mep_layer_norm *norm,
                                const mep_layer_norm_gradient *gradient);
    /* RMSNorm of heads, and SwiGLU; NULL where the back end does not compute them, nor RMSNorm as layer norm. */
    void (*head_norm_forward)(mep_network_state *state, const mep_head_norm *norm, mep_activation y);
    void (*head_norm_backward)(mep_network_state *state, const mep_head_norm *norm, mep_activation dy, float *dweight);
    void (*swiglu_forward)(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, mep_activation y);
    void (*swiglu_backward)(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, mep_activation dy,
                            mep_activation dx);
    void (*column_sum)(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, float *sum);

    void (*embedding_forward)(mep_network_state *state, const mep_embedding *e, const float *table,
                              const float *position, float *x);
    /* Sort the tokens of a later embedding_backward, which are given in host memory, where the back end needs that. */
    mep_status (*embedding_order)(mep_network_state *state, int64_t count, const int32_t *tokens);
    void (*embedding_backward)(mep_network_state *state, const mep_embedding *e, const float *dx, float *dtable,
                               float *dposition);

    void (*cross_entropy)(mep_network_state *state, const mep_cross_entropy_call *call);
    void (*rotary_apply)(mep_network_state *state, const mep_rotary *rotary);

    void (*clear)(mep_network_state *state, int64_t n, float *x);
    void (*convert)(mep_network_state *state, int64_t n, mep_activation from, mep_activation to);
    /* Copy `rows` rows of `bytes` bytes; strides are in bytes. Source and destination do not overlap. */
    void (*copy)(mep_network_state *state, int64_t rows, int64_t bytes, const void *from, int64_t from_stride, void *to,
                 int64_t to_stride);
    /* y += x */
    void (*add)(mep_network_state *state, int64_t n, const float *x, float *y);

    /* squares[i], in host memory: the sum of squares in float64 of chunk i of x. Waits for the result. */
    mep_status (*squares)(mep_network_state *state, int64_t n, const float *x, double *squares);
    /* One AdamW step (mep_row_kernels.adamw) of values first .. end - 1. The bits of a value depend on its offset in
     * its chunk, where chunks are counted from value 0, and not on `first`. */
    void (*adamw)(mep_network_state *state, int64_t first, int64_t end, const mep_adamw_step *step, float *p,
                  const float *gradient, float *m, float *v);
} mep_network;

/* Values per chunk of sums of squares and of AdamW; the last chunk can be shorter. */
enum { MEP_CHUNK = 4096 };

static inline int64_t mep_chunks(int64_t values)
{
    return (values + MEP_CHUNK - 1) / MEP_CHUNK;
}

/* An execution context: a device, its functions, and the first argument that they take. */
typedef struct mep_context {
    mep_device device;
    const mep_network *nn;
    mep_network_state *state;
} mep_context;

extern const mep_network mep_network_cpu;
/* The CPU's context for functions other than gemm. */
extern const mep_context mep_context_cpu;

#ifdef __cplusplus
}
#endif

#endif
