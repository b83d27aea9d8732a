/* SPDX-License-Identifier: MIT */
/*
 * Tiles of bfloat16 in shared memory, and reading operands of matrix instructions from them.
 *
 * A tile is [rows][D + PAD]: with 8 elements of padding the eight rows of 16 bytes that ldmatrix reads at a time are in
 * different banks for D = 64, 96 and 128. Operands are named after the product C[m x n] = A[m x k] B[k x n].
 */
#ifndef MEP_CUDA_TILE_CUH
#define MEP_CUDA_TILE_CUH

#include <math.h>
#include <stdint.h>

#include "cuda/warp.cuh"
#include "mep/attention.h"

typedef uint16_t bf16; /* its bits */

enum { PAD = 8, CHUNK = 8 /* elements per copy of 16 bytes */ };

/* Start to copy rows first .. first + ROWS - 1 of (batch, head) into a tile, with all `THREADS` threads of the block.
 * Rows from `end` and channels from head_dim become 0. */
template <int D, int ROWS, int THREADS>
__device__ __forceinline__ void load_tile(bf16 *tile, const mep_tensor_view &view, int64_t batch, int64_t head,
                                          int64_t first, int64_t end, int head_dim)
{
    const bf16 *source = (const bf16 *)view.data + batch * view.batch_stride + head * view.head_stride;
#pragma unroll
    for (unsigned at = threadIdx.x; at < ROWS * (D / CHUNK); at += THREADS) {
        int row = (int)(at / (D / CHUNK)), channel = (int)(at % (D / CHUNK) * CHUNK);
        int valid = first + row < end && channel < head_dim;
        const bf16 *from = valid ? source + (first + row) * view.token_stride + channel : source;
        copy_async(tile + row * (D + PAD) + channel, from, valid ? 16 : 0);
    }
}

/* A [16 x 16], at (row, column) of a tile that contains A's rows. */
template <int STRIDE> __device__ __forceinline__ void load_a(uint32_t a[4], const bf16 *tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices(a, tile + (row + lane % 16) * STRIDE + column + lane / 16 * 8);
}

/* The same from a tile that contains A's columns as rows (A transposed): row and column are those of A. */
template <int STRIDE>
__device__ __forceinline__ void load_a_transposed(uint32_t a[4], const bf16 *tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices_transposed(a, tile + (column + lane / 16 * 8 + lane % 8) * STRIDE + row + lane / 8 % 2 * 8);
}

/* B [16 x 16], two operands of 8 columns (b[0], b[1] and b[2], b[3]), from a tile that contains B's columns as rows:
 * row and column are those of B. */
template <int STRIDE>
__device__ __forceinline__ void load_b_transposed(uint32_t b[4], const bf16 *tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices(b, tile + (column + lane / 16 * 8 + lane % 8) * STRIDE + row + lane / 8 % 2 * 8);
}

/* The same from a tile that contains B's rows. */
template <int STRIDE> __device__ __forceinline__ void load_b(uint32_t b[4], const bf16 *tile, int row, int column)
{
    int lane = (int)threadIdx.x % 32;
    load_matrices_transposed(b, tile + (row + lane % 16) * STRIDE + column + lane / 16 * 8);
}

/* Two neighboring operands C [16 x 8], rounded to the A operand [16 x 16] of the next product. */
__device__ __forceinline__ void to_a(uint32_t a[4], const float left[4], const float right[4])
{
    a[0] = pack_bf16(left[0], left[1]);
    a[1] = pack_bf16(left[2], left[3]);
    a[2] = pack_bf16(right[0], right[1]);
    a[3] = pack_bf16(right[2], right[3]);
}

/* C += A B for B of two operands of 8 columns. */
__device__ __forceinline__ void multiply(float left[4], float right[4], const uint32_t a[4], const uint32_t b[4])
{
    mma_16x8x16(left, a, b);
    mma_16x8x16(right, a, b + 2);
}

/* Sum and maximum over the four threads that share a row of an operand C. */
__device__ __forceinline__ float row_sum(float x)
{
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
}

__device__ __forceinline__ float row_max(float x)
{
    x = fmaxf(x, shuffle_xor(x, 1));
    return fmaxf(x, shuffle_xor(x, 2));
}

#endif
