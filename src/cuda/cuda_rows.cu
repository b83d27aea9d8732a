/* SPDX-License-Identifier: MIT */
/*
 * The kernels of cuda_rows.h. Memory limits their speed: a thread processes four neighboring values at a time, and
 * values that are needed twice stay in registers. The arithmetic is that of nn/rows_body.h. Sums have a fixed order: a
 * row is processed by a block whose size depends on the width alone; sums over rows are made of chunks of rows, then of
 * the chunks, by the same kernel.
 */
#include "cuda/cuda_rows.h"

#include <float.h>
#include <math.h>

#include "cuda/warp.cuh"

/* ---- Four values ---- */

template <class T> struct alignas(4 * sizeof(T)) four {
    T v[4];
};

/* Whether a row of n values from x[begin] can be read and written four values at a time. */
template <class T> __device__ __forceinline__ bool in_fours(const T *x, int64_t begin, int n)
{
    return ((uintptr_t)(x + begin) % sizeof(four<T>) | n % 4) == 0;
}

/* Values i .. i + 3 of the row, i a multiple of 4; zeros from n. */
template <class T> __device__ __forceinline__ four<T> load_four(const T *x, int64_t begin, int i, int n)
{
    four<T> out = {};
    if (in_fours(x, begin, n)) {
        if (i < n) out = *(const four<T> *)(x + begin + i);
        return out;
    }
    for (int j = 0; j < 4; j++)
        if (i + j < n) out.v[j] = x[begin + i + j];
    return out;
}

template <class T> __device__ __forceinline__ void store_four(T *y, int64_t begin, int i, int n, four<T> values)
{
    if (in_fours(y, begin, n)) {
        if (i < n) *(four<T> *)(y + begin + i) = values;
        return;
    }
    for (int j = 0; j < 4; j++)
        if (i + j < n) y[begin + i + j] = values.v[j];
}

__device__ __forceinline__ four<float> load(const float *x, int64_t begin, int i, int n)
{
    return load_four(x, begin, i, n);
}

__device__ __forceinline__ four<float> load(mep_activation x, int64_t begin, int i, int n)
{
    if (x.dtype == MEP_FLOAT32) return load((const float *)x.data, begin, i, n);
    four<mep_bf16> bits = load_four((const mep_bf16 *)x.data, begin, i, n);
    four<float> out;
    for (int j = 0; j < 4; j++) out.v[j] = bf16_low(bits.v[j]);
    return out;
}

__device__ __forceinline__ void store(float *y, int64_t begin, int i, int n, four<float> values)
{
    store_four(y, begin, i, n, values);
}

__device__ __forceinline__ void store(mep_activation y, int64_t begin, int i, int n, four<float> values)
{
    if (y.dtype == MEP_FLOAT32) {
        store((float *)y.data, begin, i, n, values);
        return;
    }
    four<mep_bf16> bits;
    for (int j = 0; j < 4; j += 2) {
        uint32_t pair = pack_bf16(values.v[j], values.v[j + 1]);
        bits.v[j] = (mep_bf16)pair;
        bits.v[j + 1] = (mep_bf16)(pair >> 16);
    }
    store_four((mep_bf16 *)y.data, begin, i, n, bits);
}

/* ---- Blocks ---- */

/* Combine all threads' values, in the same order in every block of this size; every thread gets the result. Shared
 * memory: 32 values. */
template <class T, class Combine> __device__ T block_reduce(T value, T none, Combine combine)
{
    T *part = shared_memory<T>();
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int mask = 16; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
    __syncthreads(); /* other threads may still read the result of the reduction before */
    if (lane == 0) part[warp] = value;
    __syncthreads();
    value = lane < blockDim.x / 32 ? part[lane] : none;
    for (int mask = 16; mask > 0; mask /= 2) value = combine(value, shuffle_xor(value, mask));
    return value;
}

template <class T> __device__ T block_sum(T value)
{
    return block_reduce(value, (T)0, [](T a, T b) { return a + b; });
}

__device__ float block_highest(float value)
{
    return block_reduce(value, -FLT_MAX, [](float a, float b) { return fmaxf(a, b); });
}

static const size_t REDUCE_BYTES = 32 * sizeof(double);

static int64_t ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Threads per block for a row of n values of which each thread processes `each` at a time: complete warps, at most
 * `most` threads. */
