/* SPDX-License-Identifier: MIT */
/*
 * Fused attention: the small kernels before and after the large ones. They compute the bias in the form that the large
 * kernels read, norms for the skip test, dout.out, and convert the sums of gradients.
 */
#include "cuda/attention_kernels.cuh"

enum { THREADS = 256, SHARERS = THREADS / BLOCK /* threads that share a row */ };

static_assert(SHARERS == 4, "row_sum adds over four threads");

/* Set x[i] to the largest of x[0 .. i], or with `back` of x[i .. count), in one warp. */
__device__ __forceinline__ void running_maximum(float *x, int64_t count, int back)
{
    int lane = (int)threadIdx.x % 32;
    float before = -INFINITY;
    for (int64_t first = 0; first < count; first += 32) {
        int is_there = first + lane < count;
        int64_t at = back ? count - 1 - first - lane : first + lane;
        float most = is_there ? x[at] : -INFINITY;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            float other = shuffle(most, (lane - step) & 31);
            if (lane >= step) most = fmaxf(most, other);
        }
        most = fmaxf(most, before);
        before = shuffle(most, 31);
        if (is_there) x[at] = most;
    }
}

/* grid: rows of `count` values. */
__global__ void __launch_bounds__(32) running_maxima(float *x, int64_t count, int back)
{
    running_maximum(x + blockIdx.x * count, count, back);
}

/* Largest value of the block's threads, in thread 0; `shared` has one float per warp. */
__device__ __forceinline__ float block_maximum(float x, float *shared)
{
    int warp = (int)threadIdx.x / 32;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
    if (threadIdx.x % 32 == 0) shared[warp] = x;
    __syncthreads();
    for (int w = 0; w < THREADS / 32; w++) x = fmaxf(x, shared[w]);
    return x;
}

/* x, or infinity for NaN, which maxima would drop: a block with this bound is never skipped. */
__device__ __forceinline__ float bound(float x)
{
    return x == x ? x : INFINITY;
}

/* Dot product of two rows of head_dim values, in all of the SHARERS threads that share it. */
__device__ __forceinline__ float row_dot(const bf16 *a, const bf16 *b, int head_dim)
{
    float sum = 0;
    for (int c = (int)threadIdx.x % SHARERS * CHUNK; c < head_dim; c += SHARERS * CHUNK) {
        const uint4 x = *(const uint4 *)(a + c), y = *(const uint4 *)(b + c);
        const uint32_t xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
        for (int i = 0; i < 4; i++) sum += bf16_low(xs[i]) * bf16_low(ys[i]) + bf16_high(xs[i]) * bf16_high(ys[i]);
    }
    return row_sum(sum);
}

__device__ __forceinline__ const bf16 *row_of(const mep_tensor_view &view, int64_t batch, int64_t head, int64_t row)
{
    return (const bf16 *)view.data + batch * view.batch_stride + head * view.head_stride + row * view.token_stride;
}

/* bias[h][FRONT + d] = table[h][d] / ln 2, -inf before distance 0 and the last value after the last; far_bias[h][i] =
 * the largest at distances >= BLOCK i. grid: heads. */
__global__ void __launch_bounds__(THREADS)
    prepare_bias(const __grid_constant__ mep_cuda_attention_call call, const float *table, int64_t row, int64_t length)
{
    int64_t head = blockIdx.x, entries = (length + BLOCK - 1) / BLOCK;
    float *out = call.bias + head * call.bias_stride, *most = call.far_bias + head * call.far_stride;
    for (int64_t i = threadIdx.x; i < call.bias_stride; i += THREADS) {
        int64_t d = i - FRONT < length ? i - FRONT : length - 1;
        out[i] = d < 0 ? -INFINITY : table != NULL ? table[head * row + d] * LOG2_E : 0;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < entries; i += THREADS) {
        float largest = -INFINITY;
        for (int64_t d = BLOCK * i; d < BLOCK * (i + 1) && d < length; d++) largest = fmaxf(largest, out[FRONT + d]);
        most[i] = largest;
    }
    __syncthreads();
    if (threadIdx.x < 32) running_maximum(most, entries, 1);
}

/* norms[pair][block] = largest |k| of the block's keys. grid: blocks, heads, batch. */
__global__ void __launch_bounds__(THREADS) prepare_keys(const __grid_constant__ mep_cuda_attention_call call)
{
    int64_t head = blockIdx.y, batch = blockIdx.z, key = (int64_t)blockIdx.x * BLOCK + threadIdx.x / SHARERS;
    const bf16 *k = row_of(call.k, batch, head, key < call.keys ? key : call.keys - 1);
    float most = block_maximum(bound(sqrtf(row_dot(k, k, call.head_dim))), shared_memory<float>());
    if (threadIdx.x == 0) call.key_norms[(batch * call.heads + head) * call.blocks + blockIdx.x] = most;
}

