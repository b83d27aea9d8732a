/* SPDX-License-Identifier: MIT */
/*
 * The cache in host memory: a ring of key blocks for each layer and head (attention/cache.h), as long as its window,
 * and a bias table as long as the longest ring.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/kv_terms.h"

typedef struct kv_ring {
    mep_kv base;
    const mep_model *model;
    mep_cache *cache;
    int64_t tokens;    /* of a text, at most: the windows are for these */
    int64_t distances; /* that the cache's terms cover */
    int64_t sets;      /* of terms */
    double *total;     /* [layers, heads]: the gates of the last token; NULL: there are none */
    double *gate;      /* [heads, call] */
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
    mep_kv_tables tables = {.model = NULL};
    if (length > r->tokens - kv->position) return mep_kv_fail_full(r->tokens);
    MEP_TRY(mep_cache_reserve(r->cache, length));
    int64_t distances = mep_cache_distances(r->cache);
    if (distances <= r->distances) return MEP_OK;
    r->distances = 0;
    mep_status status = mep_kv_tables_create(&tables, r->model, distances);
    if (status == MEP_OK) status = mep_kv_tables_refresh(&tables);
    for (int64_t i = 0; i < r->sets && status == MEP_OK; i++) {
        const mep_attention_terms terms = mep_kv_layer_terms(&tables, i);
        mep_fire fire;
        int has_fire = mep_kv_layer_fire(&tables, i, &fire);
        status = mep_cache_set_terms(r->cache, i, &terms, has_fire ? &fire : NULL, distances);
    }
    if (status == MEP_OK) r->distances = distances;
    mep_kv_tables_destroy(&tables);
    return status;
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_ring *r = (kv_ring *)kv;
    mep_cache_set_watch(r->cache, c->watch);
    int64_t heads = r->model->config.num_attention_heads;
    const mep_attention_call call = {.batch = 1,
                                     .queries = c->length,
                                     .q = c->q,
                                     .k = c->k,
                                     .v = c->v,
                                     .out = c->out,
                                     .gate = r->gate,
                                     .profiles = c->profiles,
                                     .mixture = c->mixture};
    if (c->gate_logits != NULL)
        mep_gate_sums(1, c->length, heads, c->gate_logits, r->total + c->layer * heads, r->gate);
    else if (r->gate != NULL) /* a layer without a gate among others with one */
        memset(r->gate, 0, (size_t)(heads * c->length) * sizeof *r->gate);
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
    mep_free(&r->total);
    mep_free(&r->gate);
    mep_free(&r);
}

static const mep_kv_functions FUNCTIONS = {
    .refresh = refresh, .reserve = reserve, .attend = attend, .advance = advance, .destroy = destroy};

mep_status mep_kv_ring_create(mep_kv **kv, const mep_kv_settings *s, const int64_t *window)
{
    const mep_model_config *c = &s->model->config;
    const mep_cache_settings settings = {.layers = c->num_hidden_layers,
                                         .heads = c->num_attention_heads,
                                         .kv_heads = mep_key_value_heads(c),
                                         .head_dim = mep_head_dim(c),
                                         .call = s->call,
                                         .dtype = s->dtype,
                                         .tolerance = s->tolerance,
                                         .term_sets = mep_kv_term_sets(s->model),
                                         .has_gate = s->model->first[FORGET_WEIGHT] >= 0,
                                         .window = window};
    kv_ring *r = NULL;
    *kv = NULL;
    MEP_TRY(MEP_ALLOC(&r, 1));
    r->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    r->model = s->model;
    r->tokens = s->tokens;
    r->sets = settings.term_sets;
    int64_t heads = settings.has_gate ? c->num_attention_heads : 0;
    mep_status status = mep_cache_create(&r->cache, &settings);
    if (status == MEP_OK && heads > 0) status = MEP_ALLOC(&r->total, c->num_hidden_layers * heads);
    if (status == MEP_OK && heads > 0) status = MEP_ALLOC(&r->gate, heads * s->call);
    if (status != MEP_OK) {
        destroy(&r->base);
        return status;
    }
    *kv = &r->base;
    return MEP_OK;
}

mep_status mep_kv_ring_copy(mep_kv *to, const mep_kv *from)
{
    kv_ring *r = (kv_ring *)to;
    const kv_ring *source = (const kv_ring *)from;
    const mep_model_config *c = &r->model->config;
    MEP_TRY(mep_cache_copy(r->cache, source->cache));
    if (r->total != NULL)
        memcpy(r->total, source->total, (size_t)(c->num_hidden_layers * c->num_attention_heads) * sizeof *r->total);
    r->base.position = source->base.position;
    return MEP_OK;
}

mep_cache *mep_kv_ring_cache(mep_kv *kv)
{
    return ((kv_ring *)kv)->cache;
}