static unsigned row_threads(int64_t n, int64_t each, int64_t most)
{
    int64_t threads = ceil_divide(n, 32 * each) * 32;
    return (unsigned)(threads < most ? threads : most);
}

template <class... P, class... A>
static void launch(void (*kernel)(P...), int64_t blocks, int64_t blocks_y, unsigned threads, size_t shared_bytes,
                   void *stream, A... args)
{
    if (blocks == 0 || blocks_y == 0) return;
    mep_launch(kernel, dim3((unsigned)blocks, (unsigned)blocks_y), dim3(threads), shared_bytes, (cudaStream_t)stream,
               args...);
}

/* ---- Layer norm ---- */

/* A row is in its block's registers, ROW_FOURS fours per thread: 1024 threads hold MEP_MAX_WIDTH values. */
enum { ROW_FOURS = 4 };

__device__ __forceinline__ int column_of(int k)
{
    return 4 * (k * blockDim.x + threadIdx.x);
}

static __global__ void __launch_bounds__(1024)
    layer_norm_forward(int width, const float *x, const float *weight, const float *bias, float eps, mep_activation y,
                       float *mean, float *rstd)
{
    int64_t begin = (int64_t)blockIdx.x * width;
    four<float> row[ROW_FOURS];
    float sum = 0, squares = 0;
    for (int k = 0; k < ROW_FOURS; k++) row[k] = load(x, begin, column_of(k), width);
    for (int k = 0; k < ROW_FOURS; k++)
        for (int j = 0; j < 4; j++) sum += row[k].v[j];
    float center = block_sum(sum) / (float)width;
    for (int k = 0; k < ROW_FOURS; k++)
        for (int j = 0; j < 4; j++) {
            row[k].v[j] -= center;
            if (column_of(k) + j < width) squares += row[k].v[j] * row[k].v[j];
        }
    float scale = 1 / sqrtf(block_sum(squares) / (float)width + eps);
    for (int k = 0; k < ROW_FOURS; k++) {
        four<float> w = load(weight, 0, column_of(k), width), shift = {};
        if (bias != NULL) shift = load(bias, 0, column_of(k), width);
        for (int j = 0; j < 4; j++) row[k].v[j] = row[k].v[j] * scale * w.v[j] + shift.v[j];
        store(y, begin, column_of(k), width, row[k]);
    }
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = center;
        rstd[blockIdx.x] = scale;
    }
}

/* y = xhat weight + bias, xhat = (x - mean) rstd; with g = dy weight: dx += rstd (g - mean(g) - xhat mean(g xhat)). */
static __global__ void __launch_bounds__(1024)
    layer_norm_backward(int width, const float *x, const float *weight, const float *mean, const float *rstd,
                        mep_activation dy, float *dx)
{
    int64_t begin = (int64_t)blockIdx.x * width;
    float center = mean[blockIdx.x], scale = rstd[blockIdx.x], sum_g = 0, sum_gx = 0;
    four<float> g[ROW_FOURS], xhat[ROW_FOURS];
    for (int k = 0; k < ROW_FOURS; k++) {
        xhat[k] = load(x, begin, column_of(k), width);
        g[k] = load(dy, begin, column_of(k), width);
    }
    for (int k = 0; k < ROW_FOURS; k++) {
        four<float> w = load(weight, 0, column_of(k), width);
        for (int j = 0; j < 4; j++) {
            xhat[k].v[j] = (xhat[k].v[j] - center) * scale;
            g[k].v[j] *= w.v[j];
            sum_g += g[k].v[j];
            sum_gx += g[k].v[j] * xhat[k].v[j];
        }
    }
    float mean_g = block_sum(sum_g) / (float)width, mean_gx = block_sum(sum_gx) / (float)width;
    for (int k = 0; k < ROW_FOURS; k++) {
        four<float> d = load(dx, begin, column_of(k), width);
        for (int j = 0; j < 4; j++) d.v[j] += scale * (g[k].v[j] - mean_g - xhat[k].v[j] * mean_gx);
        store(dx, begin, column_of(k), width, d);
    }
}

/* ---- Sums over rows ---- */

