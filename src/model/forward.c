/* SPDX-License-Identifier: MIT */
/*
 * The forward pass: embedding, layers, final norm, and the output layer in chunks of rows.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/session.h"

/* y[rows, n] = x[rows, k] W^T + bias, W [n, k] the tensor `weight`; adds to y when accumulate. */
static mep_status linear(mep_session *s, mep_activation x, int64_t k, int64_t weight, const float *bias, void *y,
                         mep_dtype y_dtype, int64_t n, int accumulate)
{
    mep_gemm g = {.m = s->rows, .n = n, .k = k, .bias = bias, .accumulate = accumulate};
    g.a = mep_activation_matrix(x, 0, k, 0);
    g.b = mep_session_weight(s, weight, 1);
    g.c = (mep_matrix){y, y_dtype, n, 0};
    return mep_gemm_run(&g);
}

/* Copy the call's keys and values behind those of earlier calls; the views then cover all of them. */
static void extend_cache(mep_session *s, int64_t layer, mep_tensor_view *k, mep_tensor_view *v)
{
    const mep_model_config *c = &s->model->config;
    int64_t heads = c->num_attention_heads, head_dim = mep_head_dim(c), size = mep_dtype_size(s->settings.dtype);
    mep_tensor_view *from[] = {k, v};
    mep_activation to[] = {s->cache.keys, s->cache.values};
    for (int i = 0; i < 2; i++) {
        char *base = (char *)to[i].data + layer * s->cache.capacity * c->hidden_size * size;
        for (int64_t h = 0; h < heads; h++)
            for (int64_t t = 0; t < s->length; t++)
                memcpy(base + (h * s->cache.capacity + s->position + t) * head_dim * size,
                       (char *)from[i]->data + (h * from[i]->head_stride + t * from[i]->token_stride) * size,
                       (size_t)(head_dim * size));
        *from[i] = (mep_tensor_view){base, 0, s->cache.capacity * head_dim, head_dim};
    }
}

/* attended = attention of the fused qkv, after rotary where the model has it. */
static mep_status attend(mep_session *s, int64_t layer)
{
    const mep_model_config *c = &s->model->config;
    mep_layer_state *l = &s->layer[layer];
    int64_t head_dim = mep_head_dim(c);
    for (int which = 0; which < 2 && s->rotary_dims > 0; which++) {
        mep_activation part = {mep_qkv_view(s, l->qkv, which).data, l->qkv.dtype};
        mep_rotary_apply(s->rows, s->length, s->position, c->num_attention_heads, s->rotary_dims, s->cosine, s->sine, 0,
                         part, 3 * c->hidden_size, 3 * head_dim);
    }
    mep_tensor_view q = mep_qkv_view(s, l->qkv, 0), k = mep_qkv_view(s, l->qkv, 1), v = mep_qkv_view(s, l->qkv, 2);
    if (s->cache.capacity > 0) extend_cache(s, layer, &k, &v);
    return mep_attention_forward(s->attention, s->batch, s->length, s->position + s->length, q, k, v,
                                 mep_heads_view(s, l->attended), l->lse);
}

mep_status mep_layer_forward(mep_session *s, int64_t layer, int inner)
{
    const mep_model_config *c = &s->model->config;
    mep_layer_state *l = &s->layer[layer];
    int64_t rows = s->rows, hidden = c->hidden_size, wide = c->intermediate_size,
            first = mep_layer_tensor(s->model, layer, 0);
    float eps = (float)c->layer_norm_eps, *x = s->x[layer], *next = s->x[layer + 1];
    size_t stream = (size_t)(rows * hidden) * sizeof *x;

    mep_layer_norm_forward(rows, hidden, x, mep_session_values(s, first + LN1_WEIGHT),
                           mep_session_values(s, first + LN1_BIAS), eps, l->norm1, l->mean1, l->rstd1);
    MEP_TRY(linear(s, l->norm1, hidden, first + QKV_WEIGHT, mep_session_values(s, first + QKV_BIAS), l->qkv.data,
                   l->qkv.dtype, 3 * hidden, 0));
    MEP_TRY(attend(s, layer));
    if (l->x_mid != x) memcpy(l->x_mid, x, stream);
    MEP_TRY(linear(s, l->attended, hidden, first + DENSE_WEIGHT, mep_session_values(s, first + DENSE_BIAS), l->x_mid,
                   MEP_FLOAT32, hidden, 1));

    mep_layer_norm_forward(rows, hidden, l->x_mid, mep_session_values(s, first + LN2_WEIGHT),
                           mep_session_values(s, first + LN2_BIAS), eps, l->norm2, l->mean2, l->rstd2);
    MEP_TRY(linear(s, l->norm2, hidden, first + UP_WEIGHT, mep_session_values(s, first + UP_BIAS), l->up.data,
                   l->up.dtype, wide, 0));
    mep_gelu_forward(rows * wide, l->up, l->gelu);
    if (inner) return MEP_OK;
    if (next != l->x_mid) memcpy(next, l->x_mid, stream);
    return linear(s, l->gelu, wide, first + DOWN_WEIGHT, mep_session_values(s, first + DOWN_BIAS), next, MEP_FLOAT32,
                  hidden, 1);
}

