/* SPDX-License-Identifier: MIT */
/*
 * The emulator of CUDA: every function of src/cuda/warp.cuh compared with plain loops, with the layouts of the PTX ISA,
 * in several orders of threads and blocks; and every kind of error that it reports.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bf16.h"
#include "cuda_test.h"

/* Small integers and halves, bfloat16: exact in every order of summation. */
static std::vector<float> numbers(size_t count, unsigned seed)
{
    std::vector<float> x(count);
    for (float &v : x) {
        seed = seed * 1664525u + 1013904223u;
        v = (float)((int)(seed >> 24) - 128) / 2;
    }
    return x;
}

static std::vector<uint16_t> rounded(const std::vector<float> &x)
{
    std::vector<uint16_t> y(x.size());
    for (size_t i = 0; i < x.size(); i++) y[i] = mep_bf16_from_float(x[i]);
    return y;
}

/* A launch that has to fail with this error and these words in its message. */
static void expect(cudaError_t got, cudaError_t error, const char *words)
{
    assert_int_equal(got, error);
    if (strstr(cudaGetErrorString(got), words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, cudaGetErrorString(got));
    assert_int_equal(cudaDeviceSynchronize(), error);
    assert_int_equal(cudaGetLastError(), error);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

/* Fragments directly from global memory, element i of a lane as the PTX ISA numbers them. */
__global__ void __launch_bounds__(32) product(float *c, const uint16_t *a, const uint16_t *b)
{
    int lane = (int)threadIdx.x, group = lane >> 2, in_group = lane % 4;
    uint32_t fragment_a[4] = {0}, fragment_b[2] = {0};
    float sum[4];
    for (int i = 0; i < 8; i++) {
        int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
        int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        fragment_a[i / 2] |= (uint32_t)a[row * 16 + column] << 16 * (i % 2);
    }
    for (int i = 0; i < 4; i++) {
        int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
        fragment_b[i / 2] |= (uint32_t)b[row * 8 + group] << 16 * (i % 2);
    }
    for (int i = 0; i < 4; i++) sum[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
    mma_16x8x16(sum, fragment_a, fragment_b);
    for (int i = 0; i < 4; i++) c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = sum[i];
}

static std::vector<float> plain_product(std::vector<float> c, const std::vector<float> &a, const std::vector<float> &b,
                                        size_t columns, bool b_transposed)
{
    for (size_t m = 0; m < 16; m++)
        for (size_t n = 0; n < columns; n++)
            for (size_t k = 0; k < 16; k++)
                c[m * columns + n] += a[m * 16 + k] * (b_transposed ? b[n * 16 + k] : b[k * columns + n]);
    return c;
}

static void test_product(void **)
{
    std::vector<float> a = numbers(16 * 16, 1), b = numbers(16 * 8, 2), c = numbers(16 * 8, 3);
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<uint16_t> on_a(rounded(a)), on_b(rounded(b));
        device_array<float> on_c(c);
        assert_int_equal(mep_launch(product, 1, 32, 0, NULL, on_c.data, on_a.data, on_b.data), cudaSuccess);
        assert_true(on_c.get() == plain_product(c, a, b, 8, false));
    }
}

/* As attention uses them, in one warp: scores = q k^T with k loaded as it is stored, values = q v with v transposed by
 * the load. q, k, v are 16 x 16; they are copied asynchronously, k and v in a second group. */
__global__ void __launch_bounds__(32)
    tiles(float *scores, float *values, const uint16_t *q, const uint16_t *k, const uint16_t *v)
{
    uint16_t *tile = shared_memory<uint16_t>(), *tile_k = tile + 256, *tile_v = tile_k + 256;
    int lane = (int)threadIdx.x, row = lane / 2, half = lane % 2 * 8;
    copy_async(tile + row * 16 + half, q + row * 16 + half, 16);
    copy_async_commit();
    copy_async(tile_k + row * 16 + half, k + row * 16 + half, 16);
    copy_async(tile_v + row * 16 + half, v + row * 16 + half, 16);
    copy_async_commit();
    copy_async_wait<1>();
    __syncwarp();
    uint32_t a[4], b[4];
    load_matrices(a, tile + lane % 16 * 16 + lane / 16 * 8);
    copy_async_wait<0>();
    __syncthreads();
    float c[2][4] = {{0}, {0}}, d[2][4] = {{0}, {0}};
    load_matrices(b, tile_k + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    for (int n = 0; n < 2; n++) mma_16x8x16(c[n], a, b + 2 * n);
    load_matrices_transposed(b, tile_v + lane % 16 * 16 + lane / 16 * 8);
    for (int n = 0; n < 2; n++) mma_16x8x16(d[n], a, b + 2 * n);
    for (int i = 0; i < 8; i++) {
        int place = (lane / 4 + i % 4 / 2 * 8) * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2;
        scores[place] = c[i / 4][i % 4];
        values[place] = d[i / 4][i % 4];
    }
}

static void test_tiles(void **)
{
    std::vector<float> q = numbers(256, 4), k = numbers(256, 5), v = numbers(256, 6), zero(256);
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<uint16_t> on_q(rounded(q)), on_k(rounded(k)), on_v(rounded(v));
        device_array<float> scores(zero), values(zero);
        assert_int_equal(
            mep_launch(tiles, 1, 32, 3 * 512, NULL, scores.data, values.data, on_q.data, on_k.data, on_v.data),
            cudaSuccess);
        assert_true(scores.get() == plain_product(zero, q, k, 16, true));
        assert_true(values.get() == plain_product(zero, q, v, 16, false));
    }
}

/* Loaded matrices, lane by lane. */
__global__ void load(uint32_t *out, const uint4 *rows, int transposed)
{
    uint4 *tile = shared_memory<uint4>();
    int lane = (int)threadIdx.x;
    uint32_t r[4];
    tile[31 - lane] = rows[lane];
    __syncwarp();
    if (transposed)
        load_matrices_transposed(r, tile + 31 - lane);
    else
        load_matrices(r, tile + 31 - lane);
    for (int i = 0; i < 4; i++) out[4 * lane + i] = r[i];
}

static void test_load(void **)
{
    std::vector<uint4> rows(32);
    for (unsigned i = 0; i < 32 * 8; i++) ((uint16_t *)rows.data())[i] = (uint16_t)(i * 257);
    const uint16_t *elements = (const uint16_t *)rows.data();
    for (int seed = 0; seed < SEEDS; seed++)
        for (int transposed = 0; transposed < 2; transposed++) {
            emulator::set_seed((uint64_t)seed);
            device_array<uint4> on_rows(rows);
            device_array<uint32_t> out(std::vector<uint32_t>(128));
            assert_int_equal(mep_launch(load, 1, 32, 512, NULL, out.data, on_rows.data, transposed), cudaSuccess);
            std::vector<uint32_t> got = out.get();
            for (int lane = 0; lane < 32; lane++)
                for (int i = 0; i < 4; i++)
                    for (int half = 0; half < 2; half++) {
                        int across = lane / 4, along = lane % 4 * 2 + half;
                        uint16_t wanted =
                            elements[(8 * i + (transposed ? along : across)) * 8 + (transposed ? across : along)];
                        assert_int_equal(got[(size_t)(4 * lane + i)] >> 16 * half & 0xffff, wanted);
                    }
        }
}

__global__ void __launch_bounds__(64) shuffles(double *out)
{
    int lane = (int)threadIdx.x % 32;
    double *mine = out + 5 * threadIdx.x;
    mine[0] = shuffle((float)threadIdx.x, 31 - lane);
    mine[1] = shuffle((int)threadIdx.x, 35); /* 3 */
    mine[2] = shuffle_xor((double)threadIdx.x + 0.5, 16);
    mine[3] = shuffle_down((int64_t)threadIdx.x << 40, 5);
    mine[4] = shuffle_xor(threadIdx.x, 1);
}

static void test_shuffles(void **)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<double> out(std::vector<double>(5 * 64));
        assert_int_equal(mep_launch(shuffles, 1, 64, 0, NULL, out.data), cudaSuccess);
        std::vector<double> got = out.get();
        for (int i = 0; i < 64; i++) {
            int lane = i % 32, warp = i - lane;
            double wanted[5] = {(double)(warp + 31 - lane), (double)(warp + 3), (i ^ 16) + 0.5,
                                (double)((int64_t)(lane < 27 ? i + 5 : i) << 40), (double)(i ^ 1)};
            for (int k = 0; k < 5; k++) assert_true(got[(size_t)(5 * i + k)] == wanted[k]);
        }
    }
}

