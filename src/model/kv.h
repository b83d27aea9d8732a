/* SPDX-License-Identifier: MIT */
/*
 * Keys and values of a session: which keys a call's queries see, where they are stored, and attention over them. One
 * interface with five implementations: kv_none.c (the keys of the call itself, also in training), kv_ring.c (a cache in
 * host memory), kv_device.c (a cache in device memory), kv_group.c (several caches of one sequence each) and
 * kv_sequence.c (a sequence divided over processes).
 *
 * An implementation keeps one position bias table and knows the windows of layers and heads. It does not know the
 * session or the passes: forward_pass.c and the blocks call it, never the reverse.
 */
#ifndef MEP_MODEL_KV_H
#define MEP_MODEL_KV_H

#include "attention/cache.h"
#include "base/watch.h"
#include "dist/dist_group.h"
#include "mep/attention.h"
#include "model/model_internal.h"
#include "nn/network.h"

typedef struct mep_kv mep_kv;

/* The attention of one layer. Views are of the call's tokens, in the memory of the context. */
typedef struct mep_kv_call {
    int64_t layer, batch, length;
    mep_tensor_view q, k, v, out;
    float *lse;               /* [batch, heads, length]: written where the keys are those of the call (kv_none) */
    const float *gate_logits; /* [batch, length, heads], or NULL: the logits of forget gates */
    mep_tensor_view profiles, mixture; /* float32, see mep_attention_call; empty where the layer does not have them */
    mep_watch *watch;                  /* or NULL */
} mep_kv_call;

/* Gradients of one layer's attention. */
typedef struct mep_kv_gradient {
    mep_attention_gradient attention; /* without dgate */
    float *gate_logits;               /* [batch, length, heads], or NULL; overwritten */
    double *fire;                     /* see mep_attention_set_fire; increased. NULL where the model does not have it */
} mep_kv_gradient;

typedef struct mep_kv_functions {
    /* Called after each change of the model's parameters. */
    mep_status (*refresh)(mep_kv *kv);
    /* Before the layers of a pass: make room for `length` more tokens in every layer. */
    mep_status (*reserve)(mep_kv *kv, int64_t length);
    /* In each layer: store the call's keys and values, and compute out = attention of q. MEP_INTERRUPTED where the
     * watch stops it; a cache cannot be used after that. */
    mep_status (*attend)(mep_kv *kv, const mep_kv_call *call);
    /* Gradients of `attend` with the same call. NULL where the implementation does not train. */
    mep_status (*attend_backward)(mep_kv *kv, const mep_kv_call *call, const mep_kv_gradient *gradient);
    /* After the layers of a pass: its `length` tokens are stored in every layer. */
    void (*advance)(mep_kv *kv, int64_t length);
    void (*destroy)(mep_kv *kv);
} mep_kv_functions;

/* The first member of every implementation. */
struct mep_kv {
    const mep_kv_functions *functions;
    int64_t position;         /* of the next pass's first token */
    const int64_t *positions; /* the same of each sequence of the pass; NULL: position */
    double computed_fraction; /* of the key blocks, in the last watched call; 1 where it is unknown */
};

/* The position of the first token of sequence b in the next pass. */
static inline int64_t mep_kv_position(const mep_kv *kv, int64_t b)
{
    return kv->positions != NULL ? kv->positions[b] : kv->position;
}

typedef struct mep_kv_settings {
    mep_model *model;    /* must outlive the object */
    mep_context context; /* where keys, values and queries are stored; its state must outlive the object */
    mep_dtype dtype;
    double tolerance; /* see mep_attention_settings */
    int64_t call;     /* largest length of a call */
    int64_t tokens;   /* largest number of positions of a text */
} mep_kv_settings;

/* The keys and values of the call alone. The caller owns *kv. */
mep_status mep_kv_none_create(mep_kv **kv, const mep_kv_settings *settings);

/* A cache of one sequence (batch 1): kv_ring in host memory, kv_device in device memory (kv_cache.c). Keys that no
 * later query can give a weight are dropped, unless keep_all is set. MEP_ERROR_UNSUPPORTED where a layer must hold more
 * than MEP_MOST_POSITIONS tokens. */
mep_status mep_kv_cache_create(mep_kv **kv, const mep_kv_settings *settings, int keep_all);

/* window[layer * heads + head], which the caller frees: how many keys the caches of these settings hold.
 * MEP_ERROR_UNSUPPORTED as above. */
mep_status mep_kv_cache_windows(const mep_kv_settings *settings, int keep_all, int64_t **window);

/* Up to `count` caches in host memory, one sequence each. mep_kv_group_select chooses those of the next pass: its batch
 * is `chosen` sequences, which differ. mep_kv_group_clear empties a cache; mep_kv_group_copy replaces one by a copy of
 * another, and empties it on MEP_ERROR_MEMORY. A cache is made at its first use. */
mep_status mep_kv_group_create(mep_kv **kv, const mep_kv_settings *settings, int64_t count);
mep_status mep_kv_group_copy(mep_kv *kv, int64_t to, int64_t from);
mep_status mep_kv_group_select(mep_kv *kv, int64_t chosen, const int64_t *sequences);
void mep_kv_group_clear(mep_kv *kv, int64_t sequence);

/* The two caches. window[layer * heads + head] is as mep_model_windows gives it. */
mep_status mep_kv_ring_create(mep_kv **kv, const mep_kv_settings *settings, const int64_t *window);
mep_status mep_kv_device_create(mep_kv **kv, const mep_kv_settings *settings, const int64_t *window);

/* Replace the tokens of `to` by those of `from`, both of the same settings. On MEP_ERROR_MEMORY `to` can only be
 * destroyed. */
mep_status mep_kv_ring_copy(mep_kv *to, const mep_kv *from);

/*
 * This process's range of a sequence of settings->tokens positions that is divided over the processes of `group`. In
 * each layer it receives the keys and values of earlier ranges that are within reach. Every process must call this
 * function, and where one fails all fail.
 */
mep_status mep_kv_sequence_create(mep_kv **kv, const mep_kv_settings *settings, mep_dist *group);

/* First position of the range of process `rank`: a multiple of 64, except at the end of the sequence. The last range
 * takes the remainder. Where the sequence has fewer than 64 positions per process the last ranges are empty. */
int64_t mep_kv_sequence_first(const mep_dist *group, int64_t length, int64_t rank);

/* Before a pass; returns the number of positions in the range. */
int64_t mep_kv_sequence_begin(mep_kv *kv);

/* After a pass that failed here: the remaining layers exchange arbitrary values, so that no other process waits. */
mep_status mep_kv_sequence_finish(mep_kv *kv);

/* For tests: the attention of kv_none, which a test may replace, and the cache of kv_ring. */
mep_attention **mep_kv_none_attention(mep_kv *kv);
mep_cache *mep_kv_ring_cache(mep_kv *kv);

/* NULL inside is accepted; becomes NULL. */
static inline void mep_kv_destroy(mep_kv **kv)
{
    if (*kv != NULL) (*kv)->functions->destroy(*kv);
    *kv = NULL;
}

/* ---- For the implementations (kv.c) ---- */

/* Attention of the settings' type, device and tolerance, for `heads` heads, `kv_heads` key/value heads and up to `keys`
 * keys. */
mep_status mep_kv_attention(mep_attention **attention, const mep_kv_settings *settings, int64_t heads, int64_t kv_heads,
                            int64_t keys);

/* MEP_ERROR_ARGUMENT: the text has more positions than the session was made for. */
mep_status mep_kv_fail_full(int64_t tokens);

#endif
