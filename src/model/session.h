/* SPDX-License-Identifier: MIT */
/*
 * A session: the activations of a model for one batch size and length, and the passes over them. Rows are batch *
 * length tokens; the residual stream is float32, what lies between layers has the session's type.
 *
 * Arrays lie in the memory of the session's device, which computes on them; those marked "host" lie in the program's.
 * On the processor the two are the same, and copies from one to the other cost nothing that counts.
 */
#ifndef MEP_MODEL_SESSION_H
#define MEP_MODEL_SESSION_H

#include "attention/cache.h"
#include "base/bf16.h"
#include "mep/attention.h"
#include "model/model.h"
#include "nn/device.h"

/* What one layer leaves for its backward pass. Without training, and with recompute, all layers share one set. */
typedef struct mep_layer_state {
    float *x_mid;                                         /* [rows, hidden]: residual stream after attention */
    mep_activation norm1, qkv, attended, norm2, up, gelu; /* [rows, width]; qkv is [rows, heads, (q,k,v), head_dim] */
    float *mean1, *rstd1, *mean2, *rstd2;                 /* [rows] */
    float *lse;                                           /* [batch, heads, length] */
} mep_layer_state;

/* Told by a backward pass: the gradients of tensors first .. end - 1 will not change any more. */
typedef void (*mep_gradients_fn)(void *context, int64_t first, int64_t end);

typedef struct mep_ring mep_ring;                 /* model/ring.h */
typedef struct mep_device_cache mep_device_cache; /* model/device_cache.h */

typedef struct mep_session_block {
    void *data;
    mep_device device;
} mep_session_block;

struct mep_session {
    mep_model *model;
    mep_session_settings settings;
    const mep_nn_device *nn;
    mep_nn_state *state;
    float *values;                  /* all parameters: the model's own on the processor, else a copy of them */
    int64_t batch, length, rows;    /* of the call under way */
    int64_t position;               /* of the first token of each sequence: not 0 with a cache or a ring */
    int accumulate;                 /* training: add to the gradients of matrices, or overwrite them */
    mep_attention *attention;       /* NULL with `cache` */
    mep_cache *cache;               /* keys and values of earlier tokens; NULL: none */
    int64_t cache_distances;        /* that the cache's bias covers */
    mep_device_cache *device_cache; /* the same on a device other than the processor; NULL: none */
    mep_ring *ring;                 /* keys and values of other processes; attention is then of one head; NULL: none */
    int64_t longest;                /* positions that tables serve */
    mep_watch *watch;               /* of forward passes; NULL: none */

    float *bias_table;     /* host [heads, longest] */
    double *bias_gradient; /* [heads, length], training */
    double *bias_sums;     /* the same, host */
    double *bias_params;   /* host: gradients of the bias parameters */
    float *bias_into;      /* host: what they are added to */
    double *bias_scratch;  /* host: for its table */
    float *positions;      /* [longest, hidden] of sinusoidal */
    float *cosine, *sine;  /* [longest, rotary dims / 2] */
    int64_t rotary_dims;
    mep_matrix *weights; /* host [tensors]: those of products, as products take them: `values` in float32, copies in
                            bfloat16 (mep_session_refresh), of W^T and packed where the session decodes */

    int32_t *inputs, *targets;                /* [rows] tokens of the call */
    float *losses;                            /* [rows] */
    float *x_embed, *mean_embed, *rstd_embed; /* [rows, hidden], [rows]: input of the LayerNorm behind the embeddings */
    float **x;              /* host [layers + 1]: residual stream before each layer, and after the last */
    mep_layer_state *layer; /* host [layers] */
    mep_activation norm_final;
    float *mean_final, *rstd_final;
    float *logits;                  /* [logit_rows, vocab]: the output layer works in chunks of rows */
    mep_activation logits_gradient; /* the same in the session's type; aliases logits in float32 */
    int64_t logit_rows;

    /* training */
    float *dx;                                /* [rows, hidden]: gradient of the residual stream */
    mep_activation dx_copy, d_wide, d_narrow; /* in the session's type: dx, [rows, widest], [rows, hidden] */
    mep_gradients_fn final;                   /* called from the last layer to the first, or NULL */
    void *final_context;

    mep_session_block *blocks; /* every allocation, for freeing */
    int64_t block_count;
};

