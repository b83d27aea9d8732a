/* SPDX-License-Identifier: MIT */
/*
 * What kernels see of the emulator: keywords of the language, vector types, and the functions of src/cuda/warp.cuh,
 * with the same names and contracts. Threads of a block are fibers of one CPU thread. A thread that calls a collective
 * leaves its operand on its stack and lets other threads run until all have arrived; then the last one lets it be
 * computed.
 *
 * Errors that are found and reported with kernel, block, thread and source line: barriers and collectives that not all
 * threads reach, or reach in different lines; flags that are never set; accesses outside of allocations and of shared
 * memory; misaligned accesses; asynchronous copies that are read before their wait, and memory that was never written
 * (both are NaN). Races are visible as results that differ with the seed. Not found: races between reads and writes
 * where no order of the threads changes the result, and a missing fence of the memory model.
 */
#ifndef CUDA_EMULATOR_H
#define CUDA_EMULATOR_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cuda_runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define rsqrtf(x) (1.0f / sqrtf(x))

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};

/* Vectors of 2 and 4 elements, aligned to their size as in CUDA. */
#define EMULATOR_VECTORS(T, name)                                                                                      \
    struct alignas(2 * sizeof(T)) name##2                                                                              \
    {                                                                                                                  \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct alignas(16) name##4                                                                                         \
    {                                                                                                                  \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    inline name##2 make_##name##2(T x, T y)                                                                            \
    {                                                                                                                  \
        return {x, y};                                                                                                 \
    }                                                                                                                  \
    inline name##4 make_##name##4(T x, T y, T z, T w)                                                                  \
    {                                                                                                                  \
        return {x, y, z, w};                                                                                           \
    }
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned, uint)
#undef EMULATOR_VECTORS

extern dim3 gridDim, blockDim;
extern uint3 blockIdx, threadIdx;

namespace emulator {

/* Set the order in which later launches run: with seed 0 threads, warps and blocks run in the order of their numbers,
 * with 1 in reverse, with others shuffled, with 1 to 4 blocks in turn. A kernel without races computes the same bits
 * with all. */
void set_seed(uint64_t seed);

/* The number of switches between fibers since the program began. */
uint64_t switches();

/* The line of a call in the kernel's source, as a default argument. */
struct source_line {
    const char *file;
    int line;
};
constexpr source_line here(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return {file, line};
}

/* Wait until all threads of the warp or the block have arrived at the same line with an operand of the same kind. When
 * the last has arrived, `finish` is called once with all operands, in the order of the threads, and all continue. */
typedef void finish(void *const *operands, int count);
void meet_warp(const char *name, source_line at, finish *f, void *operand);
void meet_block(const char *name, source_line at, finish *f, void *operand);
void pause(const char *name, source_line at); /* let other threads run; for loops that wait for their results */

void load_matrices(const char *name, source_line at, uint32_t r[4], const void *row, bool transposed);
void begin_copy(void *shared, const void *global, int bytes_valid);
void commit_copies();
void wait_for_copies(int newest);
void *block_memory();
int lane();
cudaError_t launch(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*run)(void *),
                   void *arguments);

template <class T> struct exchanged {
    T value, result;
    int source;
};

template <class T> T exchange(const char *name, source_line at, T value, int source)
{
    exchanged<T> mine = {value, value, source};
    meet_warp(
        name, at,
        [](void *const *lanes, int count) {
            for (int i = 0; i < count; i++) {
                exchanged<T> *x = static_cast<exchanged<T> *>(lanes[i]);
                x->result = static_cast<exchanged<T> *>(lanes[x->source])->value;
            }
        },
        &mine);
    return mine.result;
}

inline void nothing(void *const *, int) {}

} // namespace emulator

inline void __syncthreads(emulator::source_line at = emulator::here())
{
    emulator::meet_block("__syncthreads", at, emulator::nothing, nullptr);
}

int __syncthreads_or(int condition, emulator::source_line at = emulator::here());

inline void __syncwarp(emulator::source_line at = emulator::here())
{
    emulator::meet_warp("__syncwarp", at, emulator::nothing, nullptr);
}

void mma_16x8x16(float c[4], const uint32_t a[4], const uint32_t b[2], emulator::source_line at = emulator::here());

inline void load_matrices(uint32_t r[4], const void *row, emulator::source_line at = emulator::here())
{
    emulator::load_matrices("load_matrices", at, r, row, false);
}

inline void load_matrices_transposed(uint32_t r[4], const void *row, emulator::source_line at = emulator::here())
{
    emulator::load_matrices("load_matrices_transposed", at, r, row, true);
}

inline void copy_async(void *shared, const void *global, int bytes_valid)
{
    emulator::begin_copy(shared, global, bytes_valid);
}

inline void copy_async_commit()
{
    emulator::commit_copies();
}

template <int N> void copy_async_wait()
{
    emulator::wait_for_copies(N);
}

template <class T> T shuffle(T value, int lane, emulator::source_line at = emulator::here())
{
    return emulator::exchange("shuffle", at, value, lane & 31);
}

template <class T> T shuffle_xor(T value, int mask, emulator::source_line at = emulator::here())
{
    return emulator::exchange("shuffle_xor", at, value, (emulator::lane() ^ mask) & 31);
}

template <class T> T shuffle_down(T value, int distance, emulator::source_line at = emulator::here())
{
    int lane = emulator::lane(), source = lane + distance;
    return emulator::exchange("shuffle_down", at, value, source < 32 ? source : lane);
}

int warp_any(int condition, emulator::source_line at = emulator::here());

inline float exp2_fast(float x)
{
    float y = exp2f(x);
    return y < FLT_MIN ? 0 : y;
}

/* bfloat16 as the GPU rounds: to nearest even, every NaN to 0x7fff. */
inline uint32_t pack_bf16(float low, float high)
{
    float value[2] = {low, high};
    uint32_t bits[2];
    memcpy(bits, value, sizeof bits);
    for (int i = 0; i < 2; i++) {
        bool nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;
        bits[i] = nan ? 0x7fffu : (bits[i] + 0x7fffu + (bits[i] >> 16 & 1u)) >> 16;
    }
    return bits[0] | bits[1] << 16;
}

inline float __uint_as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t __float_as_uint(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float bf16_low(uint32_t both)
{
    return __uint_as_float(both << 16);
}

inline float bf16_high(uint32_t both)
{
    return __uint_as_float(both & 0xffff0000u);
}

template <class T> T *shared_memory()
{
    return static_cast<T *>(emulator::block_memory());
}

template <class T> T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T> T max(T a, T b)
{
    return a < b ? b : a;
}

inline int load_acquire(const int *flag, emulator::source_line at = emulator::here())
{
    emulator::pause("load_acquire", at);
    return *flag;
}

inline void store_release(int *flag, int value)
{
    *flag = value;
}

template <class T> void add_global(T *sum, T x)
{
    *sum += x;
}

inline int atomic_ticket(int *counter)
{
    return (*counter)++;
}

template <class... P, class... A>
cudaError_t mep_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t, A... args)
{
    auto run = [&] { kernel(args...); };
    return emulator::launch(
        reinterpret_cast<const void *>(kernel), grid, block, shared_bytes,
        [](void *r) { (*static_cast<decltype(run) *>(r))(); }, &run);
}

#endif