/* Conversions: those of src/base/bf16.h, and NaN as on the GPU. */
static void test_numbers(void **)
{
    const float inputs[] = {0, -0.0f, 1, 1.00390625f, 1.01171875f, -3e38f, INFINITY, 1e-40f, 3.4e38f};
    for (float x : inputs) {
        uint32_t both = pack_bf16(x, -x);
        assert_int_equal(both & 0xffff, mep_bf16_from_float(x));
        assert_int_equal(both >> 16, mep_bf16_from_float(-x));
        assert_true(bf16_low(both) == mep_bf16_to_float(mep_bf16_from_float(x)));
        assert_true(bf16_high(both) == -bf16_low(both));
    }
    assert_int_equal(pack_bf16(-NAN, 1), 0x3f807fff);
    assert_true(exp2_fast(-INFINITY) == 0 && exp2_fast(-126.5f) == 0 && exp2_fast(-126) == FLT_MIN);
    assert_true(exp2_fast(3) == 8 && isnan(exp2_fast(NAN)));
}

/* The block's threads sum their numbers in shared memory; any of them can be the largest. */
__global__ void __launch_bounds__(96) block_sum(int *out, const int *in, int barrier)
{
    int *sum = shared_memory<int>(), i = (int)(threadIdx.x + blockDim.x * threadIdx.y);
    sum[i] = in[blockIdx.x * 96 + (unsigned)i];
    if (barrier) __syncthreads();
    int total = 0;
    for (int k = 0; k < 96; k++) total += sum[k];
    if (__syncthreads_or(sum[i] == 95)) total += 1000000;
    if (i == 50) out[blockIdx.x + gridDim.x * blockIdx.y] = total;
}

