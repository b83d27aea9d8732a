/* SPDX-License-Identifier: MIT */
/*
 * Plans of fused attention on a device: checks, memory, and the order of the kernels.
 */
#include "cuda/attention.h"

#include <math.h>

#include "base/memory.h"

/* Memory of the device that grows as calls need it; what was there is lost. */
typedef struct workspace {
    void *data;
    int64_t bytes;
} workspace;

struct mep_cuda_attention {
    mep_attention_settings settings;
    cudaStream_t stream;
    int64_t bias_length; /* longest number of keys that the bias serves */
    int falls;           /* a bias was set: far blocks may not matter */
    workspace bias, far_bias, key_norms, query_norms, low, delta, dq_sums, bias_sums, progress;
};

static mep_status need(workspace *w, int64_t count, int64_t size)
{
    int64_t bytes = 0;
    MEP_TRY(mep_multiply(count, size, 1, &bytes));
    if (w->bytes >= bytes) return MEP_OK;
    cudaFree(w->data);
    *w = (workspace){NULL, 0};
    MEP_TRY(mep_cuda_check(cudaMalloc(&w->data, (size_t)bytes), "no memory on the device for attention"));
    w->bytes = bytes;
    return MEP_OK;
}

mep_status mep_cuda_attention_create(mep_cuda_attention **plan, const mep_attention_settings *settings,
                                     cudaStream_t stream)
{
    mep_cuda_attention *p = NULL;
    *plan = NULL;
    if (settings->heads < 1 || settings->heads > 65535 || settings->max_length < 1 || settings->max_length > 1 << 30)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention on CUDA needs 1 to 65,535 heads and a max_length of 1 to 2^30, found %lld and %lld",
                        (long long)settings->heads, (long long)settings->max_length);
    if (settings->dtype != MEP_BFLOAT16)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "attention on CUDA takes bfloat16 tensors, found %s",
                        mep_dtype_name(settings->dtype));
    if (settings->head_dim < 8 || settings->head_dim > 128 || settings->head_dim % 8 != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "attention on CUDA takes a head_dim that is a multiple of 8 up to 128, found %lld",
                        (long long)settings->head_dim);
    if (!(settings->tolerance >= 0 && settings->tolerance < 1) || !isfinite(settings->scale))
        return mep_fail(MEP_ERROR_ARGUMENT, "attention needs a tolerance in [0, 1) and a finite scale");
    MEP_TRY(mep_alloc(&p, 1, sizeof *p));
    p->settings = *settings;
    p->stream = stream;
    if (settings->scale == 0) p->settings.scale = 1 / sqrt((double)settings->head_dim);
    mep_status status = mep_cuda_attention_set_bias(p, NULL, settings->max_length);
    if (status != MEP_OK) mep_cuda_attention_destroy(&p);
    *plan = p;
    return status;
}

void mep_cuda_attention_destroy(mep_cuda_attention **plan)
{
    mep_cuda_attention *p = *plan;
    if (p == NULL) return;
    workspace *all[] = {&p->bias,  &p->far_bias, &p->key_norms, &p->query_norms, &p->low,
                        &p->delta, &p->dq_sums,  &p->bias_sums, &p->progress};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cudaFree(all[i]->data);
    mep_free(plan);
}

static int64_t blocks_of(int64_t length)
{
    return (length + BLOCK - 1) / BLOCK;
}

mep_status mep_cuda_attention_set_bias(mep_cuda_attention *p, const float *table, int64_t length)
{
    int heads = (int)p->settings.heads;
    int64_t stride = FRONT + p->settings.max_length + BACK, far_stride = blocks_of(p->settings.max_length);
    if (length < 1 || length > p->settings.max_length)
        return mep_fail(MEP_ERROR_ARGUMENT, "a bias of %lld distances for attention of up to %lld keys",
                        (long long)length, (long long)p->settings.max_length);
    MEP_TRY(need(&p->bias, heads * stride, sizeof(float)));
    MEP_TRY(need(&p->far_bias, heads * far_stride, sizeof(float)));
    p->bias_length = length;
    p->falls = table != NULL;
    return mep_cuda_attention_prepare_bias(heads, table, length, p->bias.data, stride, p->far_bias.data, far_stride,
                                           p->stream);
}

/* Copies of 16 bytes go everywhere in the tensor. */
static int is_aligned(mep_tensor_view view)
{
    return (uintptr_t)view.data % 16 == 0 && view.batch_stride % 8 == 0 && view.head_stride % 8 == 0 &&
           view.token_stride % 8 == 0;
}

/* The margin in base 2 below which a weight is 0 in float32, or with a tolerance t below t in all. */
static float margin(double tolerance, double keys)
{
    double nats = tolerance > 0 ? log(keys) - log(tolerance) : 104;
    return (float)((nats < 104 ? nats : 104) / log(2));
}

