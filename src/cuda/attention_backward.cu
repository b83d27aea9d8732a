/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, backward: a block of 8 warps processes 128 keys of a head against the tiles of 64 queries that see
 * them, from the nearest to the farthest. Scores are computed transposed, keys by queries, so that a warp owns 16 keys:
 * their dK and dV stay in its registers, and weights and score gradients are operands of the next product without
 * conversion.
 *
 * dQ and the gradient of the bias are sums over key blocks. A block adds its contribution to a tile after the block of
 * the next keys has (`progress`), so sums have a fixed order and the same bits in every run. That block has fewer tiles
 * before this tile, so waiting for it is rare; in the opposite order a block would wait until block 0 has reached its
 * first tile.
 */
#include "cuda/attention_kernels.cuh"

enum {
    WARPS = 8,
    THREADS = 32 * WARPS,
    KEYS = 16 * WARPS,      /* of a block */
    TILE = 64,              /* queries */
    N = TILE / 8,           /* operands of 8 queries */
    DS_STRIDE = TILE + PAD, /* of score gradients in shared memory */
    GROUPS = N + 2,         /* of 8 distances in a warp's 16 x 64 scores */
    DIAGONALS = 8 * GROUPS,
    DISTANCES = KEYS + TILE - 1 /* in a block's scores against a tile */
};

static_assert((int)TILE == (int)BLOCK, "tiles of queries are indexed like blocks");

/* Shared memory of a block. */
template <int D> struct buffers {
    bf16 k[KEYS * (D + PAD)], v[KEYS * (D + PAD)];
    bf16 q[2][TILE * (D + PAD)], dout[2][TILE * (D + PAD)];
    bf16 ds[KEYS * DS_STRIDE]; /* score gradients, keys by queries */
    float lse[2][TILE], delta[2][TILE];
    float diagonal[WARPS][DIAGONALS];
    float carried[2][DISTANCES - TILE]; /* sums by distance that the next tile adds to */
    int number;
};

/* What a block works on: keys from `key`, of which the warp has 16 from `row`. */
typedef struct work {
    int64_t batch, head, pair, key; /* batch * heads + head */
    int block, row;
} work;

/* Start to copy tile t of queries. Where there is no query the log-sum-exp is +inf, so that weights are 0. */
template <int D>
__device__ __forceinline__ void load_queries(const mep_cuda_attention_call &call, buffers<D> &b, const work &at, int t)
{
    int64_t first = (int64_t)t * TILE, row = first + threadIdx.x, of = at.pair * call.queries;
    load_tile<D, TILE, THREADS>(b.q[t % 2], call.q, at.batch, at.head, first, call.queries, call.head_dim);
    load_tile<D, TILE, THREADS>(b.dout[t % 2], call.dout, at.batch, at.head, first, call.queries, call.head_dim);
    copy_async_commit();
    if (threadIdx.x >= TILE) return;
    int is_query = row < call.queries;
    b.lse[t % 2][threadIdx.x] = is_query ? call.lse[of + row] * LOG2_E : INFINITY;
    b.delta[t % 2][threadIdx.x] = is_query ? call.delta[of + row] : 0;
}

/* c[keys x queries] = the warp's 16 rows of `keys` times the rows of `queries`, both [.., channels]. */
template <int D> __device__ __forceinline__ void score(float c[N][4], const bf16 *keys, int row, const bf16 *queries)
{
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t a[4];
        load_a<D + PAD>(a, keys, row, k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            load_b_transposed<D + PAD>(b, queries, k, 8 * n);
            multiply(c[n], c[n + 1], a, b);
        }
    }
}

/* sums[keys x channels] += c[keys x queries] times rows[queries x channels]. */
template <int D>
__device__ __forceinline__ void add_product(float sums[D / 8][4], const float c[N][4], const bf16 *rows)
{
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t a[4];
        to_a(a, c[n], c[n + 1]);
#pragma unroll
        for (int channel = 0; channel < D / 8; channel += 2) {
            uint32_t b[4];
            load_b<D + PAD>(b, rows, 8 * n, 8 * channel);
            multiply(sums[channel], sums[channel + 1], a, b);
        }
    }
}