static void test_barriers(void **)
{
    std::vector<int> in(3 * 96);
    for (int i = 0; i < 3 * 96; i++) in[(size_t)i] = i < 200 ? i : 2;
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<int> on(in), out(std::vector<int>(6)), raced(std::vector<int>(6));
        assert_int_equal(mep_launch(block_sum, dim3(3, 2), dim3(12, 8), 96 * sizeof(int), NULL, out.data, on.data, 1),
                         cudaSuccess);
        std::vector<int> wanted(6);
        for (int b = 0; b < 6; b++)
            for (int i = 0; i < 96; i++) wanted[(size_t)b] += in[(size_t)(b % 3 * 96 + i)];
        wanted[0] += 1000000;
        wanted[3] += 1000000;
        assert_true(out.get() == wanted);

        /* Without the barrier, threads read what others have not written yet, in any order. */
        assert_int_equal(mep_launch(block_sum, dim3(3, 2), dim3(12, 8), 96 * sizeof(int), NULL, raced.data, on.data, 0),
                         cudaSuccess);
        assert_false(raced.get() == wanted);
    }
}

/* A race with a plausible result: neighbors of other warps are read before or after they are changed. */
__global__ void neighbours(int *out, int barrier)
{
    int *x = shared_memory<int>(), i = (int)threadIdx.x;
    x[i] = i;
    __syncthreads();
    int next = x[(i + 32) % 128];
    if (barrier) __syncthreads();
    x[i] = -i;
    out[i] = next;
}

static void test_race(void **)
{
    int different = 0;
    std::vector<int> zero(128), first;
    for (int barrier = 1; barrier >= 0; barrier--)
        for (int seed = 0; seed < SEEDS; seed++) {
            emulator::set_seed((uint64_t)seed);
            device_array<int> out(zero);
            assert_int_equal(mep_launch(neighbours, 1, 128, 512, NULL, out.data, barrier), cudaSuccess);
            if (barrier && seed == 0) first = out.get();
            if (barrier) assert_true(out.get() == first);
            different += out.get() != first;
        }
    assert_true(different >= SEEDS / 2);
}

/* Each thread copies 16 bytes in two groups, waits for all but the NEWEST groups and reads both. */
template <int NEWEST> __global__ void copies(uint4 *out, const uint4 *in, int valid)
{
    uint4 *tile = shared_memory<uint4>();
    unsigned i = threadIdx.x;
    tile[i] = tile[32 + i] = make_uint4(0, 0, 0, 0);
    copy_async(tile + i, in + i, 16);
    copy_async_commit();
    copy_async(tile + 32 + i, in + 32 + i, (int)i < valid ? 16 : 0);
    copy_async_commit();
    copy_async_wait<NEWEST>();
    out[i] = tile[i];
    out[32 + i] = tile[32 + i];
}

