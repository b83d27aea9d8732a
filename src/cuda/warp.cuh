/* SPDX-License-Identifier: MIT */
/*
 * Everything specific to GPUs that kernels use: tensor core products, loads of matrices, asynchronous copies, shuffles,
 * flags between blocks, and the launch. nvcc compiles inline functions over PTX (compute capability 8.0 and higher);
 * with MEP_CUDA_EMULATED a C++ compiler gets the same names from tests/emulator, which runs kernels on the CPU and
 * finds their errors. Kernels use nothing specific to GPUs from elsewhere. Shared memory is that of shared_memory()
 * only: variables declared __shared__ are not emulated.
 *
 * A *warp collective* is called by all 32 threads of a warp together, as block barriers are by all threads of a block.
 * Blocks consist of complete warps. A matrix is a tile of 16-bit elements; the PTX ISA describes its distribution over
 * the warp ("Matrix Fragments for mma.m16n8k16", "ldmatrix"). Below, lane = 4 g + t with t in 0..3.
 */
#ifndef MEP_CUDA_WARP_CUH
#define MEP_CUDA_WARP_CUH

#ifdef MEP_CUDA_EMULATED
#include <cuda_emulator.h>
#else

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* c += a b on the tensor cores: a is 16 x 16, b 16 x 8, both bfloat16; c is 16 x 8 in float32. Warp collective.
 * a[0..3]: rows g, g + 8, g, g + 8 at columns 2t, 2t, 2t + 8, 2t + 8, and the next column in the upper half.
 * b[0..1]: rows 2t, 2t + 8, and the next row in the upper half, of column g.
 * c[0..3]: row g at columns 2t, 2t + 1, then row g + 8. */
__device__ __forceinline__ void mma_16x8x16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Load four 8 x 8 matrices from shared memory. Lanes 8i..8i+7 provide the addresses of matrix i's rows, of 16 aligned
 * bytes each; r[i] is its row g at columns 2t (lower half) and 2t + 1. Warp collective. */
__device__ __forceinline__ void load_matrices(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

/* The same for the transposed matrices: r[i] is column g of matrix i at rows 2t (lower half) and 2t + 1. */
__device__ __forceinline__ void load_matrices_transposed(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

/* Begin to copy 16 bytes from global to shared memory, both aligned to 16 bytes, without the L1 cache. With bytes_valid
 * 0 instead of 16 the source is not read and the destination becomes zero. The data is visible to the calling thread
 * after copy_async_wait, to others after a barrier that follows it. */
__device__ __forceinline__ void copy_async(void *shared, const void *global, int bytes_valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes_valid)
                 : "memory");
}

/* Close the group of the copies that this thread has begun since the last call. */
__device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Wait until all but the newest N groups of this thread have been copied. */
template <int N> __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* The value of another lane: of `lane`, of the own lane ^ mask, of the own lane + distance (the own value where there
 * is no such lane). Warp collectives, for int, unsigned, float, double and 64-bit integers. */
template <class T> __device__ __forceinline__ T shuffle(T value, int lane)
{
    return __shfl_sync(0xffffffffu, value, lane);
}

template <class T> __device__ __forceinline__ T shuffle_xor(T value, int mask)
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <class T> __device__ __forceinline__ T shuffle_down(T value, int distance)
{
    return __shfl_down_sync(0xffffffffu, value, (unsigned)distance);
}

/* Whether `condition` is not 0 in any lane. Warp collective. */
__device__ __forceinline__ int warp_any(int condition)
{
    return __any_sync(0xffffffffu, condition);
}

/* 2^x to about 2 units in the last place; denormal results are 0. */
__device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two floats, rounded to nearest even, as bfloat16 in one word; and back. */
__device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ float bf16_low(uint32_t both)
{
    return __uint_as_float(both << 16);
}

__device__ __forceinline__ float bf16_high(uint32_t both)
{
    return __uint_as_float(both & 0xffff0000u);
}

/* The block's dynamic shared memory, aligned to 128 bytes. */
template <class T> __device__ __forceinline__ T *shared_memory()
{
    extern __shared__ __align__(128) unsigned char mep_shared_memory[];
    return reinterpret_cast<T *>(mep_shared_memory);
}

/* Flags in global memory between the blocks of a launch: a thread that loads what another has stored sees all that the
 * other wrote before. A block may wait only for blocks that have certainly started: those with a smaller ticket. */
__device__ __forceinline__ int load_acquire(const int *flag)
{
    int value;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(flag)) : "memory");
    return value;
}

__device__ __forceinline__ void store_release(int *flag, int value)
{
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(__cvta_generic_to_global(flag)), "r"(value) : "memory");
}

/* Add 1 and return the value before: the order in which blocks start. */
__device__ __forceinline__ int atomic_ticket(int *counter)
{
    return atomicAdd(counter, 1);
}

/* *sum += x in global memory, as one operation. The bits of a sum of floats depend on the order of additions, which the
 * blocks must control. */
template <class T> __device__ __forceinline__ void add_global(T *sum, T x)
{
    atomicAdd(sum, x);
}

/* Launch `kernel` on the stream. Returns the error of the launch; a later call returns errors of the kernel. */
template <class... P, class... A>
cudaError_t mep_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, A... args)
{
    if (shared_bytes > 48 * 1024) { /* shared memory that a kernel can have without asking */
        cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                                 cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
        if (error != cudaSuccess) return error;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, args...);
}

#endif
#endif
