/* SPDX-License-Identifier: MIT */
/*
 * The cache in host memory: a ring of key blocks for each layer and head (attention/cache.h), as long as its window,
 * and a bias table as long as the longest ring.
 */
#include "base/error.h"
#include "base/memory.h"
#include "model/kv.h"

typedef struct kv_ring {
    mep_kv base;
    const mep_model *model;
    mep_cache *cache;
    int64_t distances; /* that the cache's bias covers */
} kv_ring;

/* Let the next call compute the bias. */
static mep_status refresh(mep_kv *kv)
{
    ((kv_ring *)kv)->distances = 0;
    return MEP_OK;
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    kv_ring *r = (kv_ring *)kv;
    mep_kv_bias bias = {.bias = NULL};
    MEP_TRY(mep_cache_reserve(r->cache, length));
    int64_t distances = mep_cache_distances(r->cache);
    if (distances <= r->distances) return MEP_OK;
    r->distances = 0;
    mep_status status = mep_kv_bias_create(&bias, r->model, distances);
    if (status == MEP_OK) status = mep_kv_bias_refresh(&bias);
    const mep_attention_terms terms = {.table = bias.table, .table_length = distances};
    if (status == MEP_OK) status = mep_cache_set_terms(r->cache, 0, &terms, distances);
    if (status == MEP_OK) r->distances = distances;
    mep_kv_bias_destroy(&bias);
    return status;
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_ring *r = (kv_ring *)kv;
    mep_cache_set_watch(r->cache, c->watch);
    const mep_attention_call call = {.batch = 1, .queries = c->length, .q = c->q, .k = c->k, .v = c->v, .out = c->out};
    return mep_cache_attend(r->cache, c->layer, &call);
}

static void advance(mep_kv *kv, int64_t length)
{
    kv_ring *r = (kv_ring *)kv;
    mep_cache_advance(r->cache, length);
    kv->position = mep_cache_length(r->cache);
}

static void destroy(mep_kv *kv)
{
    kv_ring *r = (kv_ring *)kv;
    mep_cache_destroy(&r->cache);
    mep_free(&r);
}

static const mep_kv_functions FUNCTIONS = {
    .refresh = refresh, .reserve = reserve, .attend = attend, .advance = advance, .destroy = destroy};

mep_status mep_kv_ring_create(mep_kv **kv, const mep_kv_settings *s, const int64_t *window)
{
    const mep_model_config *c = &s->model->config;
    const mep_cache_settings settings = {.layers = c->num_hidden_layers,
                                         .heads = c->num_attention_heads,
                                         .head_dim = mep_head_dim(c),
                                         .call = s->call,
                                         .dtype = s->dtype,
                                         .tolerance = s->tolerance,
                                         .window = window};
    kv_ring *r = NULL;
    *kv = NULL;
    MEP_TRY(mep_alloc(&r, 1, sizeof *r));
    r->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    r->model = s->model;
    mep_status status = mep_cache_create(&r->cache, &settings);
    if (status != MEP_OK) {
        destroy(&r->base);
        return status;
    }
    *kv = &r->base;
    return MEP_OK;
}

mep_cache *mep_kv_ring_cache(mep_kv *kv)
{
    return ((kv_ring *)kv)->cache;
}