static void test_copies(void **)
{
    std::vector<uint4> in(64), zero(64);
    for (unsigned i = 0; i < 256; i++) ((unsigned *)in.data())[i] = i + 1;
    for (int waited = 0; waited < 3; waited++) {
        device_array<uint4> on(in), out(zero);
        void (*kernel)(uint4 *, const uint4 *, int) = waited == 0 ? copies<2> : waited == 1 ? copies<1> : copies<0>;
        assert_int_equal(mep_launch(kernel, 1, 32, 1024, NULL, out.data, on.data, 20), cudaSuccess);
        std::vector<uint4> got = out.get();
        for (unsigned i = 0; i < 256; i++) {
            bool arrived = i < 128 ? waited >= 1 : waited >= 2;
            unsigned wanted = !arrived ? 0xffffffffu : i < 128 + 4 * 20 ? i + 1 : 0;
            assert_int_equal(((unsigned *)got.data())[i], wanted);
        }
    }
}

/* Blocks add to a number one after the other, in the order of their tickets, each with all its threads. */
__global__ void chain(float *sum, int *tickets, int wait)
{
    int *ticket = shared_memory<int>();
    if (threadIdx.x == 0) *ticket = atomic_ticket(tickets);
    __syncthreads();
    float term = 1.0f / (float)(*ticket + 3);
    for (int i = 0; i < 5; i++) term = shuffle_xor(term, 1) * 1.5f;
    if (wait && threadIdx.x == 0)
        while (load_acquire(tickets + 1) != *ticket) {
        }
    __syncthreads();
    if (threadIdx.x < 32) sum[threadIdx.x] = sum[threadIdx.x] * 0.75f + term;
    __syncthreads();
    if (threadIdx.x == 0) store_release(tickets + 1, *ticket + 1);
}

static void test_flags(void **)
{
    std::vector<float> wanted;
    int different = 0;
    for (int wait = 1; wait >= 0; wait--)
        for (int seed = 0; seed < SEEDS; seed++) {
            emulator::set_seed((uint64_t)seed);
            device_array<float> sum(std::vector<float>(32));
            device_array<int> tickets(std::vector<int>(2));
            assert_int_equal(mep_launch(chain, dim3(5, 2, 2), 64, 4, NULL, sum.data, tickets.data, wait), cudaSuccess);
            if (wait && seed == 0) wanted = sum.get();
            if (wait) assert_true(sum.get() == wanted);
            if (wait) assert_true(tickets.get() == std::vector<int>({20, 20}));
            different += sum.get() != wanted;
        }
    assert_true(different >= 2);
}

__global__ void never(int *flag)
{
    while (load_acquire(flag) == 0) {
    }
}

/* Errors of synchronization, by number. */
template <int KIND> __global__ void stuck(float *out)
{
    int i = (int)threadIdx.x;
    if (KIND == 0 && i < 40) __syncthreads(); /* different barriers */
    if (KIND == 0 && i >= 40) __syncthreads();
    if (KIND == 1 && i == 7) return; /* a collective without one lane */
    if (KIND == 1) out[i] = shuffle(1.0f, 0);
    if (KIND == 2 && i % 2 == 0) __syncwarp(); /* half a warp at a time */
    if (KIND == 2 && i % 2 == 1) __syncwarp();
    if (KIND == 3 && i < 32) return; /* a barrier without a warp */
    __syncthreads();
}

static void test_stuck(void **)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<float> out(std::vector<float>(64));
        device_array<int> flag(std::vector<int>(1));
        expect(mep_launch(stuck<0>, 1, 64, 0, NULL, out.data), cudaErrorLaunchFailure,
               "void stuck<0>(float*), block (0, 0, 0): threads wait for each other in different calls: 0 to 39 wait "
               "in __syncthreads (");
        expect(mep_launch(stuck<0>, 1, 64, 0, NULL, out.data), cudaErrorLaunchFailure, ", 40 to 63 wait in __syncth");
        expect(mep_launch(stuck<1>, 1, 64, 0, NULL, out.data), cudaErrorLaunchFailure,
               ", 7 to 7 have returned, 8 to 31 wait in shuffle (");
        expect(mep_launch(stuck<2>, 1, 64, 0, NULL, out.data), cudaErrorLaunchFailure, ": 0 to 0 wait in __syncwarp (");
        expect(mep_launch(stuck<3>, 1, 64, 0, NULL, out.data), cudaErrorLaunchFailure,
               ": 0 to 31 have returned, 32 to 63 wait in __syncthreads (");
        expect(mep_launch(stuck<2>, 1, 48, 0, NULL, out.data), cudaErrorLaunchFailure,
               "in a block of 48 threads: give whole warps of 32");
        expect(mep_launch(never, 3, 64, 0, NULL, flag.data), cudaErrorLaunchFailure,
               "waits for a flag that none of the running blocks sets");
    }
}

