/* SPDX-License-Identifier: MIT */
/*
 * The network on CUDA: the table of nn/network.h, made of the kernels of cuda_rows.h and the products of
 * cuda_product.h, all in one stream. It synchronizes with the default stream, so that copies by mep/device.h are in
 * order with it.
 */
#include "nn/network.h"

#include "base/memory.h"
#include "cuda/cuda_backend.h"
#include "cuda/cuda_product.h"
#include "cuda/cuda_rows.h"
#include "cuda/runtime.h"

struct mep_network_state {
    int64_t rows;
    cudaStream_t stream;
    mep_cuda_products *products;
    float *scratch;           /* for sums over rows */
    int32_t *runs, *new_runs; /* [2 rows + 2]: mep_cuda_token_runs, in device memory and in host memory */
    double *squares;          /* [chunks] */
    int64_t chunks;
};

static void destroy(mep_network_state **state)
{
    mep_network_state *s = *state;
    if (s == NULL) return;
    mep_cuda_products_destroy(&s->products);
    cudaFree(s->scratch);
    cudaFree(s->runs);
    cudaFree(s->squares);
    if (s->stream != NULL) cudaStreamDestroy(s->stream);
    mep_free(&s->new_runs);
    mep_free(state);
}

static mep_status make(mep_network_state *s, int64_t rows, int64_t width)
{
    int64_t indices = 0;
    s->rows = rows;
    MEP_TRY(mep_multiply(rows, 2, 1, &indices));
    MEP_TRY(MEP_ALLOC(&s->new_runs, indices + 2));
    MEP_TRY(mep_cuda_check(cudaStreamCreate(&s->stream), "stream"));
    MEP_TRY(mep_cuda_products_create(&s->products, width));
    MEP_TRY(mep_cuda_alloc(&s->scratch, mep_cuda_rows_scratch(rows, width), sizeof *s->scratch));
    return mep_cuda_alloc(&s->runs, indices + 2, sizeof *s->runs);
}

static mep_status create(mep_network_state **state, int64_t rows, int64_t width)
{
    *state = NULL;
    MEP_TRY(MEP_ALLOC(state, 1));
    mep_status status = make(*state, rows, width);
    if (status != MEP_OK) destroy(state);
    return status;
}

static void *stream(const mep_network_state *s)
{
    return s->stream;
}

static mep_status gemm(mep_network_state *s, const mep_gemm *g)
{
    return mep_cuda_product(s->products, g, s->stream);
}

static void layer_norm_forward(mep_network_state *s, const mep_layer_norm *norm, mep_activation y)
{
    mep_cuda_layer_norm_forward(norm, y, s->stream);
}

static void layer_norm_backward(mep_network_state *s, const mep_layer_norm *norm,
                                const mep_layer_norm_gradient *gradient)
{
    mep_cuda_layer_norm_backward(norm, gradient, s->scratch, s->stream);
}

static void column_sum(mep_network_state *s, int64_t rows, int64_t width, mep_activation x, float *sum)
{
    mep_cuda_column_sum(rows, width, x, sum, s->scratch, s->stream);
}

static void embedding_forward(mep_network_state *s, const mep_embedding *e, const float *table, const float *position,
                              float *x)
{
    mep_cuda_embedding_forward(e, table, position, x, s->stream);
}

/* The source is pageable memory, which CUDA has read when the call returns. */
static mep_status embedding_order(mep_network_state *s, int64_t count, const int32_t *tokens)
{
    if (count > s->rows)
        return mep_fail(MEP_ERROR_ARGUMENT, "the network was made for %lld tokens, found %lld", (long long)s->rows,
                        (long long)count);
    mep_cuda_token_runs(count, tokens, s->new_runs);
    return mep_cuda_check(cudaMemcpyAsync(s->runs, s->new_runs, (size_t)(2 * count + 2) * sizeof *s->runs,
                                          cudaMemcpyHostToDevice, s->stream),
                          "copying the order of the tokens");
}

static void embedding_backward(mep_network_state *s, const mep_embedding *e, const float *dx, float *dtable,
                               float *dposition)
{
    mep_cuda_embedding_backward(e, s->runs, dx, dtable, dposition, s->stream);
}

static void cross_entropy(mep_network_state *s, const mep_cross_entropy_call *call)
{
    mep_cuda_cross_entropy(call, call->vocab, s->stream);
}

static void rotary_apply(mep_network_state *s, const mep_rotary *rotary)
{
    mep_cuda_rotary_apply(rotary, s->stream);
}

static void clear(mep_network_state *s, int64_t n, float *x)
{
    mep_cuda_clear(n, x, s->stream);
}

static void convert(mep_network_state *s, int64_t n, mep_activation from, mep_activation to)
{
    mep_cuda_convert(n, from, to, s->stream);
}

static void copy(mep_network_state *s, int64_t rows, int64_t bytes, const void *from, int64_t from_stride, void *to,
                 int64_t to_stride)
{
    if (rows == 1) /* with any stride */
        cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToDevice, s->stream);
    else if (rows > 1 && bytes > 0)
        cudaMemcpy2DAsync(to, (size_t)to_stride, from, (size_t)from_stride, (size_t)bytes, (size_t)rows,
                          cudaMemcpyDeviceToDevice, s->stream);
}

static void add(mep_network_state *s, int64_t n, const float *x, float *y)
{
    mep_cuda_add(n, x, y, s->stream);
}

static mep_status squares(mep_network_state *s, int64_t n, const float *x, double *sums)
{
    int64_t chunks = mep_chunks(n);
    if (chunks > s->chunks) {
        cudaFree(s->squares);
        s->squares = NULL;
        s->chunks = 0;
        MEP_TRY(mep_cuda_alloc(&s->squares, chunks, sizeof *s->squares));
        s->chunks = chunks;
    }
    mep_cuda_squares(n, x, s->squares, s->stream);
    MEP_TRY(mep_cuda_check_queued());
    MEP_TRY(mep_cuda_check(
        cudaMemcpyAsync(sums, s->squares, (size_t)chunks * sizeof *sums, cudaMemcpyDeviceToHost, s->stream),
        "copying sums of squares, or work before it"));
    return mep_cuda_check(cudaStreamSynchronize(s->stream), "sums of squares, or work before them");
}

static void adamw(mep_network_state *s, int64_t first, int64_t end, const mep_adamw_step *step, float *p,
                  const float *gradient, float *m, float *v)
{
    mep_cuda_adamw(end - first, step, p + first, gradient + first, m + first, v + first, s->stream);
}

const mep_network mep_cuda_network = {
    .create = create,
    .destroy = destroy,
    .stream = stream,
    .gemm = gemm,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .column_sum = column_sum,
    .embedding_forward = embedding_forward,
    .embedding_order = embedding_order,
    .embedding_backward = embedding_backward,
    .cross_entropy = cross_entropy,
    .rotary_apply = rotary_apply,
    .clear = clear,
    .convert = convert,
    .copy = copy,
    .add = add,
    .squares = squares,
    .adamw = adamw,
};
