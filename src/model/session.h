/* SPDX-License-Identifier: MIT */
/*
 * A session: the activations of a model for one batch size and length, on one device. Rows are batch * length tokens;
 * the residual stream is float32, activations between layers have the session's type.
 *
 * Arrays are in the memory of the session's device, except those marked "host", which are in host memory. On the CPU
 * the two are the same, and copies from one to the other cost nothing measurable.
 *
 * The passes are in forward_pass.h and train_pass.h.
 */
#ifndef MEP_MODEL_SESSION_H
#define MEP_MODEL_SESSION_H

#include "base/bf16.h"
#include "mep/attention.h"
#include "model/kv.h"
#include "model/model_internal.h"
#include "nn/network.h"

/* What one layer leaves for its backward pass. Without training, and with recomputation, all layers share one set. */
typedef struct mep_layer_state {
    float *x_mid;                                         /* [rows, hidden]: residual stream after attention */
    float *branch1, *branch2;                             /* [rows, hidden]: with post_norm, what the norms read */
    mep_activation norm1, qkv, attended, norm2, up, gelu; /* [rows, width]; mep_qkv_row has the order of qkv */
    mep_activation raw;                                   /* qkv before the norm of queries and keys */
    float *q_rstd, *k_rstd;                               /* [rows, heads] of that norm */
    float *mean1, *rstd1, *mean2, *rstd2;                 /* [rows] */
    float *lse;                                           /* [batch, heads, length] */
    float *content[3];                                    /* [rows, width]: the products of content.h; NULL: absent */
} mep_layer_state;

/* Rows first .. first + count - 1 of a pass. */
typedef struct mep_row_range {
    int64_t first, count;
} mep_row_range;

/* Called by a backward pass: the gradients of tensors first .. end - 1 are final. */
typedef void (*mep_gradients_fn)(void *context, int64_t first, int64_t end);

typedef struct mep_session_allocation {
    void *data;
    int64_t bytes;
    mep_device device;
} mep_session_allocation;

/* The tables of one rotation. */
typedef struct mep_rotary_table {
    int same_as;                    /* the entry of the position that has the tables; the others are zero */
    int64_t dims;                   /* channels of a head that are rotated */
    int64_t length;                 /* mep_rotary_effective_length of the text that they are for */
    float *cosine, *sine;           /* [longest, dims / 2] */
    float *host_cosine, *host_sine; /* host: the same */
} mep_rotary_table;

/* Tables of encodings that add to the embeddings or rotate queries and keys (rotary_tables.h). */
typedef struct mep_position_tables {
    float *added;             /* [longest, hidden] of sinusoidal */
    mep_rotary_table *rotary; /* host [entries of the position]; NULL: queries and keys are not rotated */
    double *frequency;        /* host [head_dim]: scratch */
} mep_position_tables;

/* Gradient of a position bias with parameters. */
typedef struct mep_bias_gradient {
    double *table;   /* [heads, length] */
    double *sums;    /* the same, host */
    double *params;  /* host: gradients of the parameters */
    float *into;     /* host: what they are added to */
    double *scratch; /* host */
} mep_bias_gradient;

/* What encodings that depend on the content need (content.h). NULL where the model does not. */
typedef struct mep_content_state {
    float *log_weights;                /* [heads, kernels] of the mixture */
    float *gradient[3];                /* [rows, width]: of a layer's products */
    mep_activation converted_gradient; /* the same of one product, in the session's type */
    double *dsink, *dbank;             /* of a layer */
    double *dlog_weights;              /* [heads, kernels], of all layers */
    double *dlog_kernels;              /* [heads, kernels, length], of all layers */
    double *dfire;                     /* [heads, MEP_BIAS_PIECES, 3], of all layers: see attention/fire.h */
} mep_content_state;

struct mep_session {
    mep_model *model;
    mep_session_settings settings;
    const mep_network *nn;
    mep_network_state *state;
    float *values;               /* all parameters: the model's own in host memory, otherwise a copy of them */
    float *bias_values;          /* host: those of the bias, read from the device; NULL in host memory */
    int64_t batch, length, rows; /* of the current call */
    mep_kv *kv;                  /* attention, and the keys and values that it sees */
    int64_t longest;             /* positions that the tables cover */
    int64_t text_length;         /* of the text that calls are parts of; 0: a call has a complete text */
    mep_watch *watch;            /* of forward passes; NULL: none */
    mep_matrix *weights; /* host [tensors]: the matrices of products as products read them: `values` in float32, copies
                            in bfloat16 (mep_session_refresh), of W^T and packed where the session decodes */
    mep_position_tables positions;
    mep_content_state content;