/* Errors of addresses, by number; `at` is a number of floats. */
template <int KIND> __global__ void touch(float *memory, int at)
{
    float *shared = shared_memory<float>();
    uint32_t r[4];
    if (KIND == 0 && threadIdx.x == 0) memory[at] = 1;
    if (KIND == 1 && threadIdx.x == 0) shared[at] = 1;
    if (KIND == 2) copy_async(shared + 4 * threadIdx.x, memory + at, 16);
    if (KIND == 3) copy_async(shared + at + 4 * threadIdx.x, memory, 16);
    if (KIND == 4) load_matrices(r, shared + at + 4 * threadIdx.x);
    if (KIND == 5) memory[threadIdx.x] = shared[threadIdx.x]; /* never written, except by the block before */
    if (KIND == 5) shared[threadIdx.x] = 1;
    if (KIND == 6) *(float4 *)(memory + at) = make_float4(1, 2, 3, 4);
}

static void test_addresses(void **)
{
    for (int seed = 0; seed < SEEDS; seed++) {
        emulator::set_seed((uint64_t)seed);
        device_array<float> x(std::vector<float>(100));
        expect(mep_launch(touch<0>, 1, 32, 0, NULL, x.data, 5000), cudaErrorIllegalAddress,
               "thread (0, 0, 0): access outside of memory: ");
        expect(mep_launch(touch<0>, 1, 32, 0, NULL, x.data, -5000), cudaErrorIllegalAddress, "access outside");
        expect(mep_launch(touch<1>, 1, 32, 500, NULL, x.data, 5000), cudaErrorIllegalAddress, "access outside");
        expect(mep_launch(touch<1>, 1, 32, 0, NULL, x.data, 0), cudaErrorIllegalAddress, "access outside");
        expect(mep_launch(touch<2>, 1, 32, 512, NULL, x.data, 100), cudaErrorIllegalAddress,
               "400 bytes after the start of the 400 bytes");
        expect(mep_launch(touch<2>, 1, 32, 512, NULL, x.data, 2), cudaErrorMisalignedAddress, "not a multiple of 16");
        expect(mep_launch(touch<3>, 1, 32, 512, NULL, x.data, 2), cudaErrorMisalignedAddress, "not a multiple of 16");
        expect(mep_launch(touch<3>, 1, 32, 512, NULL, x.data, 4), cudaErrorIllegalAddress,
               "512 bytes of shared memory");
        expect(mep_launch(touch<4>, 1, 32, 512, NULL, x.data, 1), cudaErrorMisalignedAddress, "not a multiple of 16");
        expect(mep_launch(touch<4>, 1, 32, 512, NULL, x.data, -4), cudaErrorIllegalAddress, "load_matrices: address");
        assert_int_equal(mep_launch(touch<5>, 9, 32, 128, NULL, x.data, 0), cudaSuccess);
        for (int i = 0; i < 100; i++) assert_true(isnan(x.get()[(size_t)i]) == (i < 32));
#ifndef MEP_SANITIZED /* which report these themselves */
        expect(mep_launch(touch<1>, 1, 32, 500, NULL, x.data, -1), cudaErrorIllegalAddress,
               "memory was written 4 bytes before the 500 bytes of shared memory");
        expect(mep_launch(touch<6>, 1, 32, 0, NULL, x.data, 1), cudaErrorMisalignedAddress, "not a multiple of 16");
        device_array<float> damaged(std::vector<float>(100));
        expect(mep_launch(touch<0>, 1, 32, 0, NULL, damaged.data, 101), cudaErrorIllegalAddress,
               "memory was written 4 bytes after the end of the 400 bytes of device memory");
#endif
    }
}

