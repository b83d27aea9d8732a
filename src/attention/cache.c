/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache: ring buffers of blocks and their growth, the terms, and attention by decoding or, for many
 * queries, by the tiled forward pass.
 */
#include "attention/cache.h"

#include <math.h>
#include <string.h>

#include "attention/decode.h"
#include "attention/forward.h"
#include "base/bf16.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

/* The ring buffer of one layer and head of k. Block b is at index b % capacity. */
typedef struct kv_ring {
    void *keys, *values; /* [capacity, padded, BLOCK_KEYS] in the kernels' units; [capacity, BLOCK_KEYS, head_dim] */
    float *norms;        /* [capacity]: largest |k| */
    double *gate;        /* [query heads of this head, capacity, BLOCK_KEYS], or NULL */
    double *gate_low;    /* [query heads of this head, capacity]: the smallest gate of a block */
    int64_t capacity, first; /* in blocks; the oldest block */
    int64_t window;          /* in keys; MEP_CACHE_ALL */
} kv_ring;

struct mep_cache {
    mep_cache_settings settings;
    int64_t kv_heads, group; /* heads of k, and query heads of each */
    kv_ring *rings;          /* [layers, kv_heads] */
    int64_t ring_count;
    int64_t length;
    mep_terms *terms; /* [term_sets] */
    mep_decode decode;
    mep_decode_row *rows;     /* [heads] */
    mep_source *sources;      /* [heads] */
    mep_attention_plan *plan; /* for calls of many queries */
};

float mep_cache_margin(double tolerance)
{
    return mep_terms_margin(tolerance, 2147483648.0);
}

/* A ring holds what any of its query heads can see. */
static void set_windows(mep_cache *c, const int64_t *window)
{
    for (int64_t i = 0; i < c->ring_count; i++)
        for (int64_t g = 0; g < c->group; g++)
            c->rings[i].window = max_i64(c->rings[i].window, window[i * c->group + g]);
}

mep_status mep_cache_create(mep_cache **cache, const mep_cache_settings *settings)
{
    int64_t heads = settings->heads;
    mep_cache *c;
    *cache = NULL;
    MEP_TRY(MEP_ALLOC(&c, 1));
    *cache = c;
    c->settings = *settings;
    c->settings.window = NULL; /* it is the caller's memory */
    c->settings.term_sets = max_i64(settings->term_sets, 1);
    c->kv_heads = settings->kv_heads > 0 ? settings->kv_heads : heads;
    c->group = heads / c->kv_heads;
    c->ring_count = settings->layers * c->kv_heads;
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = heads, a.head_dim = settings->head_dim, a.dtype = settings->dtype, a.max_length = BLOCK_KEYS;
    a.scale = 1 / sqrt((double)a.head_dim), a.kv_heads = c->kv_heads;
    mep_status status;
    MEP_TRY_OR(status, mep_attention_plan_create(&c->plan, &a), failed);
    c->decode = (mep_decode){.kernels = c->plan->kernels,
                             .dtype = settings->dtype,
                             .head_dim = settings->head_dim,
                             .scale = (float)c->plan->settings.scale,
                             .margin = mep_cache_margin(settings->tolerance),
                             .threads = c->plan->threads};
    MEP_TRY_OR(status, MEP_ALLOC(&c->rings, c->ring_count), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&c->terms, c->settings.term_sets), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&c->rows, heads), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&c->sources, heads), failed);
    set_windows(c, settings->window);
    return MEP_OK;
failed:
    mep_cache_destroy(cache);
    return status;
}

static void free_ring(kv_ring *r)
{
    mep_free(&r->keys);
    mep_free(&r->values);
    mep_free(&r->norms);
    mep_free(&r->gate);
    mep_free(&r->gate_low);
}

void mep_cache_destroy(mep_cache **cache)
{
    mep_cache *c = *cache;
    if (c == NULL) return;
    for (int64_t i = 0; c->rings != NULL && i < c->ring_count; i++) free_ring(&c->rings[i]);
    for (int64_t i = 0; c->terms != NULL && i < c->settings.term_sets; i++) mep_terms_free(&c->terms[i]);
    mep_free(&c->rings);
    mep_free(&c->terms);
    mep_free(&c->rows);
    mep_free(&c->sources);
    mep_decode_free(&c->decode);
    if (c->plan != NULL) mep_attention_plan_destroy(&c->plan);
    mep_free(cache);
}

int64_t mep_cache_length(const mep_cache *cache)
{
    return cache->length;
}