/* A block sums SUM_COLUMNS columns, four per lane, every eighth row per warp. */
enum { SUM_WARPS = 8, SUM_COLUMNS = 128, SUM_THREADS = 32 * SUM_WARPS };
static const int64_t CHUNK_ROWS = 64, SUM_CHUNKS = 128;

static size_t sum_bytes(int sums)
{
    return (size_t)sums * SUM_WARPS * SUM_COLUMNS * sizeof(float);
}

/*
 * Sum the block's columns, from SUM_COLUMNS blockIdx.y, of N sums over rows begin .. end - 1: read(row, column, values)
 * stores four columns of each of the N summands into values[N]; write(n, column, sum) receives the results.
 */
template <int N, class Read, class Write>
__device__ __forceinline__ void sum_rows(int64_t begin, int64_t end, int width, Read read, Write write)
{
    float *part = shared_memory<float>(); /* [warp][N][column] */
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = blockIdx.y * SUM_COLUMNS;
    four<float> sum[N] = {}, values[N];
    for (int64_t row = begin + warp; row < end; row += SUM_WARPS) {
        read(row, first + 4 * lane, values);
        for (int n = 0; n < N; n++)
            for (int j = 0; j < 4; j++) sum[n].v[j] += values[n].v[j];
    }
    __syncthreads(); /* other threads may still read the result of the sum before */
    for (int n = 0; n < N; n++) *(four<float> *)(part + (warp * N + n) * SUM_COLUMNS + 4 * lane) = sum[n];
    __syncthreads();
    int n = threadIdx.x / SUM_COLUMNS, column = threadIdx.x % SUM_COLUMNS;
    if (n >= N || first + column >= width) return;
    float total = 0;
    for (int w = 0; w < SUM_WARPS; w++) total += part[(w * N + n) * SUM_COLUMNS + column];
    write(n, first + column, total);
}

/* out[chunk, c] = or += the sum of x[r, c] over `chunk` rows; one chunk per block. */
static __global__ void __launch_bounds__(SUM_THREADS)
    column_sums(int64_t rows, int64_t chunk, int width, mep_activation x, float *out, int add)
{
    int64_t begin = blockIdx.x * chunk, end = begin + chunk < rows ? begin + chunk : rows;
    sum_rows<1>(
        begin, end, width, [=](int64_t row, int column, four<float> *v) { v[0] = load(x, row * width, column, width); },
        [=](int, int column, float sum) {
            float *to = out + (int64_t)blockIdx.x * width + column;
            *to = add ? *to + sum : sum;
        });
}

/* For each chunk of rows: out[0, chunk, :] = sums of dy xhat, out[1, chunk, :] = sums of dy. */
static __global__ void __launch_bounds__(SUM_THREADS)
    layer_norm_sums(int64_t rows, int64_t chunk, int width, const float *x, const float *mean, const float *rstd,
                    mep_activation dy, float *out)
{
    int64_t begin = blockIdx.x * chunk, end = begin + chunk < rows ? begin + chunk : rows;
    sum_rows<2>(
        begin, end, width,
        [=](int64_t row, int column, four<float> *v) {
            v[0] = load(x, row * width, column, width);
            v[1] = load(dy, row * width, column, width);
            for (int j = 0; j < 4; j++) v[0].v[j] = v[1].v[j] * ((v[0].v[j] - mean[row]) * rstd[row]);
        },
        [=](int n, int column, float sum) { out[(int64_t)(n * gridDim.x + blockIdx.x) * width + column] = sum; });
}

/* Rows per chunk: CHUNK_ROWS, or more where there would be more than SUM_CHUNKS chunks. */
static int64_t chunk_rows(int64_t rows)
{
    int64_t chunk = ceil_divide(rows, SUM_CHUNKS);
    return chunk > CHUNK_ROWS ? chunk : CHUNK_ROWS;
}

int64_t mep_cuda_rows_scratch(int64_t rows, int64_t width)
{
    int64_t chunks = ceil_divide(rows, CHUNK_ROWS);
    return 2 * (chunks < SUM_CHUNKS ? chunks : SUM_CHUNKS) * width;
}

/* sum[c] += the sum of all chunks. */
static void add_chunks(int64_t chunks, int64_t width, const float *scratch, float *sum, void *stream)
{
    launch(column_sums, 1, ceil_divide(width, SUM_COLUMNS), SUM_THREADS, sum_bytes(1), stream, chunks, chunks, width,
           mep_activation{(void *)scratch, MEP_FLOAT32}, sum, 1);
}