/* tokens -> norm_final. With a cache, the tokens continue those before them. */
static mep_status run_layers(mep_session *s, const int32_t *tokens)
{
    const mep_model *m = s->model;
    const mep_model_config *c = &m->config;
    s->position = s->cache.capacity > 0 ? s->cache.length : 0;
    if (s->cache.capacity > 0 && s->position + s->length > s->cache.capacity)
        return mep_fail(MEP_ERROR_ARGUMENT, "the key/value cache holds %lld tokens and is full",
                        (long long)s->cache.capacity);
    const float *positions = m->embed_positions >= 0 ? mep_session_values(s, m->embed_positions) : s->positions;
    if (positions != NULL) positions += s->position * c->hidden_size;
    mep_embedding_forward(s->rows, s->length, c->hidden_size, tokens, mep_session_values(s, m->embed_in), positions,
                          s->x[0]);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) MEP_TRY(mep_layer_forward(s, l, 0));
    mep_layer_norm_forward(s->rows, c->hidden_size, s->x[c->num_hidden_layers],
                           mep_session_values(s, m->final_norm_weight), mep_session_values(s, m->final_norm_bias),
                           (float)c->layer_norm_eps, s->norm_final, s->mean_final, s->rstd_final);
    s->cache.length += s->cache.capacity > 0 ? s->length : 0;
    return MEP_OK;
}

/* logits [count, vocab] of rows from `first`. */
static mep_status output(mep_session *s, int64_t first, int64_t count, float *logits)
{
    const mep_model_config *c = &s->model->config;
    mep_gemm g = {.m = count, .n = c->vocab_size, .k = c->hidden_size};
    g.a = mep_activation_matrix(s->norm_final, first, c->hidden_size, 0);
    g.b = mep_session_weight(s, s->model->embed_out, 1);
    g.c = (mep_matrix){logits, MEP_FLOAT32, c->vocab_size, 0};
    return mep_gemm_run(&g);
}

mep_status mep_session_logits(mep_session *s, int64_t batch, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_TRY(mep_session_begin(s, batch, length, tokens));
    MEP_TRY(mep_session_refresh(s));
    MEP_TRY(run_layers(s, tokens));
    return output(s, 0, s->rows, logits);
}

mep_status mep_session_next(mep_session *s, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_TRY(mep_session_begin(s, 1, length, tokens));
    MEP_TRY(run_layers(s, tokens));
    return output(s, s->rows - 1, 1, logits);
}

static mep_status check_targets(const mep_session *s, const int32_t *targets)
{
    for (int64_t i = 0; i < s->rows; i++)
        if (targets[i] < 0 || targets[i] >= s->model->config.vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT, "target token %d is not in the model's vocabulary of %lld",
                            (int)targets[i], (long long)s->model->config.vocab_size);
    return MEP_OK;
}

mep_status mep_session_losses(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                              const int32_t *targets, float *losses)
{
    MEP_TRY(mep_session_begin(s, batch, length, inputs));
    MEP_TRY(check_targets(s, targets));
    MEP_TRY(mep_session_refresh(s));
    MEP_TRY(run_layers(s, inputs));
    for (int64_t first = 0; first < s->rows; first += s->logit_rows) {
        int64_t count = s->rows - first < s->logit_rows ? s->rows - first : s->logit_rows;
        MEP_TRY(output(s, first, count, s->logits));
        mep_cross_entropy(count, s->model->config.vocab_size, s->logits, targets + first, 0, losses + first);
    }
    return MEP_OK;
}

/* Loss and backward pass of the output layer for a chunk of rows: logits = norm_final W^T. Leaves the gradient of
 * norm_final in d_narrow. */
static mep_status output_train(mep_session *s, int64_t first, int64_t count, const int32_t *targets, float scale,
                               float *losses, float *gradients)
{
    const mep_model *m = s->model;
    int64_t vocab = m->config.vocab_size, hidden = m->config.hidden_size;
    MEP_TRY(output(s, first, count, s->logits));
    mep_cross_entropy(count, vocab, s->logits, targets + first, scale, losses + first);
    if (s->logits_gradient.data != s->logits)
        mep_convert(count * vocab, (mep_activation){s->logits, MEP_FLOAT32}, s->logits_gradient);
    mep_gemm dx = {.m = count, .n = hidden, .k = vocab};
    dx.a = mep_activation_matrix(s->logits_gradient, 0, vocab, 0);
    dx.b = mep_session_weight(s, m->embed_out, 0);
    dx.c = mep_activation_matrix(s->d_narrow, first, hidden, 0);
    MEP_TRY(mep_gemm_run(&dx));
    mep_gemm dw = {.m = vocab, .n = hidden, .k = count, .accumulate = 1};
    dw.a = mep_activation_matrix(s->logits_gradient, 0, vocab, 1);
    dw.b = mep_activation_matrix(s->norm_final, first, hidden, 0);
    dw.c = (mep_matrix){gradients + mep_tensor_offset(m, m->embed_out), MEP_FLOAT32, hidden, 0};
    return mep_gemm_run(&dw);
}

mep_status mep_session_train(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float scale, float *losses, float *gradients)
{
    const mep_model *m = s->model;
    MEP_TRY(mep_session_begin(s, batch, length, inputs));
    MEP_TRY(check_targets(s, targets));
    MEP_TRY(run_layers(s, inputs));
    for (int64_t first = 0; first < s->rows; first += s->logit_rows) {
        int64_t count = s->rows - first < s->logit_rows ? s->rows - first : s->logit_rows;
        MEP_TRY(output_train(s, first, count, targets, scale, losses, gradients));
    }
    memset(s->dx, 0, (size_t)(s->rows * m->config.hidden_size) * sizeof *s->dx);
    mep_layer_norm_backward(s->rows, m->config.hidden_size, s->x[m->config.num_hidden_layers],
                            mep_session_values(s, m->final_norm_weight), s->mean_final, s->rstd_final, s->d_narrow,
                            s->dx, gradients + mep_tensor_offset(m, m->final_norm_weight),
                            gradients + mep_tensor_offset(m, m->final_norm_bias));
    return mep_session_backward(s, inputs, gradients);
}
