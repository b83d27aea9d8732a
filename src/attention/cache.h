/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache of one sequence: keys and values of earlier tokens, for each layer and head as far back as its
 * window, and attention over them. It is given the windows and does not know why they are correct (src/model).
 *
 * A head's keys and values are a ring buffer of blocks of BLOCK_KEYS absolute positions. It grows by doubling up to the
 * size that the window needs. Then the newest block replaces the oldest one, and memory and time per token are
 * constant. Outputs are bit-identical to those of a cache that keeps everything, where what is dropped would have no
 * weight.
 */
#ifndef MEP_ATTENTION_CACHE_H
#define MEP_ATTENTION_CACHE_H

#include "attention/fire.h"
#include "base/watch.h"
#include "mep/attention.h"

typedef struct mep_cache mep_cache;

/* A window without end. */
#define MEP_CACHE_ALL INT64_MAX

typedef struct mep_cache_settings {
    int64_t layers, heads, head_dim;
    int64_t kv_heads;      /* 0: heads; see mep_attention_settings */
    int64_t term_sets;     /* different sets of terms: 0 or 1: the same for all layers; layers: one per layer */
    int has_gate;          /* calls have a gate */
    int64_t call;          /* largest number of tokens of a call */
    mep_dtype dtype;       /* of q, k, v and out: MEP_FLOAT32 or MEP_BFLOAT16 */
    double tolerance;      /* as in mep_attention_settings, for texts of up to 2^31 tokens */
    const int64_t *window; /* [layers, heads]: keys at this distance or farther can be dropped; >= 1 */
} mep_cache_settings;

/* The margin below the largest score, in nats, from which weights are left out: mep_terms_margin for 2^31 keys. */
float mep_cache_margin(double tolerance);

/* An empty cache without memory for tokens. The caller owns *cache, and calls mep_cache_set_terms before it attends. */
mep_status mep_cache_create(mep_cache **cache, const mep_cache_settings *settings);
void mep_cache_destroy(mep_cache **cache);

/* Replace the tokens of `to` by those of `from`, a cache of the same settings; their terms stay. On MEP_ERROR_MEMORY
 * `to` can only be destroyed. */
mep_status mep_cache_copy(mep_cache *to, const mep_cache *from);

/* Tokens so far; bytes that are allocated for them and for the terms. */
int64_t mep_cache_length(const mep_cache *cache);
int64_t mep_cache_bytes(const mep_cache *cache);

/* Drop what no later query can see, and make room for `count` <= call tokens in every layer. On MEP_ERROR_MEMORY the
 * cache is unchanged. */
mep_status mep_cache_reserve(mep_cache *cache, int64_t count);

/* Number of distances that keys and queries of the reserved call can have; the terms must cover them. */
int64_t mep_cache_distances(const mep_cache *cache);

/* Copy and prepare a set of terms of later calls, for `distances`, at least mep_cache_distances. fire may be NULL. */
mep_status mep_cache_set_terms(mep_cache *cache, int64_t set, const mep_attention_terms *terms, const mep_fire *fire,
                               int64_t distances);

/* In one layer: append the keys and values of the reserved call's `count` tokens. Views as in mep_attention_call,
 * batch 1. */
void mep_cache_append(mep_cache *cache, int64_t layer, int64_t count, mep_tensor_view k, mep_tensor_view v);

/* Append the keys and values of the call's `queries` tokens, then compute the attention of its queries. The call has
 * batch 1; its `keys` and `lse` are not used, and its gate is that of its own tokens, [heads, queries].
 * MEP_ERROR_MEMORY; MEP_INTERRUPTED where a watch stops the call, after which the cache can only be destroyed. */
mep_status mep_cache_attend(mep_cache *cache, int64_t layer, const mep_attention_call *call);

/* Report calls of many queries to `watch`, see mep_attention_set_watch. */
void mep_cache_set_watch(mep_cache *cache, mep_watch *watch);

/* End the call: its `count` tokens are in every layer. */
void mep_cache_advance(mep_cache *cache, int64_t count);

#endif
