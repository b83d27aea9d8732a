/* SPDX-License-Identifier: MIT */
/*
 * The CPU's functions for the network: those of layers.h and gemm.h, and the optimizer's chunks divided among threads.
 */
#include "nn/network.h"

#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "nn/pack.h"

enum { SHARED = 4 /* chunks from which threads gain more than they cost */ };

static const mep_row_kernels *kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

/* Only products need memory between calls. */
struct mep_network_state {
    mep_gemm_workspace *workspace;
};

static void destroy(mep_network_state **state)
{
    if (*state != NULL) mep_gemm_workspace_destroy(&(*state)->workspace);
    mep_free(state);
}

static mep_status create(mep_network_state **state, int64_t rows, int64_t width)
{
    (void)rows, (void)width;
    MEP_TRY(MEP_ALLOC(state, 1));
    mep_status status = mep_gemm_workspace_create(&(*state)->workspace);
    if (status != MEP_OK) destroy(state);
    return status;
}

static void *stream(const mep_network_state *state)
{
    (void)state;
    return NULL;
}

static mep_status gemm(mep_network_state *state, const mep_gemm *product)
{
    return mep_gemm_run(state->workspace, product);
}

static void layer_norm_forward(mep_network_state *state, const mep_layer_norm *norm, mep_activation y)
{
    (void)state;
    mep_layer_norm_forward(norm, y);
}

static void layer_norm_backward(mep_network_state *state, const mep_layer_norm *norm,
                                const mep_layer_norm_gradient *gradient)
{
    (void)state;
    mep_layer_norm_backward(norm, gradient);
}

static void head_norm_forward(mep_network_state *state, const mep_head_norm *norm, mep_activation y)
{
    (void)state;
    mep_head_norm_forward(norm, y);
}

static void head_norm_backward(mep_network_state *state, const mep_head_norm *norm, mep_activation dy, float *dweight)
{
    (void)state;
    mep_head_norm_backward(norm, dy, dweight);
}

static void swiglu_forward(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, mep_activation y)
{
    (void)state;
    mep_swiglu_forward(rows, width, x, y);
}

static void swiglu_backward(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, mep_activation dy,
                            mep_activation dx)
{
    (void)state;
    mep_swiglu_backward(rows, width, x, dy, dx);
}

static void column_sum(mep_network_state *state, int64_t rows, int64_t width, mep_activation x, float *sum)
{
    (void)state;
    mep_column_sum(rows, width, x, sum);
}

static void embedding_forward(mep_network_state *state, const mep_embedding *e, const float *table,
                              const float *position, float *x)
{
    (void)state;
    mep_embedding_forward(e, table, position, x);
}

static mep_status embedding_order(mep_network_state *state, int64_t count, const int32_t *tokens)
{
    (void)state, (void)count, (void)tokens;
    return MEP_OK;
}

static void embedding_backward(mep_network_state *state, const mep_embedding *e, const float *dx, float *dtable,
                               float *dposition)
{
    (void)state;
    mep_embedding_backward(e, dx, dtable, dposition);
}

static void cross_entropy(mep_network_state *state, const mep_cross_entropy_call *c)
{
    (void)state;
    int with_gradient = c->gradient.data != NULL;
    mep_cross_entropy(c->rows, c->vocab, c->logits, c->targets, with_gradient ? c->scale : 0, c->losses);
    if (with_gradient && c->gradient.data != c->logits)
        mep_convert(c->rows * c->vocab, (mep_activation){c->logits, MEP_FLOAT32}, c->gradient);
}

static void rotary_apply(mep_network_state *state, const mep_rotary *rotary)
{
    (void)state;
    mep_rotary_apply(rotary);
}

static void clear(mep_network_state *state, int64_t n, float *x)
{
    (void)state;
    mep_clear(n, x);
}

static void convert(mep_network_state *state, int64_t n, mep_activation from, mep_activation to)
{
    (void)state;
    mep_convert(n, from, to);
}

static void copy(mep_network_state *state, int64_t rows, int64_t bytes, const void *from, int64_t from_stride, void *to,
                 int64_t to_stride)
{
    (void)state;
#pragma omp parallel for
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)to + r * to_stride, (const char *)from + r * from_stride, (size_t)bytes);
}

static void add(mep_network_state *state, int64_t n, const float *x, float *y)
{
    (void)state;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += MEP_CHUNK) kernels()->add(n - i < MEP_CHUNK ? n - i : MEP_CHUNK, x + i, y + i);
}

static mep_status squares(mep_network_state *state, int64_t n, const float *x, double *sums)
{
    (void)state;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i += MEP_CHUNK)
        sums[i / MEP_CHUNK] = kernels()->sum_of_squares(n - i < MEP_CHUNK ? n - i : MEP_CHUNK, x + i);
    return MEP_OK;
}

/* A call of the kernel is within a chunk, so that the vectors of a value do not depend on `first`. */
static void adamw(mep_network_state *state, int64_t first, int64_t end, const mep_adamw_step *step, float *p,
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

const mep_network mep_network_cpu = {
    .create = create,
    .destroy = destroy,
    .stream = stream,
    .gemm = gemm,
    .packed_size = mep_packed_size,
    .pack = mep_pack,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .head_norm_forward = head_norm_forward,
    .head_norm_backward = head_norm_backward,
    .swiglu_forward = swiglu_forward,
    .swiglu_backward = swiglu_backward,
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

const mep_context mep_context_cpu = {.device = MEP_DEVICE_CPU, .nn = &mep_network_cpu};