static int64_t value_bytes(const mep_cache *c)
{
    return BLOCK_KEYS * c->settings.head_dim * mep_dtype_size(c->settings.dtype);
}

static int64_t key_bytes(const mep_cache *c)
{
    return BLOCK_KEYS * c->plan->padded * mep_dtype_size(c->settings.dtype);
}

int64_t mep_cache_bytes(const mep_cache *c)
{
    int64_t blocks = 0, distances = 0, gate = c->settings.has_gate ? c->group * (BLOCK_KEYS + 1) : 0;
    for (int64_t i = 0; i < c->ring_count; i++) blocks += c->rings[i].capacity;
    for (int64_t i = 0; i < c->settings.term_sets; i++) distances += c->terms[i].distances;
    return blocks * (key_bytes(c) + value_bytes(c) + (int64_t)sizeof(float) + gate * (int64_t)sizeof(double)) +
           2 * c->settings.heads * distances * (int64_t)sizeof(float);
}

/* ---- Memory ---- */

/* Copy the gates of block b of one ring to another. */
static void copy_gates(const mep_cache *c, const kv_ring *from, int64_t b, kv_ring *to)
{
    for (int64_t g = 0; g < c->group && c->settings.has_gate; g++) {
        int64_t old = g * from->capacity + b % from->capacity, new = g * to->capacity + b % to->capacity;
        memcpy(to->gate + new *BLOCK_KEYS, from->gate + old * BLOCK_KEYS, BLOCK_KEYS * sizeof *to->gate);
        to->gate_low[new] = from->gate_low[old];
    }
}

/* *copy: a ring buffer of `capacity` blocks with the blocks of `s` up to `newest`. The caller owns its memory. */
static mep_status copy_ring(const mep_cache *c, const kv_ring *s, int64_t capacity, int64_t newest, kv_ring *copy)
{
    kv_ring larger = {.capacity = capacity, .first = s->first, .window = s->window};
    int64_t key_size = key_bytes(c), size = value_bytes(c);
    mep_status status;
    MEP_TRY_OR(status, mep_alloc(&larger.keys, capacity, (size_t)key_size), failed);
    MEP_TRY_OR(status, mep_alloc(&larger.values, capacity, (size_t)size), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&larger.norms, capacity), failed);
    if (c->settings.has_gate) {
        MEP_TRY_OR(status, MEP_ALLOC(&larger.gate, c->group * capacity * BLOCK_KEYS), failed);
        MEP_TRY_OR(status, MEP_ALLOC(&larger.gate_low, c->group * capacity), failed);
    }
    for (int64_t b = s->first; s->capacity > 0 && b <= newest; b++) {
        memcpy((char *)larger.keys + b % capacity * key_size, (char *)s->keys + b % s->capacity * key_size,
               (size_t)key_size);
        memcpy((char *)larger.values + b % capacity * size, (char *)s->values + b % s->capacity * size, (size_t)size);
        larger.norms[b % capacity] = s->norms[b % s->capacity];
        copy_gates(c, s, b, &larger);
    }
    *copy = larger;
    return MEP_OK;
failed:
    free_ring(&larger);
    return status;
}

/* Replace a ring buffer by one of more blocks, with the blocks up to `newest`. A failure leaves it unchanged. */
static mep_status grow(const mep_cache *c, kv_ring *s, int64_t capacity, int64_t newest)
{
    kv_ring larger;
    MEP_TRY(copy_ring(c, s, capacity, newest, &larger));
    free_ring(s);
    *s = larger;
    return MEP_OK;
}

mep_status mep_cache_copy(mep_cache *to, const mep_cache *from)
{
    MEP_ASSERT(to->ring_count == from->ring_count && to->settings.has_gate == from->settings.has_gate);
    for (int64_t i = 0; i < to->ring_count; i++) {
        free_ring(&to->rings[i]);
        to->rings[i].capacity = 0;
        if (from->rings[i].capacity == 0) continue;
        MEP_TRY(
            copy_ring(from, &from->rings[i], from->rings[i].capacity, (from->length - 1) / BLOCK_KEYS, &to->rings[i]));
    }
    to->length = from->length;
    return MEP_OK;
}

