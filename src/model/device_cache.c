/* SPDX-License-Identifier: MIT */
/*
 * Arrays of keys and values on a device, and the attention plan that is made anew when they grow.
 */
#include "model/device_cache.h"

#include "attention/cache.h"
#include "base/device.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

enum { FIRST_ROOM = 256 };

/* A layer: `held` tokens of `room`, [room, heads, (k, v), head_dim]. */
typedef struct strip {
    void *data;
    int64_t held, room;
    int64_t keep; /* tokens before a call that its queries can see */
    int64_t most; /* room at which the array stops growing */
} strip;

struct mep_device_cache {
    mep_device device;
    int64_t layers;
    int64_t length, tokens; /* so far, and at most */
    int64_t token;          /* bytes of a token in a layer */
    int64_t longest;        /* keys that the plan and its bias take */
    strip *layer;
};

mep_status mep_device_cache_create(mep_session *s, int64_t tokens, const int64_t *window)
{
    const mep_model_config *c = &s->model->config;
    mep_device_cache *cache;
    MEP_TRY(mep_alloc(&cache, 1, sizeof *cache));
    s->device_cache = cache;
    cache->device = s->settings.device;
    cache->layers = c->num_hidden_layers;
    cache->tokens = tokens;
    cache->token = 2 * c->hidden_size * mep_dtype_size(s->settings.dtype);
    MEP_TRY(mep_alloc(&cache->layer, cache->layers, sizeof *cache->layer));
    for (int64_t l = 0; l < cache->layers; l++) {
        strip *x = &cache->layer[l];
        int ends = window[l] < tokens / 2;
        x->keep = ends ? window[l] - 1 : tokens;
        x->most = ends && 2 * window[l] + s->settings.length < tokens ? 2 * window[l] + s->settings.length : tokens;
    }
    return MEP_OK;
}

void mep_device_cache_destroy(mep_device_cache **cache)
{
    if (*cache == NULL) return;
    for (int64_t l = 0; (*cache)->layer != NULL && l < (*cache)->layers; l++)
        mep_device_release((*cache)->device, &(*cache)->layer[l].data);
    mep_free(&(*cache)->layer);
    mep_free(cache);
}

int64_t mep_device_cache_length(const mep_device_cache *cache)
{
    return cache->length;
}

/* Room for `count` more tokens in a layer: what is kept goes to the front of the array, or of a larger one. */
static mep_status make_room(mep_session *s, strip *x, int64_t count)
{
    const mep_device_cache *c = s->device_cache;
    int64_t kept = min_i64(x->held, x->keep), room = x->room;
    if (x->held + count <= x->room) return MEP_OK;
    while (room < x->most && room < kept + count) room = min_i64(room == 0 ? FIRST_ROOM : 2 * room, x->most);
    if (room == x->room) room = min_i64(2 * room, x->most);
    void *data = x->data, *old = x->data;
    const char *from = (const char *)old + (x->held - kept) * c->token;
    if (room > x->room) MEP_TRY(mep_device_array(c->device, &data, room, c->token));
    if (kept > 0) s->nn->copy(s->state, 1, kept * c->token, from, 0, data, 0);
    if (data != old) mep_device_release(c->device, &old);
    x->data = data, x->held = kept, x->room = room;
    return MEP_OK;
}

/* Attention for up to `keys` keys. */
static mep_status make_plan(mep_session *s, int64_t keys)
{
    int64_t heads = s->model->config.num_attention_heads, values = 0;
    float *table = NULL;
    mep_attention_destroy(&s->attention);
    MEP_TRY(mep_session_add_attention(s, heads, keys));
    if (s->model->bias == NULL) return MEP_OK;
    MEP_TRY(mep_multiply(keys, heads, 1, &values));
    MEP_TRY(mep_alloc(&table, values, sizeof *table));
    mep_status status = mep_bias_table(s->model->bias, keys, table);
    const mep_attention_terms terms = {.table = table, .table_length = keys};
    if (status == MEP_OK) status = mep_attention_set_terms(s->attention, &terms);
    mep_free(&table);
    return status;
}

mep_status mep_device_cache_reserve(mep_session *s)
{
    mep_device_cache *c = s->device_cache;
    int64_t keys = 0;
    if (s->length > c->tokens - c->length)
        return mep_fail(MEP_ERROR_ARGUMENT, "the session was made for %lld tokens in all and has read them",
                        (long long)c->tokens);
    for (int64_t l = 0; l < c->layers; l++) {
        MEP_TRY(make_room(s, &c->layer[l], s->length));
        keys = c->layer[l].room > keys ? c->layer[l].room : keys;
    }
    if (keys <= c->longest) return MEP_OK;
    c->longest = 0; /* until there is a plan */
    MEP_TRY(make_plan(s, keys));
    c->longest = keys;
    return MEP_OK;
}

mep_status mep_device_cache_attend(mep_session *s, int64_t layer, mep_tensor_view q, mep_tensor_view k,
                                   mep_tensor_view out)
{
    const mep_device_cache *c = s->device_cache;
    const strip *x = &c->layer[layer];
    int64_t heads = s->model->config.num_attention_heads, head_dim = mep_head_dim(&s->model->config);
    int64_t width = mep_dtype_size(s->settings.dtype), pair = 2 * head_dim * width;
    s->nn->copy(s->state, s->length * heads, pair, k.data, k.head_stride * width, (char *)x->data + x->held * c->token,
                pair);
    mep_tensor_view keys = {x->data, 0, 2 * head_dim, 2 * head_dim * heads}, values = keys;
    values.data = (char *)x->data + head_dim * width;
    const mep_attention_call call = {
        .batch = 1, .queries = s->length, .keys = x->held + s->length, .q = q, .k = keys, .v = values, .out = out};
    return mep_attention_forward(s->attention, &call);
}

void mep_device_cache_advance(mep_session *s)
{
    s->device_cache->length += s->length;
    for (int64_t l = 0; l < s->device_cache->layers; l++) s->device_cache->layer[l].held += s->length;
}