/* Turn scores into weights. `d`: distance of query 0 of the tile from key 0 of the warp; the score of key r + 8 half
 * and query 8 n + c + e is at distance d + 8 (n - half) + c + e - r. */
__device__ __forceinline__ void weigh(float s[N][4], const float *bias, int64_t d, const float *lse, float scale)
{
    int lane = (int)threadIdx.x % 32, column = lane % 4 * 2;
    const float *at = bias + d + column - lane / 4;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float shift = lse[8 * n + column + e];
            s[n][e] = exp2_fast(fmaf(s[n][e], scale, at[8 * n + e]) - shift);
            s[n][2 + e] = exp2_fast(fmaf(s[n][2 + e], scale, at[8 * n - 8 + e]) - shift);
        }
}

/* Sum a warp's score gradients by distance: diagonal[i] is the sum at distance d + i - 15. Scores at the same distance
 * are first added within a thread, then between threads whose columns differ: the same distance two rows below is one
 * column pair further, and after the last row it is in the group of 8 distances before. */
__device__ __forceinline__ void sum_diagonals(const float ds[N][4], float *diagonal)
{
    int lane = (int)threadIdx.x % 32, row = lane / 4;
    float sums[GROUPS][2];
#pragma unroll
    for (int g = 0; g < GROUPS; g++)
#pragma unroll
        for (int e = 0; e < 2; e++) sums[g][e] = (g > 0 && g <= N ? ds[g - 1][e] : 0) + (g < N ? ds[g][2 + e] : 0);
#pragma unroll
    for (int g = GROUPS - 1; g >= 0; g--) {
        float before = g > 0 ? sums[g - 1][1] : 0;
        sums[g][0] += shuffle(row < 1 ? before : sums[g][1], (lane + 4) % 32);
    }
#pragma unroll
    for (int step = 1; step < 3; step++)
#pragma unroll
        for (int g = GROUPS - 1; g >= 0; g--) {
            float before = g > 0 ? sums[g - 1][0] : 0;
            sums[g][0] += shuffle(row < 2 * step ? before : sums[g][0], (lane + 9 * step) % 32);
        }
    if (lane % 4 == 0)
#pragma unroll
        for (int g = 0; g < GROUPS; g++) diagonal[8 * g + 7 - row] = sums[g][0];
}

/* sums[d] += sum, where distance d exists. */
__device__ __forceinline__ void add_distance(float *sums, int64_t d, int keys, float sum)
{
    if (d >= 0 && d < keys) add_global(sums + d, sum);
}

/* Add the block's contribution to the gradient of a head's bias. `d`: distance of the tile's query 0 from the block's
 * key 0. The TILE smallest distances do not occur again and are added to the sums, so that a block adds to each
 * distance once; the others are carried over to the next tile. */
template <int D> __device__ __forceinline__ void add_diagonals(buffers<D> &b, float *sums, int64_t d, int keys, int t)
{
    int at = (int)threadIdx.x;
    if (at >= DISTANCES) return;
    float sum = at < DISTANCES - TILE ? b.carried[t % 2][at] : 0;
    for (int warp = 0; warp < WARPS; warp++) {
        int i = at - (KEYS - 1) + 16 * warp + 15;
        if (i >= 0 && i < DIAGONALS) sum += b.diagonal[warp][i];
    }
    if (at < TILE)
        add_distance(sums, d - (KEYS - 1) + at, keys, sum);
    else
        b.carried[(t + 1) % 2][at - TILE] = sum;
}

/* Add the block's contribution to the tile's dQ = dS K: a warp computes 16 queries by half of the channels. */
template <int D>
__device__ __forceinline__ void add_dq(const mep_cuda_attention_call &call, const buffers<D> &b, const work &at, int t)
{
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, query = warp % 4 * 16, channel = warp / 4 * (D / 2);
    float sums[D / 16][4] = {};
#pragma unroll
    for (int k = 0; k < KEYS; k += 16) {
        uint32_t a[4];
        load_a_transposed<DS_STRIDE>(a, b.ds, query, k);
#pragma unroll
        for (int n = 0; n < D / 16; n += 2) {
            uint32_t keys[4];
            load_b<D + PAD>(keys, b.k, k, channel + 8 * n);
            multiply(sums[n], sums[n + 1], a, keys);
        }
    }
    float *to =
        call.dq_sums + (at.pair * call.tiles + t) * TILE * D + dq_offset(D, query + lane / 4, channel + lane % 4 * 2);
#pragma unroll
    for (int n = 0; n < D / 16; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) add_global(to + (4 * n + i) * 32, sums[n][i]);
}