mep_status mep_cache_reserve(mep_cache *c, int64_t count)
{
    int64_t last = (c->length + count - 1) / BLOCK_KEYS, newest = (c->length - 1) / BLOCK_KEYS;
    for (int64_t i = 0; i < c->ring_count; i++) {
        kv_ring *s = &c->rings[i];
        int64_t oldest = c->length >= s->window ? (c->length - s->window + 1) / BLOCK_KEYS : 0;
        int64_t most = s->window < MEP_CACHE_ALL / 2 ? (s->window + c->settings.call - 2) / BLOCK_KEYS + 2 : INT64_MAX;
        if (oldest > s->first) s->first = oldest;
        int64_t capacity = last - s->first + 1;
        if (capacity <= s->capacity) continue;
        if (capacity < 2 * s->capacity) capacity = 2 * s->capacity < most ? 2 * s->capacity : most;
        if (grow(c, s, capacity, newest) != MEP_OK)
            return mep_fail(
                MEP_ERROR_MEMORY,
                "no memory for the keys and values of more than %lld tokens (%.1f MB so far); ask for fewer",
                (long long)c->length, (double)mep_cache_bytes(c) / 1e6);
    }
    return MEP_OK;
}

int64_t mep_cache_distances(const mep_cache *c)
{
    int64_t capacity = 0;
    for (int64_t i = 0; i < c->ring_count; i++) capacity = max_i64(capacity, c->rings[i].capacity);
    return capacity * BLOCK_KEYS;
}

mep_status mep_cache_set_terms(mep_cache *c, int64_t set, const mep_attention_terms *terms, const mep_fire *fire,
                               int64_t distances)
{
    MEP_ASSERT(set < c->settings.term_sets);
    MEP_TRY(mep_terms_reserve(&c->terms[set], c->settings.heads, distances, 0));
    MEP_TRY(mep_terms_prepare(&c->terms[set], terms));
    return fire != NULL ? mep_terms_prepare_fire(&c->terms[set], fire) : MEP_OK;
}

/* ---- A call ---- */

static char *element(const mep_cache *c, const mep_tensor_view *view, int64_t h, int64_t t)
{
    return (char *)view->data + (h * view->head_stride + t * view->token_stride) * mep_dtype_size(c->settings.dtype);
}

/* The Euclidean norm of a key. */
static float norm_of(const mep_cache *c, const void *row)
{
    double square = 0;
    for (int64_t i = 0; i < c->settings.head_dim; i++) {
        double x = c->settings.dtype == MEP_BFLOAT16 ? (double)mep_bf16_to_float(((const mep_bf16 *)row)[i])
                                                     : (double)((const float *)row)[i];
        square += x * x;
    }
    return (float)sqrt(square);
}

/* Copy key r of a block from its row into its column of the block, where `pair` channels are next to each other. */
static void put_key(const mep_cache *c, const char *row, int64_t r, char *block)
{
    int64_t pair = c->plan->kernels->pair;
    for (int64_t i = 0; i < c->settings.head_dim; i++) {
        int64_t at = (i / pair * BLOCK_KEYS + r) * pair + i % pair;
        if (c->settings.dtype == MEP_BFLOAT16)
            ((mep_bf16 *)(void *)block)[at] = ((const mep_bf16 *)(const void *)row)[i];
        else
            ((float *)(void *)block)[at] = ((const float *)(const void *)row)[i];
    }
}

/* Append keys and values of `count` tokens of one head. */
static void append(mep_cache *c, kv_ring *s, int64_t h, int64_t count, const mep_tensor_view *k,
                   const mep_tensor_view *v)
{
    size_t bytes = (size_t)(c->settings.head_dim * mep_dtype_size(c->settings.dtype));
    MEP_ASSERT((c->length + count - 1) / BLOCK_KEYS - s->first < s->capacity);
    for (int64_t t = 0; t < count; t++) {
        int64_t position = c->length + t, slot = position / BLOCK_KEYS % s->capacity, in_block = position % BLOCK_KEYS;
        char *keys = (char *)s->keys + slot * key_bytes(c);
        if (in_block == 0) memset(keys, 0, (size_t)key_bytes(c));
        put_key(c, element(c, k, h, t), in_block, keys);
        memcpy((char *)s->values + (size_t)(slot * BLOCK_KEYS + in_block) * bytes, element(c, v, h, t), bytes);
        float norm = norm_of(c, element(c, k, h, t));
        if (in_block == 0 || norm > s->norms[slot] || norm != norm) s->norms[slot] = norm;
    }
}

/* Append the gates of a call's tokens, [heads, count], to the rings of head kv of k. */
static void append_gates(mep_cache *c, kv_ring *s, int64_t kv, int64_t count, const double *gate)
{
    for (int64_t g = 0; g < c->group; g++)
        for (int64_t t = 0; t < count; t++) {
            int64_t position = c->length + t, slot = g * s->capacity + position / BLOCK_KEYS % s->capacity;
            double x = gate[(kv * c->group + g) * count + t];
            s->gate[slot * BLOCK_KEYS + position % BLOCK_KEYS] = x;
            if (position % BLOCK_KEYS == 0 || x < s->gate_low[slot]) s->gate_low[slot] = x;
        }
}

