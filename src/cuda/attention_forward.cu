/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, forward: a block of 4 warps processes 128 queries of a head against its keys, from the nearest block
 * of 64 to the farthest, with online softmax (FlashAttention-2, arXiv:2307.08691). A warp owns 32 rows. The biases of
 * its 32 x 64 scores are 95 numbers, of which each thread holds 22 in registers, because scores that are 8 rows and 8
 * columns apart have the same distance.
 */
#include "cuda/attention_kernels.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS, PARTS = 2 /* operands of 16 rows per warp */, ROWS = 16 * PARTS * WARPS };

/* A thread's rows of the online softmax: row 16 part + 8 half + lane / 4 of its warp at [part][half]. */
typedef struct rows {
    float maximum[PARTS][2], sum[PARTS][2];
    float norm[PARTS][2]; /* scale |q|; -inf where the row is not a query */
} rows;

/* Load the biases of the warp's scores against a block at distance `d` between its row 0 and key 0: the one of operand
 * column c + e, row 8 g + r is at [g - n + 7][e], n the operand's number. */
template <int N> __device__ __forceinline__ void load_biases(float biases[N][2], const float *bias, int64_t d)
{
    int lane = (int)threadIdx.x % 32;
    const float *at = bias + d + lane / 4 - lane % 4 * 2;
#pragma unroll
    for (int g = 0; g < N; g++) {
        biases[g][0] = at[8 * (g - 7)];
        biases[g][1] = at[8 * (g - 7) - 1];
    }
}

/* Norms of the rows of a tile of queries in shared memory. */
template <int D>
__device__ __forceinline__ void row_norms(rows &state, const bf16 *tile, int row, int count, float scale)
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = row + 16 * part + 8 * half + lane / 4;
            float sum = 0;
            for (int c = lane % 4 * 2; c < D; c += 8) {
                uint32_t pair = *(const uint32_t *)(tile + r * (D + PAD) + c);
                sum += bf16_low(pair) * bf16_low(pair) + bf16_high(pair) * bf16_high(pair);
            }
            float norm = fabsf(scale) * sqrtf(row_sum(sum));
            state.norm[part][half] = r < count ? norm : -INFINITY;
        }
}

/* Whether a key whose norm is at most `norm`, with a bias of at most `bias`, can matter to one of the thread's rows. */
__device__ __forceinline__ int can_matter(const rows &state, float norm, float bias, float margin)
{
    int some = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            some |=
                state.norm[part][half] > -INFINITY &&
                !mep_can_skip(state.norm[part][half], norm, state.maximum[part][half], mep_skip_limit(bias, margin));
    return some;
}

/* Turn scores into weights exp2(scale s + bias - maximum); update the state, and rescale the sums of the output where a
 * maximum has changed. */
template <int D>
__device__ __forceinline__ void softmax(rows &state, float s[PARTS][BLOCK / 8][4], float out[PARTS][D / 8][4],
                                        const float biases[BLOCK / 8 + 2 * PARTS - 1][2], float scale)
{
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float maximum = state.maximum[part][half], sum = 0;
#pragma unroll
            for (int n = 0; n < BLOCK / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = s[part][n][2 * half + e];
                    x = fmaf(x, scale, biases[2 * part + half - n + 7][e]);
                    maximum = fmaxf(maximum, x);
                }
            maximum = row_max(maximum);
            float shift = maximum == -INFINITY ? 0 : maximum; /* a row that has not seen a key yet */
            float rescale = exp2_fast(state.maximum[part][half] - shift);
#pragma unroll
            for (int n = 0; n < BLOCK / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float &x = s[part][n][2 * half + e];
                    x = exp2_fast(x - shift);
                    sum += x;
                }
            state.sum[part][half] = state.sum[part][half] * rescale + sum;
            state.maximum[part][half] = maximum;
            if (warp_any(rescale != 1))
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    out[part][n][2 * half] *= rescale;
                    out[part][n][2 * half + 1] *= rescale;
                }
        }
}

/* A warp's 32 rows against a block: out += softmax weights times values. `d`: distance of its row 0 from key 0. */
template <int D>
__device__ __forceinline__ void take_block(rows &state, float out[PARTS][D / 8][4], const bf16 *q, int row,
                                           const bf16 *k, const bf16 *v, const float *bias, int64_t d, float scale)
{
    float biases[BLOCK / 8 + 2 * PARTS - 1][2], s[PARTS][BLOCK / 8][4] = {};
    load_biases<BLOCK / 8 + 2 * PARTS - 1>(biases, bias, d);
#pragma unroll
    for (int c = 0; c < D; c += 16) {
        uint32_t a[PARTS][4];
#pragma unroll
        for (int part = 0; part < PARTS; part++) load_a<D + PAD>(a[part], q, row + 16 * part, c);
#pragma unroll
        for (int n = 0; n < BLOCK / 8; n += 2) {
            uint32_t b[4];
            load_b_transposed<D + PAD>(b, k, c, 8 * n);
#pragma unroll
            for (int part = 0; part < PARTS; part++) multiply(s[part][n], s[part][n + 1], a[part], b);
        }
    }
    softmax<D>(state, s, out, biases, scale);
#pragma unroll
    for (int n = 0; n < BLOCK / 8; n += 2) {
        uint32_t a[PARTS][4];
#pragma unroll
        for (int part = 0; part < PARTS; part++) to_a(a[part], s[part][n], s[part][n + 1]);
#pragma unroll
        for (int c = 0; c < D / 8; c += 2) {
            uint32_t b[4];
            load_b<D + PAD>(b, v, 8 * n, 8 * c);
#pragma unroll
            for (int part = 0; part < PARTS; part++) multiply(out[part][c], out[part][c + 1], a[part], b);
        }
    }
}