void mep_cuda_column_sum(int64_t rows, int64_t width, mep_activation x, float *sum, float *scratch, void *stream)
{
    int64_t chunk = chunk_rows(rows), chunks = ceil_divide(rows, chunk);
    launch(column_sums, chunks, ceil_divide(width, SUM_COLUMNS), SUM_THREADS, sum_bytes(1), stream, rows, chunk, width,
           x, scratch, 0);
    add_chunks(chunks, width, scratch, sum, stream);
}

void mep_cuda_layer_norm_forward(const mep_layer_norm *c, mep_activation y, void *stream)
{
    launch(layer_norm_forward, c->rows, 1, row_threads(c->width, 4 * ROW_FOURS, 1024), REDUCE_BYTES, stream, c->width,
           c->x, c->weight, c->bias, c->eps, y, c->mean, c->rstd);
}

void mep_cuda_layer_norm_backward(const mep_layer_norm *c, const mep_layer_norm_gradient *g, float *scratch,
                                  void *stream)
{
    int64_t chunk = chunk_rows(c->rows), chunks = ceil_divide(c->rows, chunk);
    const float *mean = c->mean, *rstd = c->rstd;
    launch(layer_norm_sums, chunks, ceil_divide(c->width, SUM_COLUMNS), SUM_THREADS, sum_bytes(2), stream, c->rows,
           chunk, c->width, c->x, mean, rstd, g->dy, scratch);
    add_chunks(chunks, c->width, scratch, g->dweight, stream);
    if (g->dbias != NULL) add_chunks(chunks, c->width, scratch + chunks * c->width, g->dbias, stream);
    launch(layer_norm_backward, c->rows, 1, row_threads(c->width, 4 * ROW_FOURS, 1024), REDUCE_BYTES, stream, c->width,
           c->x, c->weight, mean, rstd, g->dy, g->dx);
}

/* ---- Embedding ---- */

static __global__ void embedding_forward(int64_t length, int width, const int32_t *tokens, const float *table,
                                         const float *position, float *x)
{
    int64_t t = blockIdx.x;
    int64_t row = (int64_t)tokens[t] * width, offset = t % length * width;
    for (int i = 4 * threadIdx.x; i < width; i += 4 * blockDim.x) {
        four<float> v = load(table, row, i, width);
        if (position != NULL) {
            four<float> p = load(position, offset, i, width);
            for (int j = 0; j < 4; j++) v.v[j] += p.v[j];
        }
        store(x, t * width, i, width, v);
    }
}

void mep_cuda_embedding_forward(const mep_embedding *e, const float *table, const float *position, float *x,
                                void *stream)
{
    launch(embedding_forward, e->count, 1, row_threads(e->width, 4, 256), 0, stream, e->length, e->width, e->tokens,
           table, position, x);
}

/* Stable radix sort of the indices 0 .. count - 1 by token, one byte per pass; after four passes the result is in the
 * first array. */
void mep_cuda_token_runs(int64_t count, const int32_t *tokens, int32_t *runs)
{
    int32_t *from = runs + 1, *to = from + count, *order = from, *begin = to, different = 0;
    for (int64_t i = 0; i < count; i++) from[i] = (int32_t)i;
    for (int shift = 0; shift < 32; shift += 8) {
        int64_t offset[257] = {0};
        for (int64_t i = 0; i < count; i++) offset[((uint32_t)tokens[i] >> shift & 255) + 1]++;
        for (int byte = 0; byte < 256; byte++) offset[byte + 1] += offset[byte];
        for (int64_t i = 0; i < count; i++) to[offset[(uint32_t)tokens[from[i]] >> shift & 255]++] = from[i];
        int32_t *sorted = to;
        to = from;
        from = sorted;
    }
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || tokens[order[i]] != tokens[order[i - 1]]) begin[different++] = (int32_t)i;
    begin[different] = (int32_t)count;
    runs[0] = different;
}

