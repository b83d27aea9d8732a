/* SPDX-License-Identifier: MIT */
/*
 * What the implementations of kv.h share: attention and bias tables by their settings, and the choice of a cache.
 */
#include "model/kv.h"

#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/kv_windows.h"

mep_status mep_kv_attention(mep_attention **attention, const mep_kv_settings *s, int64_t heads, int64_t keys)
{
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = heads;
    a.head_dim = mep_head_dim(&s->model->config);
    a.max_length = keys;
    a.dtype = s->dtype;
    a.tolerance = s->tolerance;
    a.device = s->context.device;
    a.stream = s->context.nn->stream(s->context.state);
    return mep_attention_create(attention, &a);
}

mep_status mep_kv_bias_create(mep_kv_bias *t, const mep_model *model, int64_t length)
{
    int64_t values = 0;
    t->bias = model->bias;
    t->length = length;
    if (t->bias == NULL) return MEP_OK;
    MEP_TRY(mep_multiply(length, model->config.num_attention_heads, 1, &values));
    MEP_TRY(mep_alloc(&t->table, values, sizeof *t->table));
    return mep_alloc(&t->scratch, mep_bias_scratch(t->bias), sizeof *t->scratch);
}

mep_status mep_kv_bias_refresh(mep_kv_bias *t)
{
    return t->bias != NULL ? mep_bias_table_with(t->bias, t->length, t->table, t->scratch) : MEP_OK;
}

void mep_kv_bias_destroy(mep_kv_bias *t)
{
    mep_free(&t->table);
    mep_free(&t->scratch);
}

mep_status mep_kv_fail_full(int64_t tokens)
{
    return mep_fail(MEP_ERROR_ARGUMENT, "the session was made for %lld tokens in all and has read them",
                    (long long)tokens);
}

mep_status mep_kv_cache_create(mep_kv **kv, const mep_kv_settings *s, int keep_all)
{
    int64_t count = s->model->config.num_hidden_layers * s->model->config.num_attention_heads, *window = NULL;
    mep_status status = MEP_OK;
    *kv = NULL;
    MEP_TRY_OR(status, mep_alloc(&window, count, sizeof *window), done);
    MEP_TRY_OR(status, mep_model_windows(s->model, s->dtype, s->tolerance, s->tokens, window), done);
    for (int64_t i = 0; i < count; i++) {
        if (keep_all) window[i] = MEP_CACHE_ALL;
        if (window[i] == MEP_CACHE_ALL && s->tokens > MEP_MOST_POSITIONS)
            MEP_TRY_OR(status, mep_model_fail_no_reach(s->model), done);
    }
    status = (mep_device_is_host(s->context.device) ? mep_kv_ring_create : mep_kv_device_create)(kv, s, window);
done:
    mep_free(&window);
    return status;
}