/* Store out and lse of the warp's rows, through its rows of the tile, so that rows are stored 16 bytes at a time. */
template <int D>
__device__ __forceinline__ void store(const mep_cuda_attention_call &call, rows &state, float out[PARTS][D / 8][4],
                                      bf16 *tile, int row, int64_t first, int64_t batch, int64_t head)
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int r = row + 16 * part + 8 * half + lane / 4;
            float sum = row_sum(state.sum[part][half]), factor = 1 / sum;
            if (lane % 4 == 0 && first + r < call.queries)
                call.lse[(batch * call.heads + head) * call.queries + first + r] =
                    (state.maximum[part][half] + log2f(sum)) * LN_2;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(uint32_t *)(tile + r * (D + PAD) + 8 * n + lane % 4 * 2) =
                    pack_bf16(out[part][n][2 * half] * factor, out[part][n][2 * half + 1] * factor);
        }
    __syncwarp();
    bf16 *to = (bf16 *)call.out.data + batch * call.out.batch_stride + head * call.out.head_stride;
    for (int at = lane; at < 16 * PARTS * (D / CHUNK); at += 32) {
        int r = row + at / (D / CHUNK), c = at % (D / CHUNK) * CHUNK;
        if (first + r < call.queries && c < call.head_dim)
            *(uint4 *)(to + (first + r) * call.out.token_stride + c) = *(const uint4 *)(tile + r * (D + PAD) + c);
    }
}

/* grid: tiles of queries, heads, batch. The last tiles have the most keys and begin first. */
template <int D>
__global__ void __launch_bounds__(THREADS) forward(const __grid_constant__ mep_cuda_attention_call call)
{
    enum { TILE = BLOCK * (D + PAD) };
    bf16 *q = shared_memory<bf16>(), *k = q + ROWS * (D + PAD), *v = k + 2 * TILE;
    int head = (int)blockIdx.y, row = (int)threadIdx.x / 32 * 16 * PARTS;
    int64_t batch = blockIdx.z, first = (int64_t)(gridDim.x - 1 - blockIdx.x) * ROWS;
    int64_t position = first + call.keys - call.queries; /* of the tile's row 0 */
    int64_t end = first + ROWS < call.queries ? first + ROWS : call.queries;
    int last = (int)((end - 1 + call.keys - call.queries) / BLOCK);
    const float *bias = bias_of(call, head);
    rows state;
    float out[PARTS][D / 8][4] = {};
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            state.maximum[part][half] = -INFINITY;
            state.sum[part][half] = 0;
        }
    load_tile<D, ROWS, THREADS>(q, call.q, batch, head, first, call.queries, call.head_dim);
    load_tile<D, BLOCK, THREADS>(k, call.k, batch, head, (int64_t)last * BLOCK, call.keys, call.head_dim);
    load_tile<D, BLOCK, THREADS>(v, call.v, batch, head, (int64_t)last * BLOCK, call.keys, call.head_dim);
    copy_async_commit();
    int n = last;
    for (; n >= 0; n--) {
        int stage = (last - n) % 2, needed = 1;
        int64_t key = (int64_t)n * BLOCK;
        if (call.skips && n < last)
            needed = can_matter(state, call.key_norms[(batch * call.heads + head) * call.blocks + n],
                                far_bias_of(call, head, position - key - (BLOCK - 1)), call.margin);
        copy_async_wait<0>();
        if (!__syncthreads_or(needed))
            break; /* this block has been copied, and all threads are done with the one before */
        if (n == last && call.skips) row_norms<D>(state, q, row, (int)(end - first), call.scale);
        if (n > 0) {
            load_tile<D, BLOCK, THREADS>(k + (1 - stage) * TILE, call.k, batch, head, key - BLOCK, call.keys,
                                         call.head_dim);
            load_tile<D, BLOCK, THREADS>(v + (1 - stage) * TILE, call.v, batch, head, key - BLOCK, call.keys,
                                         call.head_dim);
            copy_async_commit();
        }
        if (key <= position + row + 16 * PARTS - 1) /* otherwise all keys are after the warp's queries */
            take_block<D>(state, out, q, row, k + stage * TILE, v + stage * TILE, bias, position + row - key,
                          call.scale);
    }
    copy_async_wait<0>();
    if (threadIdx.x == 0) add_global(call.visited, (unsigned long long)(last - n));
    store<D>(call, state, out, q, row, first, batch, head);
}

template <int D> static mep_status launch(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    dim3 grid((unsigned)((call->queries + ROWS - 1) / ROWS), (unsigned)call->heads, (unsigned)call->batch);
    size_t shared = (size_t)(ROWS + 4 * BLOCK) * (D + PAD) * sizeof(bf16);
    return run(forward<D>, grid, dim3(THREADS), shared, stream, *call);
}

/* The last of the blocks of keys that a tile of queries sees. */
static int64_t last_block(const mep_cuda_attention_call *call, int64_t tile)
{
    int64_t end = (tile + 1) * ROWS < call->queries ? (tile + 1) * ROWS : call->queries;
    return (end - 1 + call->keys - call->queries) / BLOCK;
}

mep_status mep_cuda_attention_forward(const mep_cuda_attention_call *call, cudaStream_t stream, int64_t *blocks)
{
    *blocks = 0;
    for (int64_t tile = 0; tile < (call->queries + ROWS - 1) / ROWS; tile++) *blocks += last_block(call, tile) + 1;
    *blocks *= (int64_t)call->batch * call->heads;
    return call->channels == 64   ? launch<64>(call, stream)
           : call->channels == 96 ? launch<96>(call, stream)
                                  : launch<128>(call, stream);
}
