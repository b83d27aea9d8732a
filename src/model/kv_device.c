/* SPDX-License-Identifier: MIT */
/*
 * The cache in device memory. Each layer has one array with the keys and values of its latest tokens, as far back as
 * the longest window of its heads.
 *
 * An array has room for twice that window: when it is full, the tokens of the window move to its front, so that memory
 * and time per token are bounded. Arrays grow by doubling up to that size. This is simpler than attention/cache.h,
 * whose heads have windows of their own; fused attention skips what a head does not reach.
 */
#include "base/assertion.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "model/kv_terms.h"

enum { FIRST_ROOM = 256 };

/* One layer: `held` tokens in an array of `room` tokens, [room, heads, (k, v), head_dim]. */
typedef struct layer_array {
    void *data;
    int64_t held, room;
    int64_t keep; /* tokens before a call that its queries can see */
    int64_t most; /* room at which the array stops growing */
} layer_array;

typedef struct kv_device {
    mep_kv base;
    mep_kv_settings settings;
    mep_attention *attention;
    int64_t heads, head_dim, layers;
    int64_t token;   /* bytes of a token in a layer */
    int64_t longest; /* keys that the attention and its bias accept; 0: there is none yet */
    layer_array *layer;
} kv_device;

static mep_status refresh(mep_kv *kv)
{
    ((kv_device *)kv)->longest = 0;
    return MEP_OK;
}

/* Room for `count` more tokens in a layer: the tokens to keep move to the front of the array, or of a larger one. */
static mep_status make_room(const kv_device *d, layer_array *x, int64_t count)
{
    const mep_context *on = &d->settings.context;
    int64_t kept = min_i64(x->held, x->keep), room = x->room;
    if (x->held + count <= x->room) return MEP_OK;
    while (room < x->most && room < kept + count) room = min_i64(room == 0 ? FIRST_ROOM : 2 * room, x->most);
    if (room == x->room) room = min_i64(2 * room, x->most);
    void *data = x->data, *old = x->data;
    const char *from = (const char *)old + (x->held - kept) * d->token;
    if (room > x->room) MEP_TRY(mep_device_array(on->device, &data, room, d->token));
    if (kept > 0) on->nn->copy(on->state, 1, kept * d->token, from, 0, data, 0);
    if (data != old) mep_device_release(on->device, &old);
    x->data = data, x->held = kept, x->room = room;
    return MEP_OK;
}

/* Attention for up to `keys` keys, with a bias of that length. */
static mep_status make_attention(kv_device *d, int64_t keys)
{
    mep_kv_tables tables = {.model = NULL};
    mep_status status = MEP_OK;
    mep_attention_destroy(&d->attention);
    MEP_TRY(mep_kv_attention(&d->attention, &d->settings, d->heads, d->heads, keys));
    MEP_TRY_OR(status, mep_kv_tables_create(&tables, d->settings.model, keys), done);
    MEP_TRY_OR(status, mep_kv_tables_refresh(&tables), done);
    const mep_attention_terms terms = mep_kv_layer_terms(&tables, 0); /* the same for all layers */
    status = mep_attention_set_terms(d->attention, &terms);
done:
    mep_kv_tables_destroy(&tables);
    return status;
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    kv_device *d = (kv_device *)kv;
    int64_t keys = 0;
    if (length > d->settings.tokens - kv->position) return mep_kv_fail_full(d->settings.tokens);
    for (int64_t l = 0; l < d->layers; l++) {
        MEP_TRY(make_room(d, &d->layer[l], length));
        keys = max_i64(keys, d->layer[l].room);
    }
    if (keys <= d->longest) return MEP_OK;
    d->longest = 0;
    MEP_TRY(make_attention(d, keys));
    d->longest = keys;
    return MEP_OK;
}

/* Keys and values are neighbours in a fused qkv, so one copy stores both. */
static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_device *d = (kv_device *)kv;
    const mep_context *on = &d->settings.context;
    const layer_array *x = &d->layer[c->layer];
    int64_t width = mep_dtype_size(d->settings.dtype), pair = 2 * d->head_dim * width;
    MEP_ASSERT((const char *)c->v.data - (const char *)c->k.data == d->head_dim * width);
    on->nn->copy(on->state, c->length * d->heads, pair, c->k.data, c->k.head_stride * width,
                 (char *)x->data + x->held * d->token, pair);
    mep_tensor_view keys = {
        .data = x->data, .head_stride = 2 * d->head_dim, .token_stride = 2 * d->head_dim * d->heads};
    mep_tensor_view values = keys;
    values.data = (char *)x->data + d->head_dim * width;
    const mep_attention_call call = {.batch = 1,
                                     .queries = c->length,
                                     .keys = x->held + c->length,
                                     .q = c->q,
                                     .k = keys,
                                     .v = values,
                                     .out = c->out};
    return mep_attention_forward(d->attention, &call);
}

static void advance(mep_kv *kv, int64_t length)
{
    kv_device *d = (kv_device *)kv;
    kv->position += length;
    for (int64_t l = 0; l < d->layers; l++) d->layer[l].held += length;
}

static void destroy(mep_kv *kv)
{
    kv_device *d = (kv_device *)kv;
    for (int64_t l = 0; d->layer != NULL && l < d->layers; l++)
        mep_device_release(d->settings.context.device, &d->layer[l].data);
    mep_free(&d->layer);
    mep_attention_destroy(&d->attention);
    mep_free(&d);
}

static const mep_kv_functions FUNCTIONS = {
    .refresh = refresh, .reserve = reserve, .attend = attend, .advance = advance, .destroy = destroy};

/* What a layer keeps, from the longest window of its heads. */
static layer_array plan_layer(const mep_kv_settings *s, int64_t heads, const int64_t *window)
{
    int64_t longest = 0, tokens = s->tokens;
    for (int64_t h = 0; h < heads; h++) longest = max_i64(longest, window[h]);
    if (longest >= tokens / 2) return (layer_array){.keep = tokens, .most = tokens};
    return (layer_array){.keep = longest - 1, .most = min_i64(2 * longest + s->call, tokens)};
}

mep_status mep_kv_device_create(mep_kv **kv, const mep_kv_settings *s, const int64_t *window)
{
    const mep_model_config *c = &s->model->config;
    kv_device *d = NULL;
    *kv = NULL;
    MEP_TRY(MEP_ALLOC(&d, 1));
    d->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    d->settings = *s;
    d->heads = c->num_attention_heads;
    d->head_dim = mep_head_dim(c);
    d->layers = c->num_hidden_layers;
    d->token = 2 * d->heads * d->head_dim * mep_dtype_size(s->dtype);
    mep_status status = MEP_ALLOC(&d->layer, d->layers);
    if (status != MEP_OK) {
        destroy(&d->base);
        return status;
    }
    for (int64_t l = 0; l < d->layers; l++) d->layer[l] = plan_layer(s, d->heads, window + l * d->heads);
    *kv = &d->base;
    return MEP_OK;
}
