/* SPDX-License-Identifier: MIT */
/*
 * Fused attention on CUDA: checks, memory, and the order of the kernels.
 */
#include "cuda/attention.h"

#include <math.h>

#include "base/memory.h"

/* Memory of the device that grows as calls need it; what was there is lost. */
typedef struct workspace {
    void *data;
    int64_t bytes;
} workspace;

struct mep_attention_on_device {
    mep_attention_settings settings;
    cudaStream_t stream;
    int has_bias;         /* far blocks may not matter */
    int64_t blocks_given; /* that the last forward call would have visited without skipping */
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

/* The same, filled with zeros by the stream. */
static mep_status need_zeros(mep_attention_on_device *p, workspace *w, int64_t count, int64_t size)
{
    MEP_TRY(need(w, count, size));
    return mep_cuda_check(cudaMemsetAsync(w->data, 0, (size_t)(count * size), p->stream), "clearing sums");
}

static int64_t blocks_of(int64_t length)
{
    return (length + BLOCK - 1) / BLOCK;
}

static void destroy(mep_attention_on_device **plan)
{
    mep_attention_on_device *p = *plan;
    if (p == NULL) return;
    workspace *all[] = {&p->table,       &p->bias, &p->far_bias, &p->visited, &p->lse,       &p->key_norms,
                        &p->query_norms, &p->low,  &p->delta,    &p->dq_sums, &p->bias_sums, &p->progress};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cudaFree(all[i]->data);
    mep_free(plan);
}

static mep_status create(mep_attention_on_device **plan, const mep_attention_settings *s)
{
    *plan = NULL;
    if (s->dtype != MEP_BFLOAT16)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "attention on CUDA takes bfloat16 tensors, found %s",
                        mep_dtype_name(s->dtype));
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

/* What all calls share. */
static mep_cuda_attention_call call_of(const mep_attention_on_device *p)
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

static mep_status set_bias(mep_attention_on_device *p, const float *table, int64_t length)
{
    const mep_attention_settings *s = &p->settings;
    int64_t values = s->heads * length;
    MEP_TRY(need(&p->bias, s->heads * (FRONT + s->max_length + BACK), sizeof(float)));
    MEP_TRY(need(&p->far_bias, s->heads * blocks_of(s->max_length), sizeof(float)));
    if (table != NULL) {
        MEP_TRY(need(&p->table, values, sizeof(float)));
        MEP_TRY(mep_cuda_check(
            cudaMemcpyAsync(p->table.data, table, (size_t)values * sizeof *table, cudaMemcpyHostToDevice, p->stream),
            "copying the bias"));
        /* The caller's memory is ordinary; where the GPU can read it itself the copy may not have been made yet. */
        MEP_TRY(mep_cuda_check(cudaStreamSynchronize(p->stream), "copying the bias, or work before it"));
    }
    p->has_bias = table != NULL;
    const mep_cuda_attention_call call = call_of(p);
    return mep_cuda_attention_prepare_bias(&call, table != NULL ? p->table.data : NULL, length,
                                           length < s->max_length ? length : s->max_length, p->stream);
}

/* Copies of 16 bytes go everywhere in the tensor. */
static int is_aligned(mep_tensor_view view)
{
    return (uintptr_t)view.data % 16 == 0 && view.batch_stride % 8 == 0 && view.head_stride % 8 == 0 &&
           view.token_stride % 8 == 0;
}

/* The margin below which a weight is 0 in float32 or, with a tolerance t, all are below t together. */
static float margin(double tolerance, double keys)
{
    double nats = tolerance > 0 ? log(keys / tolerance) : 104; /* exp(-104) is below half the smallest float32 */
    return (float)((nats < 104 ? nats : 104) / log(2));
}

/* The arguments of a call, and the norms of its keys where they may be needed. */
static mep_status begin(mep_attention_on_device *p, mep_cuda_attention_call *c, int64_t batch, int64_t queries,
                        int64_t keys, const mep_attention_tensors *t, int count)
{
    const mep_attention_settings *s = &p->settings;
    const mep_tensor_view views[] = {t->q, t->k, t->v, t->out, t->dout, t->dq, t->dk, t->dv};
    int64_t pairs = batch * s->heads;
    if (batch > 65535)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "attention on CUDA takes up to 65,535 sequences, found %lld",
                        (long long)batch);
    for (int i = 0; i < count; i++)
        if (!is_aligned(views[i]))
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "attention on CUDA needs tensors aligned to 16 bytes with strides of multiples of 8");
    *c = call_of(p);
    c->batch = (int)batch, c->queries = (int)queries, c->keys = (int)keys;
    c->blocks = (int)blocks_of(keys), c->tiles = (int)blocks_of(queries);
    c->skips = s->skip_far && p->has_bias && keys > BLOCK;
    c->margin = margin(s->tolerance, (double)keys);
    c->q = t->q, c->k = t->k, c->v = t->v, c->out = t->out, c->lse = t->lse;
    if (!c->skips) return MEP_OK;
    MEP_TRY(need(&p->key_norms, pairs * c->blocks, sizeof(float)));
    c->key_norms = p->key_norms.data;
    return mep_cuda_attention_prepare_keys(c, p->stream);
}