/* delta = dout.out of every query; largest |q| and -lse of each tile. grid: tiles, heads, batch. */
__global__ void __launch_bounds__(THREADS) prepare_queries(const __grid_constant__ mep_cuda_attention_call call)
{
    int64_t head = blockIdx.y, batch = blockIdx.z, pair = batch * call.heads + head;
    int64_t query = (int64_t)blockIdx.x * BLOCK + threadIdx.x / SHARERS;
    int is_query = query < call.queries;
    if (!is_query) query = call.queries - 1;
    const bf16 *q = row_of(call.q, batch, head, query);
    float delta = row_dot(row_of(call.dout, batch, head, query), row_of(call.out, batch, head, query), call.head_dim);
    float norm = sqrtf(row_dot(q, q, call.head_dim)), low = -LOG2_E * call.lse[pair * call.queries + query];
    float *shared = shared_memory<float>();
    norm = block_maximum(bound(norm), shared);
    low = block_maximum(bound(low), shared + THREADS / 32);
    if (is_query && threadIdx.x % SHARERS == 0) call.delta[pair * call.queries + query] = delta;
    if (threadIdx.x > 0) return;
    call.query_norms[pair * call.tiles + blockIdx.x] = norm;
    call.low[pair * call.tiles + blockIdx.x] = low;
}

/* dq = scale times its sums, in bfloat16. grid: groups of queries, heads, batch. */
__global__ void __launch_bounds__(THREADS) finish_dq(const __grid_constant__ mep_cuda_attention_call call)
{
    int64_t head = blockIdx.y, batch = blockIdx.z, query = (int64_t)blockIdx.x * BLOCK + threadIdx.x / SHARERS;
    if (query >= call.queries) return;
    const float *sums = call.dq_sums + ((batch * call.heads + head) * call.tiles + blockIdx.x) * BLOCK * call.channels;
    bf16 *dq =
        (bf16 *)call.dq.data + batch * call.dq.batch_stride + head * call.dq.head_stride + query * call.dq.token_stride;
    float scale = call.scale * LN_2;
    for (int c = (int)threadIdx.x % SHARERS * CHUNK; c < call.head_dim; c += SHARERS * CHUNK) {
        const float *even = sums + dq_offset(call.channels, (int)threadIdx.x / SHARERS, c), *odd = even + 32;
        uint32_t pairs[4];
#pragma unroll
        for (int i = 0; i < 4; i++) pairs[i] = pack_bf16(scale * even[i], scale * odd[i]);
        *(uint4 *)(dq + c) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
}

/* dbias[h][d] += sums over the batch. grid: groups of distances, heads. */
__global__ void __launch_bounds__(THREADS) finish_bias(const __grid_constant__ mep_cuda_attention_call call)
{
    int64_t head = blockIdx.y, d = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (d >= call.keys) return;
    double sum = call.dbias[head * call.keys + d];
    for (int64_t b = 0; b < call.batch; b++) sum += (double)call.bias_sums[(b * call.heads + head) * call.keys + d];
    call.dbias[head * call.keys + d] = sum;
}

static dim3 grid(int64_t x, const mep_cuda_attention_call *call)
{
    return dim3((unsigned)x, (unsigned)call->heads, (unsigned)call->batch);
}

mep_status mep_cuda_attention_prepare_bias(const mep_cuda_attention_call *call, const float *table, int64_t row,
                                           int64_t length, cudaStream_t stream)
{
    return run(prepare_bias, dim3((unsigned)call->heads), dim3(THREADS), 0, stream, *call, table, row, length);
}

mep_status mep_cuda_attention_prepare_keys(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    MEP_TRY(run(prepare_keys, grid(call->blocks, call), dim3(THREADS), THREADS / 32 * sizeof(float), stream, *call));
    return run(running_maxima, dim3((unsigned)call->batch * (unsigned)call->heads), dim3(32), 0, stream,
               call->key_norms, (int64_t)call->blocks, 0);
}

mep_status mep_cuda_attention_prepare_queries(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    dim3 pairs((unsigned)call->batch * (unsigned)call->heads);
    MEP_TRY(
        run(prepare_queries, grid(call->tiles, call), dim3(THREADS), 2 * THREADS / 32 * sizeof(float), stream, *call));
    MEP_TRY(run(running_maxima, pairs, dim3(32), 0, stream, call->query_norms, (int64_t)call->tiles, 1));
    return run(running_maxima, pairs, dim3(32), 0, stream, call->low, (int64_t)call->tiles, 1);
}

mep_status mep_cuda_attention_finish(const mep_cuda_attention_call *call, cudaStream_t stream)
{
    MEP_TRY(run(finish_dq, grid(call->tiles, call), dim3(THREADS), 0, stream, *call));
    if (call->bias_sums == NULL) return MEP_OK;
    return run(finish_bias, dim3((unsigned)((call->keys + THREADS - 1) / THREADS), (unsigned)call->heads),
               dim3(THREADS), 0, stream, *call);
}