/* Host code that reads device memory is terminated. */
static void test_host_access(void **)
{
    device_array<float> x(std::vector<float>(10));
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        fclose(stderr); /* a sanitizer's report */
        (void)*(volatile float *)x.data;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(x.get()[0] == 0);
}

__global__ void count_blocks(int *counter)
{
    if (threadIdx.x + threadIdx.y + threadIdx.z == 0) atomic_ticket(counter);
}

static void test_runtime(void **)
{
    int devices = 0;
    struct cudaDeviceProp properties;
    size_t bytes_free, bytes_before, bytes_total;
    float host[4] = {1, 2, 3, 4}, *memory, milliseconds = -1;
    assert_int_equal(cudaGetDeviceCount(&devices), cudaSuccess);
    assert_int_equal(devices, 1);
    assert_int_equal(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    assert_int_equal(properties.major, 8);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    assert_int_equal(cudaPeekAtLastError(), cudaErrorInvalidDevice);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidDevice);

    assert_int_equal(cudaMemGetInfo(&bytes_before, &bytes_total), cudaSuccess);
    assert_int_equal(cudaMalloc(&memory, bytes_total + 1), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_null(memory);
    assert_int_equal(cudaMalloc(&memory, sizeof host), cudaSuccess);
    assert_int_equal((uintptr_t)memory % 256, 0);
    assert_int_equal(cudaMemGetInfo(&bytes_free, &bytes_total), cudaSuccess);
    assert_int_equal(bytes_before - bytes_free, sizeof host);

    assert_int_equal(cudaMemcpy(memory, host, sizeof host, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(memory, host, sizeof host + 1, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(memory + 1, 0, sizeof host), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(memory, host, sizeof host, cudaMemcpyHostToDevice, NULL), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(memory + 1, 0, 4, NULL), cudaSuccess);
    assert_int_equal(cudaMemcpy(host, memory, sizeof host, cudaMemcpyDefault), cudaSuccess);
    assert_true(host[0] == 1 && host[1] == 0 && host[2] == 3 && host[3] == 4);

    cudaStream_t stream;
    cudaEvent_t events[2];
    assert_int_equal(cudaStreamCreate(&stream), cudaSuccess);
    for (cudaEvent_t &event : events) assert_int_equal(cudaEventCreate(&event), cudaSuccess);
    assert_int_equal(cudaEventRecord(events[0], stream), cudaSuccess);
    assert_int_equal(cudaMemsetAsync(memory, 0, 4, stream), cudaSuccess);
    assert_int_equal(mep_launch(count_blocks, dim3(5, 4, 3), dim3(4, 4, 4), 0, stream, (int *)memory), cudaSuccess);
    assert_int_equal(cudaEventRecord(events[1], stream), cudaSuccess);
    assert_int_equal(cudaEventSynchronize(events[1]), cudaSuccess);
    assert_int_equal(cudaEventElapsedTime(&milliseconds, events[0], events[1]), cudaSuccess);
    assert_true(milliseconds >= 0);
    assert_int_equal(cudaMemcpy(host, memory, 4, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_int_equal(*(int *)host, 60);
    for (cudaEvent_t event : events) assert_int_equal(cudaEventDestroy(event), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(stream), cudaSuccess);

    assert_int_equal(mep_launch(count_blocks, 0, 32, 0, NULL, (int *)memory), cudaErrorInvalidConfiguration);
    assert_int_equal(mep_launch(count_blocks, 1, 1025, 0, NULL, (int *)memory), cudaErrorInvalidConfiguration);
    assert_int_equal(mep_launch(count_blocks, dim3(1, 65536), 1, 0, NULL, (int *)memory),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(mep_launch(count_blocks, 1, 1, 227 * 1024 + 1, NULL, (int *)memory), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(memory), cudaSuccess);
    assert_int_equal(cudaFree(memory), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product),  cmocka_unit_test(test_tiles),     cmocka_unit_test(test_load),
        cmocka_unit_test(test_shuffles), cmocka_unit_test(test_numbers),   cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_race),     cmocka_unit_test(test_copies),    cmocka_unit_test(test_flags),
        cmocka_unit_test(test_stuck),    cmocka_unit_test(test_addresses), cmocka_unit_test(test_host_access),
        cmocka_unit_test(test_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