static mep_status forward(mep_attention_on_device *p, int64_t batch, int64_t queries, int64_t keys,
                          const mep_attention_tensors *t)
{
    mep_cuda_attention_call c;
    MEP_TRY(begin(p, &c, batch, queries, keys, t, 4));
    MEP_TRY(need_zeros(p, &p->visited, 1, sizeof *c.visited));
    c.visited = p->visited.data;
    if (c.lse == NULL) MEP_TRY(need(&p->lse, batch * p->settings.heads * queries, sizeof(float)));
    if (c.lse == NULL) c.lse = p->lse.data;
    p->blocks_given = 0;
    return mep_cuda_attention_forward(&c, p->stream, &p->blocks_given);
}

static mep_status backward(mep_attention_on_device *p, int64_t batch, int64_t queries, int64_t keys,
                           const mep_attention_tensors *t)
{
    mep_cuda_attention_call c;
    MEP_TRY(begin(p, &c, batch, queries, keys, t, 8));
    int64_t pairs = batch * p->settings.heads, rows = pairs * queries;
    MEP_TRY(need(&p->query_norms, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->low, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->delta, rows, sizeof(float)));
    MEP_TRY(need_zeros(p, &p->dq_sums, pairs * c.tiles * BLOCK * c.channels, sizeof(float)));
    MEP_TRY(need_zeros(p, &p->progress, 1 + pairs * c.blocks, sizeof(int)));
    if (t->dbias != NULL) MEP_TRY(need_zeros(p, &p->bias_sums, pairs * keys, sizeof(float)));
    c.dout = t->dout, c.dq = t->dq, c.dk = t->dk, c.dv = t->dv, c.dbias = t->dbias;
    c.query_norms = p->query_norms.data, c.low = p->low.data, c.delta = p->delta.data;
    c.dq_sums = p->dq_sums.data, c.progress = p->progress.data;
    c.bias_sums = t->dbias != NULL ? p->bias_sums.data : NULL;
    MEP_TRY(mep_cuda_attention_prepare_queries(&c, p->stream));
    MEP_TRY(mep_cuda_attention_backward(&c, p->stream));
    return mep_cuda_attention_finish(&c, p->stream);
}

static double computed_share(const mep_attention_on_device *p)
{
    unsigned long long visited = 0;
    if (p->blocks_given == 0 ||
        cudaMemcpyAsync(&visited, p->visited.data, sizeof visited, cudaMemcpyDeviceToHost, p->stream) != cudaSuccess ||
        cudaStreamSynchronize(p->stream) != cudaSuccess)
        return 1;
    return (double)visited / (double)p->blocks_given;
}

const mep_attention_device mep_cuda_attention = {create, destroy, set_bias, forward, backward, computed_share};