/* dtable[token] += the sum of dx over the token's indices. */
static __global__ void __launch_bounds__(SUM_THREADS)
    token_sums(int64_t count, int width, const int32_t *tokens, const int32_t *runs, const float *dx, float *dtable)
{
    const int32_t *order = runs + 1, *begin = order + count;
    for (int64_t run = blockIdx.x; run < runs[0]; run += gridDim.x) {
        float *row = dtable + (int64_t)tokens[order[begin[run]]] * width;
        sum_rows<1>(
            begin[run], begin[run + 1], width,
            [=](int64_t i, int column, four<float> *v) { v[0] = load(dx, (int64_t)order[i] * width, column, width); },
            [=](int, int column, float sum) { row[column] += sum; });
    }
}

/* dposition[p] += the sum of dx over rows p, p + length ... */
static __global__ void __launch_bounds__(SUM_THREADS)
    position_sums(int64_t count, int64_t length, int width, const float *dx, float *dposition)
{
    int64_t p = blockIdx.x;
    sum_rows<1>(
        0, (count - p + length - 1) / length, width,
        [=](int64_t i, int column, four<float> *v) { v[0] = load(dx, (p + i * length) * width, column, width); },
        [=](int, int column, float sum) { dposition[p * width + column] += sum; });
}

void mep_cuda_embedding_backward(const mep_embedding *e, const int32_t *runs, const float *dx, float *dtable,
                                 float *dposition, void *stream)
{
    int64_t slabs = ceil_divide(e->width, SUM_COLUMNS);
    launch(token_sums, e->count < 1024 ? e->count : 1024, slabs, SUM_THREADS, sum_bytes(1), stream, e->count, e->width,
           e->tokens, runs, dx, dtable);
    if (dposition != NULL)
        launch(position_sums, e->count < e->length ? e->count : e->length, slabs, SUM_THREADS, sum_bytes(1), stream,
               e->count, e->length, e->width, dx, dposition);
}

/* ---- Cross entropy ---- */

/* One row per block, read twice: for the highest logit and the sum of exponentials together (arXiv:1805.02867), and for
 * the gradient. n values are accessed: the vocabulary and padding, where the gradient is 0. */
static __global__ void __launch_bounds__(1024)
    cross_entropy(int vocab, int n, int64_t stride, const float *logits, const int32_t *targets, float scale,
                  mep_activation gradient, float *losses)
{
    int64_t begin = blockIdx.x * stride;
    int target = targets[blockIdx.x];
    if (target < 0) scale = 0; /* no loss, no gradient */
    float logit = target >= 0 ? logits[begin + target] : 0, highest = -FLT_MAX, sum = 0;
    for (int i = 4 * threadIdx.x; i < n; i += 4 * blockDim.x) {
        four<float> x = load(logits, begin, i, n);
        float before = highest;
        for (int j = 0; j < 4; j++) {
            if (i + j >= vocab) x.v[j] = -INFINITY;
            highest = fmaxf(highest, x.v[j]);
        }
        sum *= expf(before - highest);
        for (int j = 0; j < 4; j++) sum += expf(x.v[j] - highest);
    }
    float top = block_highest(highest);
    sum = block_sum(sum * expf(highest - top));
    if (threadIdx.x == 0) losses[blockIdx.x] = target >= 0 ? logf(sum) + (top - logit) : 0;
    if (gradient.data == NULL) return;
    float factor = scale / sum;
    for (int i = 4 * threadIdx.x; i < n; i += 4 * blockDim.x) {
        four<float> x = load(logits, begin, i, n);
        for (int j = 0; j < 4; j++)
            x.v[j] = i + j < vocab ? expf(x.v[j] - top) * factor - (i + j == target ? scale : 0) : 0;
        store(gradient, begin, i, n, x);
    }
}

void mep_cuda_cross_entropy(const mep_cross_entropy_call *c, int64_t stride, void *stream)
{
    int64_t n = ceil_divide(c->vocab, 4) * 4 <= stride ? ceil_divide(c->vocab, 4) * 4 : c->vocab;
    const float *logits = c->logits;
    launch(cross_entropy, c->rows, 1, row_threads(n, 4, 1024), REDUCE_BYTES, stream, c->vocab, n, stride, logits,
           c->targets, c->scale, c->gradient, c->losses);
}

/* ---- Rotary ---- */