/* What the score terms of head h take from the content, for the queries of a call. */
static mep_content content_of(const mep_cache *c, const kv_ring *s, const mep_terms *terms,
                              const mep_attention_call *call, int64_t h)
{
    int64_t g = h % c->group, kernels = terms->ratios.rank;
    mep_content x = {.capacity = s->capacity,
                     .keys = c->length + call->queries,
                     .fire = mep_fire_applies(&terms->fire, c->length + call->queries - 1),
                     .approximate = c->settings.tolerance > 0};
    if (c->settings.has_gate) {
        x.gate = s->gate + g * s->capacity * BLOCK_KEYS;
        x.gate_low = s->gate_low + g * s->capacity;
    }
    if (terms->bank.rank > 0) {
        x.profiles = mep_attention_float_row(c->plan, &call->profiles, h, 0);
        x.profile_row = call->profiles.token_stride;
    }
    if (kernels > 0) {
        x.mixture = (float *)c->plan->mixture.data + h * call->queries * kernels;
        x.mixture_row = kernels;
    }
    return x;
}

static mep_source source_of(const mep_cache *c, const kv_ring *s, const mep_terms *terms,
                            const mep_attention_call *call, int64_t h)
{
    return (mep_source){.keys = s->keys,
                        .values = s->values,
                        .transposed = 1,
                        .value_stride = c->settings.head_dim,
                        .capacity = s->capacity,
                        .first = s->first,
                        .norms = s->norms,
                        .terms = mep_terms_of_head(terms, h),
                        .content = content_of(c, s, terms, call, h)};
}

void mep_cache_append(mep_cache *c, int64_t layer, int64_t count, mep_tensor_view k, mep_tensor_view v)
{
    for (int64_t h = 0; h < c->kv_heads; h++) append(c, &c->rings[layer * c->kv_heads + h], h, count, &k, &v);
}

/* One to DECODE_QUERIES queries. */
static mep_status decode(mep_cache *c, const mep_attention_call *call)
{
    int64_t heads = c->settings.heads;
    c->decode.rows = heads;
    c->decode.row = c->rows;
    for (int64_t t = 0; t < call->queries; t++) {
        for (int64_t h = 0; h < heads; h++)
            c->rows[h] = (mep_decode_row){.q = element(c, &call->q, h, t),
                                          .out = element(c, &call->out, h, t),
                                          .query = t,
                                          .segment = {0, INT64_MAX},
                                          .source = c->sources[h]};
        c->decode.position = c->length + t;
        MEP_TRY(mep_decode_rows(&c->decode));
    }
    return MEP_OK;
}

mep_status mep_cache_attend(mep_cache *c, int64_t layer, const mep_attention_call *call)
{
    int64_t heads = c->settings.heads, count = call->queries;
    kv_ring *rings = c->rings + layer * c->kv_heads;
    const mep_terms *terms = &c->terms[c->settings.term_sets > 1 ? layer : 0];
    MEP_ASSERT(count >= 1 && terms->distances >= mep_cache_distances(c));
    MEP_ASSERT((call->gate != NULL) == (c->settings.has_gate != 0) && call->starts == NULL && call->ends == NULL);
    mep_cache_append(c, layer, count, call->k, call->v);
    for (int64_t kv = 0; kv < c->kv_heads && c->settings.has_gate; kv++)
        append_gates(c, &rings[kv], kv, count, call->gate);
    if (terms->ratios.rank > 0) MEP_TRY(mep_attention_weigh_mixture(c->plan, call, terms->ratios.rank));
    for (int64_t h = 0; h < heads; h++) c->sources[h] = source_of(c, &rings[h / c->group], terms, call, h);
    if (count <= DECODE_QUERIES) return decode(c, call);
    mep_attention_call own = *call;
    own.keys = c->length + count;
    own.lse = NULL;
    const mep_forward pass = {.plan = c->plan, .call = &own, .source = c->sources, .margin = c->decode.margin};
    return mep_forward_run(&pass);
}

void mep_cache_set_watch(mep_cache *c, mep_watch *watch)
{
    mep_attention_cpu.set_watch(c->plan, watch);
}

void mep_cache_advance(mep_cache *c, int64_t count)
{
    c->length += count;
}