/* Store the warp's 16 rows of dK or dV through the tile, whose contents are not needed any more. */
template <int D>
__device__ __forceinline__ void store(const mep_cuda_attention_call &call, const mep_tensor_view &view, const work &at,
                                      const float sums[D / 8][4], float factor, bf16 *tile)
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            *(uint32_t *)(tile + (at.row + 8 * half + lane / 4) * (D + PAD) + 8 * n + lane % 4 * 2) =
                pack_bf16(factor * sums[n][2 * half], factor * sums[n][2 * half + 1]);
    __syncwarp();
    bf16 *to = (bf16 *)view.data + at.batch * view.batch_stride + at.head * view.head_stride;
    for (int i = lane; i < 16 * (D / CHUNK); i += 32) {
        int row = at.row + i / (D / CHUNK), c = i % (D / CHUNK) * CHUNK;
        if (at.key + row < call.keys && c < call.head_dim)
            *(uint4 *)(to + (at.key + row) * view.token_stride + c) = *(const uint4 *)(tile + row * (D + PAD) + c);
    }
}

/* Whether no query of tile t or of those after it can give a key of the block a weight that matters. */
__device__ __forceinline__ int is_far(const mep_cuda_attention_call &call, const work &at, int t, int64_t d)
{
    int64_t of = at.pair * call.tiles + t;
    int last = (int)(at.key / BLOCK) + KEYS / BLOCK - 1;
    float norm = call.key_norms[at.pair * call.blocks + (last < call.blocks ? last : call.blocks - 1)];
    return mep_can_skip(fabsf(call.scale) * call.query_norms[of], norm, -call.low[of],
                        mep_skip_limit(far_bias_of(call, (int)at.head, d - (KEYS - 1)), call.margin));
}

/* The first tile that sees key `key`. */
__device__ __forceinline__ int first_tile(const mep_cuda_attention_call &call, int64_t key)
{
    int64_t offset = call.keys - call.queries;
    return key > offset ? (int)((key - offset) / TILE) : 0;
}

/* Wait, with thread 0, until the block of the next keys has added its contributions to the tiles up to `tile`. `seen`:
 * its progress as last read, which is read again only where that is too small. */
__device__ __forceinline__ void await(const mep_cuda_attention_call &call, const work &at, const int *progress,
                                      int tile, int &seen)
{
    if (threadIdx.x == 0 && at.key + KEYS < call.keys)
        while (seen <= tile) seen = load_acquire(progress + 1);
}

/* The number of this block: blocks are numbered in the order in which they begin, a head's last first, so that the
 * block of the next keys has begun. */
__device__ __forceinline__ work begin(const mep_cuda_attention_call &call, int *number)
{
    if (threadIdx.x == 0) *number = atomic_ticket(call.progress);
    __syncthreads();
    int blocks = (call.keys + KEYS - 1) / KEYS;
    work at;
    at.block = blocks - 1 - *number % blocks;
    at.pair = *number / blocks;
    at.batch = at.pair / call.heads;
    at.head = at.pair % call.heads;
    at.key = (int64_t)at.block * KEYS;
    at.row = (int)threadIdx.x / 32 * 16;
    return at;
}

/* Finish a block's sums: add the distances that it has carried over past its last tile, `t` - 1, then report that it is
 * done, which with LEARNED means that the blocks of later keys are done, too. */
template <int D, bool LEARNED>
__device__ __forceinline__ void finish(const mep_cuda_attention_call &call, buffers<D> &b, const work &at,
                                       int *progress, int t, int &seen)
{
    if (LEARNED) {
        int64_t d = call.keys - call.queries + (int64_t)t * TILE - at.key - (KEYS - 1) + threadIdx.x;
        await(call, at, progress, INT32_MAX - 1, seen);
        __syncthreads();
        if (threadIdx.x < DISTANCES - TILE)
            add_distance(call.bias_sums + at.pair * call.keys, d, call.keys, b.carried[t % 2][threadIdx.x]);
    }
    __syncthreads(); /* all threads have added their contributions */
    if (threadIdx.x == 0) store_release(progress, INT32_MAX);
}

