/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on CUDA: checks, memory, and the order of the kernels.
 */
#include "cuda/cuda_attention.h"

#include <math.h>

#include "attention/terms.h"
#include "base/integer.h"
#include "base/memory.h"
#include "cuda/cuda_backend.h"

/* Device memory that grows as calls need it; its contents are lost when it grows. */
typedef struct workspace {
    void *data;
    int64_t bytes;
} workspace;

struct mep_attention_plan {
    mep_attention_settings settings;
    cudaStream_t stream;
    int has_bias;         /* whether far blocks can be skipped */
    int64_t blocks_given; /* blocks that the last forward call would have visited without skipping */
    workspace table, bias, far_bias, visited, lse, key_norms, query_norms, low, delta, dq_sums, bias_sums, progress;
};

static mep_status need(workspace *w, int64_t count, int64_t size)
{
    int64_t bytes = 0;
    MEP_TRY(mep_multiply(count, size, 1, &bytes));
    if (w->bytes >= bytes) return MEP_OK;
    cudaFree(w->data);
    *w = (workspace){NULL, 0};
    MEP_TRY(mep_cuda_alloc(&w->data, bytes, 1));
    w->bytes = bytes;
    return MEP_OK;
}

/* The same, cleared by the stream. */
static mep_status need_zeros(mep_attention_plan *p, workspace *w, int64_t count, int64_t size)
{
    MEP_TRY(need(w, count, size));
    return mep_cuda_check(cudaMemsetAsync(w->data, 0, (size_t)(count * size), p->stream), "clearing sums");
}

static int64_t blocks_of(int64_t length)
{
    return (length + BLOCK - 1) / BLOCK;
}

static void destroy(mep_attention_plan **plan)
{
    mep_attention_plan *p = *plan;
    workspace *all[] = {&p->table,       &p->bias, &p->far_bias, &p->visited, &p->lse,       &p->key_norms,
                        &p->query_norms, &p->low,  &p->delta,    &p->dq_sums, &p->bias_sums, &p->progress};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cudaFree(all[i]->data);
    mep_free(plan);
}

static mep_status create(mep_attention_plan **plan, const mep_attention_settings *s)
{
    *plan = NULL;
    if (s->head_dim > 128 || s->head_dim % 8 != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "attention on CUDA takes a head_dim that is a multiple of 8 up to 128, found %lld",
                        (long long)s->head_dim);
    if (s->heads > 65535 || s->max_length > 1 << 30)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "attention on CUDA takes up to 65,535 heads and 2^30 keys, found %lld and %lld",
                        (long long)s->heads, (long long)s->max_length);
    MEP_TRY(MEP_ALLOC(plan, 1));
    (*plan)->settings = *s;
    (*plan)->stream = s->stream;
    return MEP_OK;
}

/* The arguments that all calls of a plan share. */
static mep_cuda_attention_call call_of(const mep_attention_plan *p)
{
    const mep_attention_settings *s = &p->settings;
    return (mep_cuda_attention_call){.heads = (int)s->heads,
                                     .head_dim = (int)s->head_dim,
                                     .channels = s->head_dim <= 64   ? 64
                                                 : s->head_dim <= 96 ? 96
                                                                     : 128,
                                     .scale = (float)(s->scale / log(2)),
                                     .bias = p->bias.data,
                                     .far_bias = p->far_bias.data,
                                     .bias_stride = FRONT + s->max_length + BACK,
                                     .far_stride = blocks_of(s->max_length)};
}

static mep_status set_terms(mep_attention_plan *p, const mep_attention_terms *terms)
{
    const mep_attention_settings *s = &p->settings;
    const float *table = terms->table;
    int64_t length = table != NULL ? terms->table_length : s->max_length, values = s->heads * length;
    MEP_TRY(need(&p->bias, s->heads * (FRONT + s->max_length + BACK), sizeof(float)));
    MEP_TRY(need(&p->far_bias, s->heads * blocks_of(s->max_length), sizeof(float)));
    if (table != NULL) {
        MEP_TRY(need(&p->table, values, sizeof(float)));
        MEP_TRY(mep_cuda_check(
            cudaMemcpyAsync(p->table.data, table, (size_t)values * sizeof *table, cudaMemcpyHostToDevice, p->stream),
            "copying the bias"));
        /* The caller's memory is pageable. Where the GPU can read it directly, the copy may not be complete yet. */
        MEP_TRY(mep_cuda_check(cudaStreamSynchronize(p->stream), "copying the bias, or work before it"));
    }
    p->has_bias = table != NULL;
    const mep_cuda_attention_call call = call_of(p);
    return mep_cuda_attention_prepare_bias(&call, table != NULL ? p->table.data : NULL, length,
                                           min_i64(length, s->max_length), p->stream);
}