static __global__ void rotate(int64_t length, int64_t first, int heads, int half, const float *cosine,
                              const float *sine, float sign, mep_activation x, int64_t row_stride, int64_t head_stride)
{
    int64_t row = blockIdx.x, angle = (first + row % length) * half;
    int fours = (half + 3) / 4;
    for (int k = threadIdx.x; k < heads * fours; k += blockDim.x) {
        int64_t low = row * row_stride + k / fours * head_stride, high = low + half;
        int i = k % fours * 4;
        four<float> a = load(x, low, i, half), b = load(x, high, i, half), left, right;
        four<float> c = load(cosine, angle, i, half), s = load(sine, angle, i, half);
        for (int j = 0; j < 4; j++) {
            left.v[j] = a.v[j] * c.v[j] - b.v[j] * (sign * s.v[j]);
            right.v[j] = b.v[j] * c.v[j] + a.v[j] * (sign * s.v[j]);
        }
        store(x, low, i, half, left);
        store(x, high, i, half, right);
    }
}

void mep_cuda_rotary_apply(const mep_rotary *c, void *stream)
{
    int64_t half = c->dims / 2;
    launch(rotate, c->rows, 1, row_threads(c->heads * ceil_divide(half, 4), 1, 256), 0, stream, c->length, c->first,
           (int)c->heads, (int)half, c->cosine, c->sine, c->inverse ? -1.0f : 1.0f, c->x, c->row_stride,
           c->head_stride);
}

/* ---- Operations on single values ---- */

__device__ __forceinline__ float within_10(float x)
{
    return x < -10 ? -10 : x > 10 ? 10 : x; /* NaN stays NaN */
}

/* With u = sqrt(2/pi) (x + a x^3): (1 + tanh u) / 2 = 1 / (1 + exp(-2u)). */
__device__ __forceinline__ float gelu_tanh_exp(float x)
{
    return expf(-1.5957691216f * x * (1 + 0.044715f * x * x));
}

__device__ __forceinline__ float gelu(float x, bool by_tanh)
{
    return by_tanh ? x / (1 + gelu_tanh_exp(within_10(x))) : 0.5f * x * (1 + erff(x * 0.70710678f));
}

/* y = x Phi(x): dy/dx = Phi(x) + x phi(x). By tanh y = x s, s = 1 / (1 + e): dy/dx = s + x s (1 - s) 2 du/dx. */
__device__ __forceinline__ float gelu_slope(float x, bool by_tanh)
{
    if (!by_tanh) return 0.5f * (1 + erff(x * 0.70710678f)) + x * (0.39894228f * expf(-0.5f * x * x));
    float v = within_10(x), e = gelu_tanh_exp(v), s = 1 / (1 + e);
    return s + v * (1.5957691216f * (1 + 3 * 0.044715f * v * v)) * (e * s * s);
}

/* The epilogue of a product: bias, residual, slope and activation, as far as they are still in `g`. */
static __global__ void gemm_finish(mep_gemm g)
{
    int64_t begin = blockIdx.x * g.c.stride;
    int i = 4 * (blockIdx.y * blockDim.x + threadIdx.x), n = (int)g.n;
    mep_activation c = {g.c.data, g.c.dtype}, input = {(void *)g.slope_input, g.c.dtype},
                   out = {g.activated, g.c.dtype};
    if (i >= n) return;
    four<float> x = load(c, begin, i, n), other;
    if (g.bias != NULL) {
        other = load(g.bias, 0, i, n);
        for (int j = 0; j < 4; j++) x.v[j] += other.v[j];
    }
    if (g.residual != NULL) {
        other = load(g.residual, begin, i, n);
        for (int j = 0; j < 4; j++) x.v[j] += other.v[j];
    }
    if (g.slope_input != NULL) {
        other = load(input, begin, i, n);
        for (int j = 0; j < 4; j++) x.v[j] *= gelu_slope(other.v[j], g.epilogue == MEP_EPILOGUE_GELU_TANH);
    }
    bool changed = g.bias != NULL || g.residual != NULL || g.slope_input != NULL;
    if (changed && g.activated != g.c.data) store(c, begin, i, n, x);
    if (g.activated == NULL) return;
    for (int j = 0; j < 4; j++) x.v[j] = gelu(x.v[j], g.epilogue == MEP_EPILOGUE_GELU_TANH);
    store(out, begin, i, n, x);
}

