/* SPDX-License-Identifier: MIT */
/*
 * The processor's table: the functions of layers.h and gemm.h, and the chunks of the optimizer dealt out to threads.
 */
#include "nn/device.h"

#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "nn/pack.h"

enum { SHARED = 4 /* chunks that are worth a team of threads */ };

static const mep_row_kernels *kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

/* Nothing but products needs memory to work in. */
struct mep_nn_state {
    mep_gemm_workspace *workspace;
};

static void destroy(mep_nn_state **state)
{
    if (*state != NULL) mep_gemm_workspace_destroy(&(*state)->workspace);
    mep_free(state);
}

static mep_status create(mep_nn_state **state, int64_t rows, int64_t width)
{
    (void)rows, (void)width;
    MEP_TRY(MEP_ALLOC(state, 1));
    mep_status status = mep_gemm_workspace_create(&(*state)->workspace);
    if (status != MEP_OK) destroy(state);
    return status;
}

static void *stream(const mep_nn_state *state)
{
    (void)state;
    return NULL;
}

static mep_status gemm(mep_nn_state *state, const mep_gemm *product)
{
    return mep_gemm_run(state->workspace, product);
}

static void layer_norm_forward(mep_nn_state *state, int64_t rows, int64_t width, const float *x, const float *weight,
                               const float *bias, float eps, mep_activation y, float *mean, float *rstd)
{
    (void)state;
    mep_layer_norm_forward(rows, width, x, weight, bias, eps, y, mean, rstd);
}

static void layer_norm_backward(mep_nn_state *state, int64_t rows, int64_t width, const float *x, const float *weight,
                                const float *mean, const float *rstd, mep_activation dy, float *dx, float *dweight,
                                float *dbias)
{
    (void)state;
    mep_layer_norm_backward(rows, width, x, weight, mean, rstd, dy, dx, dweight, dbias);
}

static void column_sum(mep_nn_state *state, int64_t rows, int64_t width, mep_activation x, float *sum)
{
    (void)state;
    mep_column_sum(rows, width, x, sum);
}

static void embedding_forward(mep_nn_state *state, int64_t tokens_count, int64_t length, int64_t width,
                              const int32_t *tokens, const float *table, const float *position, float *x)
{
    (void)state;
    mep_embedding_forward(tokens_count, length, width, tokens, table, position, x);
}

static mep_status embedding_order(mep_nn_state *state, int64_t tokens_count, const int32_t *tokens)
{
    (void)state, (void)tokens_count, (void)tokens;
    return MEP_OK;
}

static void embedding_backward(mep_nn_state *state, int64_t tokens_count, int64_t length, int64_t width,
                               const int32_t *tokens, const float *dx, float *dtable, float *dposition)
{
    (void)state;
    mep_embedding_backward(tokens_count, length, width, tokens, dx, dtable, dposition);
}

static void cross_entropy(mep_nn_state *state, int64_t rows, int64_t vocab, float *logits, const int32_t *targets,
                          float scale, mep_activation gradient, float *losses)
{
    (void)state;
    mep_cross_entropy(rows, vocab, logits, targets, gradient.data != NULL ? scale : 0, losses);
    if (gradient.data != NULL && gradient.data != logits)
        mep_convert(rows * vocab, (mep_activation){logits, MEP_FLOAT32}, gradient);
}

static void rotary_apply(mep_nn_state *state, int64_t rows, int64_t length, int64_t first, int64_t heads, int64_t dims,
                         const float *cosine, const float *sine, int inverse, mep_activation x, int64_t row_stride,
                         int64_t head_stride)
{
    (void)state;
    mep_rotary_apply(rows, length, first, heads, dims, cosine, sine, inverse, x, row_stride, head_stride);
}

static void clear(mep_nn_state *state, int64_t n, float *x)
{
    (void)state;
    mep_clear(n, x);
}

static void convert(mep_nn_state *state, int64_t n, mep_activation from, mep_activation to)
{
    (void)state;
    mep_convert(n, from, to);
}

static void copy(mep_nn_state *state, int64_t rows, int64_t bytes, const void *from, int64_t from_stride, void *to,
                 int64_t to_stride)
{
    (void)state;
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)to + r * to_stride, (const char *)from + r * from_stride, (size_t)bytes);
}

static void add(mep_nn_state *state, int64_t n, const float *x, float *y)
{
    (void)state;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += MEP_CHUNK) kernels()->add(n - i < MEP_CHUNK ? n - i : MEP_CHUNK, x + i, y + i);
}

static mep_status squares(mep_nn_state *state, int64_t n, const float *x, double *sums)
{
    (void)state;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += MEP_CHUNK)
        sums[i / MEP_CHUNK] = kernels()->sum_of_squares(n - i < MEP_CHUNK ? n - i : MEP_CHUNK, x + i);
    return MEP_OK;
}

/* A call of the kernel stays in a chunk: where a vector ends in it does then not depend on `first`. */
static void adamw(mep_nn_state *state, int64_t first, int64_t end, const mep_adamw_step *step, float *p,
                  const float *gradient, float *m, float *v)
{
    (void)state;
    int64_t begin = first / MEP_CHUNK, stop = mep_chunks(end);
#pragma omp parallel for if (stop - begin > SHARED)
    for (int64_t c = begin; c < stop; c++) {
        int64_t i = c == begin ? first : c * MEP_CHUNK, next = c + 1 == stop ? end : (c + 1) * MEP_CHUNK;
        kernels()->adamw(next - i, step, p + i, gradient + i, m + i, v + i);
    }
}

const mep_nn_device mep_nn_cpu = {
    .create = create,
    .destroy = destroy,
    .stream = stream,
    .gemm = gemm,
    .packed_size = mep_packed_size,
    .pack = mep_pack,
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

const mep_context mep_context_cpu = {MEP_DEVICE_CPU, &mep_nn_cpu, NULL};
