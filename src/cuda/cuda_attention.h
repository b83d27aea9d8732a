/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on CUDA: the kernels, and the arguments of a call of them. All pointers are to device memory. Kernels
 * are queued in a stream, and calls do not wait for them.
 */
#ifndef MEP_CUDA_ATTENTION_H
#define MEP_CUDA_ATTENTION_H

#include "mep/attention.h"
#include "cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Keys per block, queries per tile, and distances per entry of far_bias; padding before and after a head's bias. */
enum { BLOCK = 64, FRONT = 256, BACK = 256 };

typedef struct mep_cuda_attention_call mep_cuda_attention_call;

/* One call. Queries are the last of `keys` positions. */
struct mep_cuda_attention_call {
    int batch, heads, queries, keys, head_dim;
    int channels;        /* head_dim rounded up to what the large kernels are compiled for: 64, 96 or 128 */
    int skips;           /* whether far blocks can be skipped */
    float scale, margin; /* scale of q.k, and the margin of the skip test (attention/terms.h); both in base 2 */
    mep_tensor_view q, k, v, out;
    float *lse;                  /* [batch, heads, queries], natural logarithm */
    unsigned long long *visited; /* number of blocks of keys that tiles have visited; added to */

    /* [heads, bias_stride], in base 2, with distance 0 at FRONT. -inf before it: the bias includes the causal mask and
     * the keys after the last. */
    float *bias;
    float *far_bias; /* [heads, far_stride]: largest bias at distances >= BLOCK * index */
    int64_t bias_stride, far_stride;

    float *key_norms;  /* [batch, heads, blocks]: largest |k| of the first blocks of BLOCK keys, up to this one */
    int blocks, tiles; /* numbers of blocks of keys, of tiles of queries */

    /* backward */
    mep_tensor_view dout, dq, dk, dv;
    double *dbias; /* [heads, keys], added to */
    float *delta;  /* [batch, heads, queries]: dout.out */
    float *query_norms,
        *low;         /* [batch, heads, tiles]: largest |q|, and largest -lse in base 2, of a tile and those after it */
    float *dq_sums;   /* [batch, heads, tiles, BLOCK x channels], in the order of dq_offset */
    float *bias_sums; /* [batch, heads, keys], or NULL: the bias has no gradient */
    int *progress;    /* [1 + batch x heads x blocks]: number of blocks that have begun; the first tile to which a block
                         has not added */
};

/* Compute bias and far_bias of a call from a table [heads, row] of which `length` distances are used; NULL: zeros. */
mep_status mep_cuda_attention_prepare_bias(const mep_cuda_attention_call *call, const float *table, int64_t row,
                                           int64_t length, cudaStream_t stream);
/* Compute key_norms; delta, query_norms and low. */
mep_status mep_cuda_attention_prepare_keys(const mep_cuda_attention_call *call, cudaStream_t stream);
mep_status mep_cuda_attention_prepare_queries(const mep_cuda_attention_call *call, cudaStream_t stream);
/* Compute out, lse and visited; *blocks: number of blocks that would be visited without skipping. */
mep_status mep_cuda_attention_forward(const mep_cuda_attention_call *call, cudaStream_t stream, int64_t *blocks);
/* Compute dk, dv, dq_sums and bias_sums. The last two and progress must be zero before. */
mep_status mep_cuda_attention_backward(const mep_cuda_attention_call *call, cudaStream_t stream);
/* Compute dq and dbias from their sums. */
mep_status mep_cuda_attention_finish(const mep_cuda_attention_call *call, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
