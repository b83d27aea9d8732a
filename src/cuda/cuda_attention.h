/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on CUDA: the kernels, and the arguments of a call of theirs. All pointers are to device memory;
 * kernels are queued in a stream, and calls do not wait for them.
 */
#ifndef MEP_CUDA_ATTENTION_H
#define MEP_CUDA_ATTENTION_H

#include "mep/attention.h"
#include "cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Keys a block, queries a tile, and distances an entry of the far bias; padding of a head's bias. */
enum { BLOCK = 64, FRONT = 256, BACK = 256 };

typedef struct mep_cuda_attention_call mep_cuda_attention_call;

/* One call. Queries are the last of `keys` positions. */
struct mep_cuda_attention_call {
    int batch, heads, queries, keys, head_dim;
    int channels;        /* head_dim as the large kernels know it: 64, 96 or 128 */
    int skips;           /* whether far blocks may be left out */
    float scale, margin; /* of q.k; of a score below the largest, whose weight is then nothing; both in base 2 */
    mep_tensor_view q, k, v, out;
    float *lse;                  /* [batch, heads, queries], natural */
    unsigned long long *visited; /* blocks of keys that tiles of queries were taken past, added to */

    /* [heads, bias_stride], in base 2, distance 0 at FRONT. -inf before it: the causal mask, and keys behind the last,
     * are part of the bias. */
    float *bias;
    float *far_bias; /* [heads, far_stride]: largest bias at distances >= BLOCK * index */
    int64_t bias_stride, far_stride;

    float *key_norms;  /* [batch, heads, blocks]: largest |k| of a block of BLOCK keys and those before it */
    int blocks, tiles; /* of keys, of queries */

    /* backward */
    mep_tensor_view dout, dq, dk, dv;
    double *dbias;            /* [heads, keys], added to */
    float *delta;             /* [batch, heads, queries]: dout.out */
    float *query_norms, *low; /* [batch, heads, tiles]: largest |q|, and largest -lse in base 2, of a tile and those
                                 behind it */
    float *dq_sums;           /* [batch, heads, tiles, BLOCK x channels], by dq_place */
    float *bias_sums;         /* [batch, heads, keys], or NULL: no gradient of the bias */
    int *progress;            /* [1 + batch x heads x blocks]: blocks begun; the first tile without a block's part */
};

/* bias and far_bias of a call from a table [heads, row] of which `length` distances count; NULL: zeros. */
mep_status mep_cuda_attention_prepare_bias(const mep_cuda_attention_call *call, const float *table, int64_t row,
                                           int64_t length, cudaStream_t stream);
/* key_norms; delta, query_norms and low. */
mep_status mep_cuda_attention_prepare_keys(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_prepare_queries(const mep_cuda_attention_call *call, cudaStream_t stream);
/* out, lse and visited; *blocks: how many would be visited if none were left out. */
mep_status mep_cuda_attention_forward(const mep_cuda_attention_call *call, cudaStream_t stream, int64_t *blocks);
/* dk, dv, dq_sums and bias_sums; the last two, and progress, are zero before. */
mep_status mep_cuda_attention_backward(const mep_cuda_attention_call *call, cudaStream_t stream);
/* dq and dbias from their sums. */
mep_status mep_cuda_attention_finish(const mep_cuda_attention_call *call, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
