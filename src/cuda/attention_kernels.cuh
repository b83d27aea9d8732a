/* SPDX-License-Identifier: MIT */
/*
 * What the kernels of fused attention share: access to the bias. Scores are in base 2 (divided by ln 2), so that the
 * exponential is one instruction.
 */
#ifndef MEP_CUDA_ATTENTION_CUH
#define MEP_CUDA_ATTENTION_CUH

#include "attention/terms.h"
#include "cuda/cuda_attention.h"
#include "cuda/tile.cuh"

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

/* Pointer b with b[d] the bias at distance d. */
__device__ __forceinline__ const float *bias_of(const mep_cuda_attention_call &call, int head)
{
    return call.bias + head * call.bias_stride + FRONT;
}

/* Largest bias of a head at distances >= d. */
__device__ __forceinline__ float far_bias_of(const mep_cuda_attention_call &call, int head, int64_t d)
{
    return call.far_bias[head * call.far_stride + (d > 0 ? d / BLOCK : 0)];
}

/* The offset of a query and a channel in a tile's dQ sums: the order in which the threads of the backward kernel hold
 * them, so that a warp adds to 32 neighboring values. Of eight channels from a multiple of 8, the even ones are at this
 * offset, the odd ones 32 further. */
__device__ __forceinline__ int dq_offset(int channels, int query, int channel)
{
    int warp = query / 16 + channel / (channels / 2) * 4, operand = channel % (channels / 2) / 8;
    return ((warp * (channels / 16) + operand) * 4 + query / 8 % 2 * 2 + channel % 2) * 32 + query % 8 * 4 +
           channel % 8 / 2;
}

/* Launch one of attention's kernels. */
template <class... P, class... A>
static mep_status run(void (*kernel)(P...), dim3 grid, dim3 threads, size_t shared, cudaStream_t stream, A... arguments)
{
    cudaError_t error = mep_launch(kernel, grid, threads, shared, stream, arguments...);
    if (error != cudaErrorInvalidValue || shared <= 48 * 1024) return mep_cuda_check(error, "attention");
    cudaGetLastError(); /* clear the error, which is reported here */
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "attention on CUDA takes %lld KB of shared memory for this head_dim, and the GPU has less; use "
                    "another GPU, or a smaller head_dim",
                    (long long)(shared + 1023) / 1024);
}

#endif