/* The arguments that forward and backward share; norms of keys are prepared where they may be needed. */
static mep_status begin(mep_cuda_attention *p, mep_cuda_attention_call *c, int64_t batch, int64_t queries, int64_t keys,
                        const mep_tensor_view *views, int count)
{
    const mep_attention_settings *s = &p->settings;
    if (batch < 1 || batch > 65535 || queries < 1 || queries > keys || keys > p->bias_length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention of %lld sequences, %lld queries and %lld keys; its bias serves 1 to %lld keys, and "
                        "CUDA 65,535 sequences",
                        (long long)batch, (long long)queries, (long long)keys, (long long)p->bias_length);
    for (int i = 0; i < count; i++)
        if (!is_aligned(views[i]))
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "attention on CUDA needs tensors aligned to 16 bytes with strides of multiples of 8");
    int64_t pairs = batch * s->heads;
    *c = (mep_cuda_attention_call){.batch = (int)batch,
                                   .heads = (int)s->heads,
                                   .queries = (int)queries,
                                   .keys = (int)keys,
                                   .head_dim = (int)s->head_dim,
                                   .skips = s->skip_far && p->falls && keys > BLOCK,
                                   .scale = (float)(s->scale / log(2)),
                                   .margin = margin(s->tolerance, (double)keys),
                                   .bias = p->bias.data,
                                   .far_bias = p->far_bias.data,
                                   .bias_stride = FRONT + s->max_length + BACK,
                                   .far_stride = blocks_of(s->max_length),
                                   .blocks = (int)blocks_of(keys),
                                   .tiles = (int)blocks_of(queries)};
    MEP_TRY(need(&p->key_norms, pairs * c->blocks, sizeof(float)));
    c->key_norms = p->key_norms.data;
    return MEP_OK;
}

mep_status mep_cuda_attention_forward(mep_cuda_attention *p, int64_t batch, int64_t queries, int64_t keys,
                                      mep_tensor_view q, mep_tensor_view k, mep_tensor_view v, mep_tensor_view out,
                                      float *lse)
{
    mep_cuda_attention_call c;
    MEP_TRY(begin(p, &c, batch, queries, keys, (mep_tensor_view[]){q, k, v, out}, 4));
    c.q = q, c.k = k, c.v = v, c.out = out;
    c.lse = lse;
    if (c.skips) MEP_TRY(mep_cuda_attention_prepare_keys(&c, p->stream));
    return mep_cuda_attention_forward_run(&c, p->stream);
}

static mep_status clear(mep_cuda_attention *p, void *data, int64_t bytes)
{
    return mep_cuda_check(cudaMemsetAsync(data, 0, (size_t)bytes, p->stream), "clearing sums of gradients");
}

mep_status mep_cuda_attention_backward(mep_cuda_attention *p, int64_t batch, int64_t queries, int64_t keys,
                                       mep_tensor_view q, mep_tensor_view k, mep_tensor_view v, mep_tensor_view out,
                                       float *lse, mep_tensor_view dout, mep_tensor_view dq, mep_tensor_view dk,
                                       mep_tensor_view dv, double *dbias)
{
    mep_cuda_attention_call c;
    MEP_TRY(begin(p, &c, batch, queries, keys, (mep_tensor_view[]){q, k, v, out, dout, dq, dk, dv}, 8));
    int64_t pairs = batch * p->settings.heads, rows = pairs * queries, head_dim = p->settings.head_dim;
    MEP_TRY(need(&p->query_norms, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->low, pairs * c.tiles, sizeof(float)));
    MEP_TRY(need(&p->delta, rows, sizeof(float)));
    MEP_TRY(need(&p->dq_sums, rows * head_dim, sizeof(float)));
    MEP_TRY(need(&p->progress, 1 + pairs * c.blocks, sizeof(int)));
    if (dbias != NULL) MEP_TRY(need(&p->bias_sums, pairs * keys, sizeof(float)));
    c.q = q, c.k = k, c.v = v, c.out = out, c.dout = dout, c.dq = dq, c.dk = dk, c.dv = dv;
    c.lse = lse, c.delta = p->delta.data, c.query_norms = p->query_norms.data, c.low = p->low.data;
    c.dq_sums = p->dq_sums.data, c.progress = p->progress.data, c.dbias = dbias;
    c.bias_sums = dbias != NULL ? p->bias_sums.data : NULL;
    MEP_TRY(clear(p, c.dq_sums, rows * head_dim * (int64_t)sizeof(float)));
    MEP_TRY(clear(p, c.progress, (1 + pairs * c.blocks) * (int64_t)sizeof(int)));
    if (dbias != NULL) MEP_TRY(clear(p, c.bias_sums, pairs * keys * (int64_t)sizeof(float)));
    if (c.skips) MEP_TRY(mep_cuda_attention_prepare_keys(&c, p->stream));
    MEP_TRY(mep_cuda_attention_prepare_queries(&c, p->stream));
    MEP_TRY(mep_cuda_attention_backward_run(&c, p->stream));
    return mep_cuda_attention_finish(&c, p->stream);
}