void mep_cuda_gemm_finish(const mep_gemm *gemm, void *stream)
{
    unsigned threads = row_threads(gemm->n, 4, 256);
    launch(gemm_finish, gemm->m, ceil_divide(gemm->n, 4 * threads), threads, 0, stream, *gemm);
}

enum { THREADS = 256, BLOCK_VALUES = 4 * THREADS };

/* First value of part `part` of the block's n values. */
__device__ __forceinline__ int64_t part_begin(int64_t part)
{
    return part * BLOCK_VALUES;
}

__device__ __forceinline__ int part_size(int64_t part, int64_t n)
{
    return n - part_begin(part) < BLOCK_VALUES ? (int)(n - part_begin(part)) : BLOCK_VALUES;
}

static __global__ void convert(int64_t n, mep_activation from, mep_activation to)
{
    int64_t begin = part_begin(blockIdx.x);
    int i = 4 * threadIdx.x, size = part_size(blockIdx.x, n);
    store(to, begin, i, size, load(from, begin, i, size));
}

static __global__ void add(int64_t n, const float *x, float *y)
{
    int64_t begin = part_begin(blockIdx.x);
    int i = 4 * threadIdx.x, size = part_size(blockIdx.x, n);
    four<float> a = load(x, begin, i, size), b = load(y, begin, i, size);
    for (int j = 0; j < 4; j++) b.v[j] += a.v[j];
    store(y, begin, i, size, b);
}

void mep_cuda_clear(int64_t n, float *x, void *stream)
{
    cudaMemsetAsync(x, 0, (size_t)n * sizeof *x, (cudaStream_t)stream);
}

void mep_cuda_convert(int64_t n, mep_activation from, mep_activation to, void *stream)
{
    launch(convert, ceil_divide(n, BLOCK_VALUES), 1, THREADS, 0, stream, n, from, to);
}

void mep_cuda_add(int64_t n, const float *x, float *y, void *stream)
{
    launch(add, ceil_divide(n, BLOCK_VALUES), 1, THREADS, 0, stream, n, x, y);
}

/* ---- The optimizer ---- */

enum { CHUNK_PARTS = MEP_CHUNK / BLOCK_VALUES };

/* squares[block] = the sum of squares of the block's chunk of x. */
static __global__ void __launch_bounds__(THREADS) chunk_squares(int64_t n, const float *x, double *squares)
{
    double sum = 0;
    for (int k = 0; k < CHUNK_PARTS; k++) {
        int64_t part = (int64_t)blockIdx.x * CHUNK_PARTS + k;
        four<float> v = load(x, part_begin(part), 4 * threadIdx.x, part_size(part, n));
        for (int j = 0; j < 4; j++) sum += (double)v.v[j] * (double)v.v[j];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

void mep_cuda_squares(int64_t n, const float *x, double *squares, void *stream)
{
    launch(chunk_squares, ceil_divide(n, MEP_CHUNK), 1, THREADS, REDUCE_BYTES, stream, n, x, squares);
}

static __global__ void adamw(int64_t n, const mep_adamw_step s, float *p, const float *gradient, float *m, float *v)
{
    float rate = s.learning_rate / s.correction1, root = 1 / sqrtf(s.correction2);
    float keep = 1 - s.learning_rate * s.weight_decay;
    int64_t begin = part_begin(blockIdx.x);
    int i = 4 * threadIdx.x, size = part_size(blockIdx.x, n);
    four<float> value = load(p, begin, i, size), g = load(gradient, begin, i, size);
    four<float> first = load(m, begin, i, size), second = load(v, begin, i, size);
    for (int j = 0; j < 4; j++) {
        float d = g.v[j] * s.gradient_scale;
        first.v[j] = s.beta1 * first.v[j] + s.rest1 * d;
        second.v[j] = s.beta2 * second.v[j] + s.rest2 * d * d;
        value.v[j] = value.v[j] * keep - rate * first.v[j] / (sqrtf(second.v[j]) * root + s.eps);
    }
    store(p, begin, i, size, value);
    store(m, begin, i, size, first);
    store(v, begin, i, size, second);
}

void mep_cuda_adamw(int64_t n, const mep_adamw_step *step, float *p, const float *gradient, float *m, float *v,
                    void *stream)
{
    launch(adamw, ceil_divide(n, BLOCK_VALUES), 1, THREADS, 0, stream, n, *step, p, gradient, m, v);
}
