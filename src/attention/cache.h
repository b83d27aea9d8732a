/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache: keys and values of earlier tokens, one sequence, for each layer and head as far back as its
 * window, and attention over them. It knows windows and a bias table, not why they are right (model/cache.c).
 *
 * A head's keys are a ring of blocks of BLOCK_KEYS absolute positions. The ring grows by doubling up to what the window
 * needs; then the newest block takes the oldest one's place, and memory and time a token stay as they are. Outputs are
 * the same to the bit as those of a cache that keeps everything, where what is dropped would have had no weight.
 */
#ifndef MEP_ATTENTION_CACHE_H
#define MEP_ATTENTION_CACHE_H

#include "base/watch.h"
#include "mep/attention.h"

typedef struct mep_cache mep_cache;

/* A window that never ends. */
#define MEP_CACHE_ALL INT64_MAX

typedef struct mep_cache_settings {
    int64_t layers, heads, head_dim;
    int64_t call;          /* tokens of a call at most */
    mep_dtype dtype;       /* of q, k, v and out: MEP_FLOAT32 or MEP_BFLOAT16 */
    double tolerance;      /* as in mep_attention_settings, for texts of up to 2^31 tokens */
    const int64_t *window; /* [layers, heads]: keys at this distance or beyond may be dropped; >= 1 */
} mep_cache_settings;

/* The margin below the largest score, in nats, from which weights are left out: mep_terms_margin for 2^31 keys. */
float mep_cache_margin(double tolerance);

/* An empty cache, with nothing allocated for tokens yet and a bias of zero. The caller owns *cache. */
mep_status mep_cache_create(mep_cache **cache, const mep_cache_settings *settings);
void mep_cache_destroy(mep_cache **cache);

/* Tokens so far, and bytes held for them and for the bias. */
int64_t mep_cache_length(const mep_cache *cache);
int64_t mep_cache_bytes(const mep_cache *cache);

/* Drop what no query from here on can see, and make room for `count` <= call tokens in every layer. MEP_ERROR_MEMORY
 * leaves the cache as it was. */
mep_status mep_cache_reserve(mep_cache *cache, int64_t count);

/* Distances that keys and queries of the reserved call can have; the bias must cover them. */
int64_t mep_cache_distances(const mep_cache *cache);

/* Copy and prepare the terms of later calls, with a table_length of at least mep_cache_distances also where there is no
 * table. */
mep_status mep_cache_set_terms(mep_cache *cache, const mep_attention_terms *terms);

/* In one layer: put the keys and values of the reserved call's `count` tokens behind those before. Views as in
 * mep_attention_forward, batch 1. */
void mep_cache_append(mep_cache *cache, int64_t layer, int64_t count, mep_tensor_view k, mep_tensor_view v);

/* mep_cache_append, and the attention of the tokens' queries into `out`. MEP_ERROR_MEMORY;
 * MEP_INTERRUPTED from a watch, after which the cache is of no more use. */
mep_status mep_cache_attend(mep_cache *cache, int64_t layer, int64_t count, mep_tensor_view q, mep_tensor_view k,
                            mep_tensor_view v, mep_tensor_view out);

/* Report calls of many queries to `watch`, as mep_attention_set_watch. */
void mep_cache_set_watch(mep_cache *cache, mep_watch *watch);

/* The call's `count` tokens are in every layer. */
void mep_cache_advance(mep_cache *cache, int64_t count);

#endif