/* Session with a key/value cache, for generating: batch 1, calls of up to settings->length tokens, `tokens` in all. The
 * cache grows as tokens come and drops what can have no weight any more, or nothing where `whole` is set.
 * MEP_ERROR_UNSUPPORTED for more than 2^31 tokens with an encoding that must keep them all. */
mep_status mep_session_create_cached(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                     int64_t tokens, int whole);

/* The parameters from the model to the session's device, and back. Every public entry begins with the first; a training
 * loop updates them on the device. Both do nothing on the processor. */
mep_status mep_session_load(mep_session *session);
mep_status mep_session_store(mep_session *session);

/* Bring what derives from the parameters (bias table, weights as products take them) up to date. Called by every public
 * entry; a training loop calls it once after each optimizer step. */
mep_status mep_session_refresh(mep_session *session);

/* mep_session_losses with parameters as the last refresh found them. */
mep_status mep_session_score(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float *losses);

/* Report forward passes to `watch`, NULL: to nobody. Passes that are watched take rows in smaller pieces, without other
 * bits, and end with MEP_INTERRUPTED where a report stops them; a session with a cache is then of no more use. The
 * watch has to live until the session has another, or ends. */
void mep_session_set_watch(mep_session *session, mep_watch *watch);

/* Check the call's sizes and tokens, and set batch, length, rows. */
mep_status mep_session_begin(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens);

/* Logits [vocab] of the token that follows `length` more tokens of a cached session. */
mep_status mep_session_next(mep_session *session, int64_t length, const int32_t *tokens, float *logits);

/* One layer, x[layer] -> x[layer + 1]; with `inner` only what its backward pass needs (all but the last product). */
mep_status mep_layer_forward(mep_session *session, int64_t layer, int inner);

/* Forward, losses [rows] (host), and backward: gradients (a block like the model's values) become scale * gradient of
 * the sum of losses or, with accumulate, that is added to them. The first part of a step overwrites whatever they held,
 * which is quicker than setting them to 0 first. */
mep_status mep_session_train(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float scale, int accumulate, float *losses, float *gradients);

/* A session without what attention needs; tables serve `longest` positions, weights are packed where it decodes. */
mep_status mep_session_prepare(mep_session **session, mep_model *model, const mep_session_settings *settings,
                               int64_t longest, int decodes);

/* Its attention, of the given number of heads, for up to max_length keys. */
mep_status mep_session_add_attention(mep_session *session, int64_t heads, int64_t max_length);

/* Tell of gradients that are final, where someone wants to know. */
static inline void mep_session_gradients_final(const mep_session *session, int64_t first, int64_t end)
{
    if (session->final != NULL && end > first) session->final(session->final_context, first, end);
}

/* From dx at the output of the last layer (set by the loss) to gradients. */
mep_status mep_session_backward(mep_session *session, float *gradients);

/* A matrix of a product in the session's type; transposed as given, and always where the session decodes. */
static inline mep_matrix mep_session_weight(const mep_session *session, int64_t index, int transposed)
{
    mep_matrix weight = session->weights[index];
    if (!weight.packed) weight.transposed = transposed;
    return weight;
}

/* A parameter's float32 values, and its place in a block of gradients; NULL where index is -1: the model has none. */
static inline float *mep_session_values(const mep_session *session, int64_t index)
{
    return index >= 0 ? session->values + mep_tensor_offset(session->model, index) : NULL;
}

static inline float *mep_session_gradient(const mep_session *session, float *gradients, int64_t index)
{
    return index >= 0 ? gradients + mep_tensor_offset(session->model, index) : NULL;
}

/* Where the session computes. */
static inline mep_context mep_session_context(const mep_session *session)
{
    return (mep_context){session->settings.device, session->nn, session->state};
}

/* An activation as a matrix of `width` columns, from row `first`. */
static inline mep_matrix mep_activation_matrix(mep_activation x, int64_t first, int64_t width, int transposed)
{
    return (mep_matrix){(char *)x.data + first * width * mep_dtype_size(x.dtype), x.dtype, width, transposed, 0};
}

/* Channels q (0), k (1) or v (2) of a fused qkv activation as attention sees them. */
mep_tensor_view mep_qkv_view(const mep_session *session, mep_activation qkv, int which);

/* [rows, heads, head_dim] as attention sees it. */
mep_tensor_view mep_heads_view(const mep_session *session, mep_activation x);

#endif