/* Tensors are copied in pieces of 16 bytes. */
static int is_aligned(mep_tensor_view view)
{
    return (uintptr_t)view.data % 16 == 0 && view.batch_stride % 8 == 0 && view.head_stride % 8 == 0 &&
           view.token_stride % 8 == 0;
}

static mep_status check_alignment(const mep_tensor_view *views, int count)
{
    for (int i = 0; i < count; i++)
        if (!is_aligned(views[i]))
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "attention on CUDA needs tensors aligned to 16 bytes with strides of multiples of 8");
    return MEP_OK;
}

/* Set the arguments of a call, and compute the norms of its keys where blocks can be skipped. */
static mep_status begin(mep_attention_plan *p, mep_cuda_attention_call *c, const mep_attention_call *t)
{
    const mep_attention_settings *s = &p->settings;
    int64_t pairs = t->batch * s->heads;
    if (t->batch > 65535)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "attention on CUDA takes up to 65,535 sequences, found %lld",
                        (long long)t->batch);
    const mep_tensor_view views[] = {t->q, t->k, t->v, t->out};
    MEP_TRY(check_alignment(views, 4));
    *c = call_of(p);
    c->batch = (int)t->batch, c->queries = (int)t->queries, c->keys = (int)t->keys;
    c->blocks = (int)blocks_of(t->keys), c->tiles = (int)blocks_of(t->queries);
    c->skips = s->skip_far && p->has_bias && t->keys > BLOCK;
    c->margin = (float)((double)mep_terms_margin(s->tolerance, (double)t->keys) / log(2));
    c->q = t->q, c->k = t->k, c->v = t->v, c->out = t->out, c->lse = t->lse;
    if (!c->skips) return MEP_OK;
    MEP_TRY(need(&p->key_norms, pairs * c->blocks, sizeof(float)));
    c->key_norms = p->key_norms.data;
    return mep_cuda_attention_prepare_keys(c, p->stream);
}

static mep_status forward(mep_attention_plan *p, const mep_attention_call *t)
{
    mep_cuda_attention_call c;
    MEP_TRY(begin(p, &c, t));
    MEP_TRY(need_zeros(p, &p->visited, 1, sizeof *c.visited));
    c.visited = p->visited.data;
    if (c.lse == NULL) MEP_TRY(need(&p->lse, t->batch * p->settings.heads * t->queries, sizeof(float)));
    if (c.lse == NULL) c.lse = p->lse.data;
    p->blocks_given = 0;
    return mep_cuda_attention_forward(&c, p->stream, &p->blocks_given);
}

static mep_status backward(mep_attention_plan *p, const mep_attention_call *t, const mep_attention_gradient *g)
{
    mep_cuda_attention_call c;
    const mep_tensor_view views[] = {g->dout, g->dq, g->dk, g->dv};
    MEP_TRY(check_alignment(views, 4));
    MEP_TRY(begin(p, &c, t));
    int64_t pairs = t->batch * p->settings.heads, rows = pairs * t->queries;
    MEP_TRY(need(&p->query_norms, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->low, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->delta, rows, sizeof(float)));
    MEP_TRY(need_zeros(p, &p->dq_sums, pairs * c.tiles * BLOCK * c.channels, sizeof(float)));
    MEP_TRY(need_zeros(p, &p->progress, 1 + pairs * c.blocks, sizeof(int)));
    if (g->dtable != NULL) MEP_TRY(need_zeros(p, &p->bias_sums, pairs * t->keys, sizeof(float)));
    c.dout = g->dout, c.dq = g->dq, c.dk = g->dk, c.dv = g->dv, c.dbias = g->dtable;
    c.query_norms = p->query_norms.data, c.low = p->low.data, c.delta = p->delta.data;
    c.dq_sums = p->dq_sums.data, c.progress = p->progress.data;
    c.bias_sums = g->dtable != NULL ? p->bias_sums.data : NULL;
    MEP_TRY(mep_cuda_attention_prepare_queries(&c, p->stream));
    MEP_TRY(mep_cuda_attention_backward(&c, p->stream));
    return mep_cuda_attention_finish(&c, p->stream);
}

static double computed_fraction(const mep_attention_plan *p)
{
    unsigned long long visited = 0;
    if (p->blocks_given == 0 ||
        cudaMemcpyAsync(&visited, p->visited.data, sizeof visited, cudaMemcpyDeviceToHost, p->stream) != cudaSuccess ||
        cudaStreamSynchronize(p->stream) != cudaSuccess)
        return 1;
    return (double)visited / (double)p->blocks_given;
}

const mep_attention_backend mep_cuda_attention = {
    .name = "CUDA",
    .create = create,
    .destroy = destroy,
    .set_terms = set_terms,
    .forward = forward,
    .backward = backward,
    .computed_fraction = computed_fraction,
};