/* grid: key blocks x heads x batch. progress: a ticket, then one number per block. */
template <int D, bool LEARNED>
__global__ void __launch_bounds__(THREADS, 1) backward(const __grid_constant__ mep_cuda_attention_call call)
{
    buffers<D> &b = *shared_memory<buffers<D>>();
    const work at = begin(call, &b.number);
    int *progress = call.progress + 1 + at.pair * ((call.keys + KEYS - 1) / KEYS) + at.block;
    int64_t offset = call.keys - call.queries;
    int t = first_tile(call, at.key), next = first_tile(call, at.key + KEYS), seen = 0;
    const float *bias = bias_of(call, (int)at.head);
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    load_tile<D, KEYS, THREADS>(b.k, call.k, at.batch, at.head, at.key, call.keys, call.head_dim);
    load_tile<D, KEYS, THREADS>(b.v, call.v, at.batch, at.head, at.key, call.keys, call.head_dim);
    load_queries(call, b, at, t);
    if (LEARNED && threadIdx.x < DISTANCES - TILE) b.carried[t % 2][threadIdx.x] = 0;
    for (int first = t; t < call.tiles; t++) {
        int64_t d = offset + (int64_t)t * TILE - at.key;
        if (call.skips && t > first && is_far(call, at, t, d)) break;
        copy_async_wait<0>();
        __syncthreads(); /* the tile has been copied, and all threads have added their contributions to the tile before
                          */
        if (threadIdx.x == 0) store_release(progress, t);
        if (t + 1 < call.tiles) load_queries(call, b, at, t + 1);
        float p[N][4] = {}, ds[N][4] = {};
        score<D>(p, b.k, at.row, b.q[t % 2]);
        weigh(p, bias, d - at.row, b.lse[t % 2], call.scale);
        add_product<D>(dv, p, b.dout[t % 2]);
        score<D>(ds, b.v, at.row, b.dout[t % 2]);
        int lane = (int)threadIdx.x % 32;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float delta = b.delta[t % 2][8 * n + lane % 4 * 2 + e];
                ds[n][e] = p[n][e] * (ds[n][e] - delta);
                ds[n][2 + e] = p[n][2 + e] * (ds[n][2 + e] - delta);
            }
        if (LEARNED) sum_diagonals(ds, b.diagonal[threadIdx.x / 32]);
        add_product<D>(dk, ds, b.q[t % 2]);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                *(uint32_t *)(b.ds + (at.row + 8 * half + lane / 4) * DS_STRIDE + 8 * n + lane % 4 * 2) =
                    pack_bf16(ds[n][2 * half], ds[n][2 * half + 1]);
        if (LEARNED) /* which has the same distances after KEYS / TILE tiles */
            await(call, at, progress, t + KEYS / TILE, seen);
        else if (t >= next)
            await(call, at, progress, t, seen);
        __syncthreads();
        add_dq<D>(call, b, at, t);
        if (LEARNED) add_diagonals(b, call.bias_sums + at.pair * call.keys, d, call.keys, t);
    }
    copy_async_wait<0>();
    finish<D, LEARNED>(call, b, at, progress, t, seen);
    store<D>(call, call.dk, at, dk, call.scale * LN_2, b.k);
    store<D>(call, call.dv, at, dv, 1, b.v);
}

template <int D, bool LEARNED> static mep_status launch(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    int64_t blocks = (int64_t)((call->keys + KEYS - 1) / KEYS) * call->heads * call->batch;
    return run(backward<D, LEARNED>, dim3((unsigned)blocks), dim3(THREADS), sizeof(buffers<D>), stream, *call);
}

template <int D> static mep_status launch_for(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    return call->bias_sums != NULL ? launch<D, true>(call, stream) : launch<D, false>(call, stream);
}

mep_status mep_cuda_attention_backward(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    return call->channels == 64   ? launch_for<64>(call, stream)
           : call->channels == 96 ? launch_for<96>(call, stream)
                                  : launch_for<128>(call, stream);
}
