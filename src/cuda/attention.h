/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on a device, as include/mep/attention.h has it on the processor: a plan, its bias, forward and
 * backward over strided views, in bfloat16. Pointers in views, lse and dbias are the device's; calls are put into the
 * plan's stream and do not wait.
 */
#ifndef MEP_CUDA_ATTENTION_H
#define MEP_CUDA_ATTENTION_H

#include "cuda/runtime.h"
#include "mep/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_cuda_attention mep_cuda_attention;

/* A plan in a stream that outlives it; settings as for the processor's, but dtype MEP_BFLOAT16 and head_dim a multiple
 * of 8 up to 128, else MEP_ERROR_UNSUPPORTED. The bias starts as zero. */
mep_status mep_cuda_attention_create(mep_cuda_attention **plan, const mep_attention_settings *settings,
                                     cudaStream_t stream);
void mep_cuda_attention_destroy(mep_cuda_attention **plan);

/* Take a bias table [heads, length] that lies on the device, length up to max_length; NULL for none. */
mep_status mep_cuda_attention_set_bias(mep_cuda_attention *plan, const float *table, int64_t length);

/* As mep_attention_forward; views are aligned to 16 bytes, their strides multiples of 8 elements. lse [batch, heads,
 * queries] is always written. */
mep_status mep_cuda_attention_forward(mep_cuda_attention *plan, int64_t batch, int64_t queries, int64_t keys,
                                      mep_tensor_view q, mep_tensor_view k, mep_tensor_view v, mep_tensor_view out,
                                      float *lse);

/* As mep_attention_backward: the same bits in every run. */
mep_status mep_cuda_attention_backward(mep_cuda_attention *plan, int64_t batch, int64_t queries, int64_t keys,
                                       mep_tensor_view q, mep_tensor_view k, mep_tensor_view v, mep_tensor_view out,
                                       float *lse, mep_tensor_view dout, mep_tensor_view dq, mep_tensor_view dk,
                                       mep_tensor_view dv, double *dbias);

/* ---- The kernels below it ---- */

/* Keys a block, queries a tile, and distances an entry of the far bias; padding of a head's bias (prepare.cu). */
enum { BLOCK = 64, FRONT = 256, BACK = 256 };

typedef struct mep_cuda_attention_call mep_cuda_attention_call;

/* One call; all pointers are the device's. Queries are the last of `keys` positions. */
struct mep_cuda_attention_call {
    int batch, heads, queries, keys, head_dim, skips; /* skips: whether far blocks may be left out */
    float scale;                                      /* of q.k, in base 2 */
    float margin;          /* in base 2: what a weight of 2^-margin of the largest is worth nothing */
    const float *bias;     /* [heads, bias_stride], in base 2, distance 0 at FRONT; -inf before it, so that the causal
 mask, and keys behind the last, are part of it */
    const float *far_bias; /* [heads, far_stride]: largest bias at distances >= BLOCK * index */
    int64_t bias_stride, far_stride;
    mep_tensor_view q, k, v, out;
    float *lse; /* [batch, heads, queries], natural */

    float *key_norms; /* [batch, heads, blocks]: largest |k| of a block and those before it */
    int blocks;       /* of BLOCK keys */

    /* backward */
    mep_tensor_view dout, dq, dk, dv;
    float *delta;             /* [batch, heads, queries]: dout.out */
    float *dq_sums;           /* [batch, heads, queries, head_dim] */
    float *bias_sums;         /* [batch, heads, keys], or NULL: no gradient of the bias */
    double *dbias;            /* [heads, keys], added to */
    float *query_norms, *low; /* [batch, heads, tiles]: largest |q|, and largest -lse in base 2, of a tile of BLOCK
                                 queries and those behind it */
    int tiles;
    int *progress; /* [1 + batch x heads x key blocks]: blocks begun; first tile that a block's part is not in yet */
};

mep_status mep_cuda_attention_prepare_bias(int heads, const float *table, int64_t length, float *bias,
                                           int64_t bias_stride, float *far, int64_t far_stride, cudaStream_t stream);
mep_status mep_cuda_attention_prepare_keys(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_prepare_queries(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_forward_run(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_backward_run(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_finish(const mep_cuda_attention_call *call, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