    int32_t *inputs, *targets;                /* [rows] tokens of the call */
    float *losses;                            /* [rows] */
    float *x_embed, *mean_embed, *rstd_embed; /* [rows, hidden], [rows]: input of the LayerNorm after the embeddings */
    float **x;              /* host [layers + 1]: residual stream before each layer, and after the last */
    mep_layer_state *layer; /* host [layers] */
    mep_activation norm_final;
    float *mean_final, *rstd_final;
    float *logits;                  /* [logit_rows, vocab]: the output layer works in chunks of rows */
    mep_activation logits_gradient; /* the same in the session's type; aliases logits in float32 */
    int64_t logit_rows;

    /* training */
    int accumulate;           /* add to the gradients of matrices; 0: overwrite them */
    float *dx;                /* [rows, hidden]: gradient of the residual stream */
    mep_activation dx_copy;   /* the same in the session's type */
    float *d_branch;          /* [rows, hidden]: with post_norm, the gradient of a branch before its norm */
    mep_activation d_wide;    /* [rows, widest activation] */
    mep_activation d_mlp;     /* [rows, intermediate_size], with SwiGLU */
    mep_activation d_narrow;  /* [rows, widest input of a norm or of the dense matrix] */
    mep_bias_gradient d_bias; /* NULLs where the bias does not learn */
    mep_gradients_fn final;   /* called from the last layer to the first, or NULL */
    void *final_context;

    mep_session_allocation *allocations; /* all of them, for freeing */
    int64_t allocation_count;
};

/* A session without keys and values: tables cover `longest` positions, and weights are packed where it decodes. */
mep_status mep_session_open(mep_session **session, mep_model *model, const mep_session_settings *settings,
                            int64_t longest, int decodes);

/* For its keys and values: settings of a text of up to `tokens` positions. */
mep_kv_settings mep_session_kv_settings(const mep_session *session, int64_t tokens);

/* A session with a key/value cache, for generating: batch 1, calls of up to settings->length tokens, `tokens` in total.
 * The cache grows with the text and drops what can have no weight any more, or nothing where keep_all is set.
 * MEP_ERROR_UNSUPPORTED for more than 2^31 tokens with an encoding that must keep them all. */
mep_status mep_session_create_cached(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                     int64_t tokens, int keep_all);

/* Copy the parameters from the model to the session's device, and back. Every public entry begins with the first; a
 * training loop updates them on the device. Both do nothing where the device's memory is host memory. */
mep_status mep_session_load(mep_session *session);
mep_status mep_session_store(mep_session *session);

/* Bring what derives from the parameters (bias table, weights as products read them) up to date. Called by every public
 * entry; a training loop calls it once after each optimizer step. */
mep_status mep_session_refresh(mep_session *session);

/* Report forward passes to `watch` (NULL: none). Watched passes take rows in smaller chunks, without changing a bit,
 * and end with MEP_INTERRUPTED where a report stops them; a session with a cache cannot be used after that. The watch
 * must live until the session has another one or is destroyed. */
void mep_session_set_watch(mep_session *session, mep_watch *watch);

/* MEP_ERROR_ARGUMENT where a token is not in the vocabulary. */
mep_status mep_session_check_tokens(const mep_session *session, int64_t count, const int32_t *tokens);

/* Check the sizes and tokens of a call, and set batch, length and rows. */
mep_status mep_session_begin(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens);

/* The matrix of a product in the session's type; transposed as given, and always where the session decodes. */
static inline mep_matrix mep_session_weight(const mep_session *session, int64_t index, int transposed)
{
    mep_matrix weight = session->weights[index];
    if (!weight.packed) weight.transposed = transposed;
    return weight;
}

/* A parameter's float32 values, and its location in a block of gradients; NULL where index is -1. */
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
    return (mep_matrix){.data = (char *)x.data + first * width * mep_dtype_size(x.dtype),
                        .dtype = x.dtype,
                        .stride = width,
                        .transposed = transposed};
}

/* Channels q (0), k (1) or v (2) of a fused qkv activation as attention reads them. */
mep_tensor_view mep_qkv_view(const mep_session *session, mep_activation qkv, int which);

/* [rows, heads, head_dim] as attention reads it. */
mep_tensor_view mep_heads_view(const mep_session *session, mep_activation x);

#endif
