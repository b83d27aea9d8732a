/* SPDX-License-Identifier: MIT */
/*
 * The cache of a session: how many keys each head of a layer holds, and the implementation for the device.
 */
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "model/kv.h"
#include "model/kv_windows.h"

mep_status mep_kv_cache_windows(const mep_kv_settings *s, int keep_all, int64_t **window)
{
    int64_t heads = s->model->config.num_attention_heads, count = s->model->config.num_hidden_layers * heads;
    mep_status status = MEP_OK;
    MEP_TRY(MEP_ALLOC(window, count));
    MEP_TRY_OR(status, mep_model_windows(s->model, s->dtype, s->tolerance, s->tokens, *window), failed);
    for (int64_t i = 0; i < count; i++) {
        const mep_position_entry *e = mep_layer_position(s->model, i / heads);
        int64_t *w = &(*window)[i];
        if (keep_all)
            *w = MEP_CACHE_ALL;
        else if (e->window > 0)
            *w = min_i64(*w, e->window);
        if (*w == MEP_CACHE_ALL && s->tokens > MEP_MOST_POSITIONS)
            MEP_TRY_OR(status, mep_model_fail_no_reach(s->model), failed);
    }
    return MEP_OK;
failed:
    mep_free(window);
    return status;
}

mep_status mep_kv_cache_create(mep_kv **kv, const mep_kv_settings *s, int keep_all)
{
    int64_t *window = NULL;
    *kv = NULL;
    MEP_TRY(mep_kv_cache_windows(s, keep_all, &window));
    mep_status status =
        (mep_device_is_host(s->context.device) ? mep_kv_ring_create : mep_kv_device_create)(kv, s, window);
    mep_free(&window);
    return status;
}
