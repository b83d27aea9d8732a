/* SPDX-License-Identifier: MIT */
/*
 * The training pass: the forward pass, the output layer with its losses and gradients in chunks of rows, then the
 * blocks from the last to the first, the embeddings and the position bias.
 */
#include "model/train_pass.h"

#include <string.h>

#include "base/assertion.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "bias/table.h"
#include "model/block.h"
#include "model/content_terms.h"
#include "model/forward_pass.h"

/* Report gradients that are final, where the caller wants to know. */
static void report_final(const mep_session *s, mep_tensor_range range)
{
    if (s->final != NULL && range.end > range.first) s->final(s->final_context, range.first, range.end);
}

/* Set to zero what the pass adds to instead of overwriting it: everything except the matrices of products. */
static void clear_gradients(const mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    for (int64_t t = 0; t < m->count; t++)
        if (t == m->first[EMBED_IN] || !mep_tensor_multiplies(m, t))
            s->nn->clear(s->state, m->tensors[t].size, mep_session_gradient(s, gradients, t));
}

/* logits = norm_final W^T for a chunk of rows: losses, the gradient of W, and that of norm_final in d_narrow. */
static mep_status output_train(mep_session *s, int64_t first, int64_t count, float scale, float *gradients)
{
    const mep_model *m = s->model;
    int64_t vocab = m->config.vocab_size, hidden = m->config.hidden_size, weight = m->first[EMBED_OUT];
    MEP_TRY(mep_run_output(s, first, count, s->logits));
    s->nn->cross_entropy(s->state, &(mep_cross_entropy_call){.rows = count,
                                                             .vocab = vocab,
                                                             .logits = s->logits,
                                                             .targets = s->targets + first,
                                                             .scale = scale,
                                                             .gradient = s->logits_gradient,
                                                             .losses = s->losses + first});
    const mep_gemm dx = {.m = count,
                         .n = hidden,
                         .k = vocab,
                         .a = mep_activation_matrix(s->logits_gradient, 0, vocab, 0),
                         .b = mep_session_weight(s, weight, 0),
                         .c = mep_activation_matrix(s->d_narrow, first, hidden, 0)};
    MEP_TRY(s->nn->gemm(s->state, &dx));
    const mep_activation dw = {mep_session_gradient(s, gradients, weight), MEP_FLOAT32};
    const mep_gemm product = {.m = vocab,
                              .n = hidden,
                              .k = count,
                              .accumulate = s->accumulate || first > 0 || m->config.tie_word_embeddings,
                              .a = mep_activation_matrix(s->logits_gradient, 0, vocab, 1),
                              .b = mep_activation_matrix(s->norm_final, first, hidden, 0),
                              .c = mep_activation_matrix(dw, 0, hidden, 0)};
    return s->nn->gemm(s->state, &product);
}

/* From losses to dx at the output of the last block. */
static mep_status output_backward(mep_session *s, float scale, float *gradients)
{
    const mep_model_config *c = &s->model->config;
    const mep_norm_state norm = mep_norm_final(s);
    for (int64_t first = 0; first < s->rows; first += s->logit_rows)
        MEP_TRY(output_train(s, first, min_i64(s->rows - first, s->logit_rows), scale, gradients));
    s->nn->clear(s->state, s->rows * c->hidden_size, s->dx);
    mep_normalize_backward(s, s->x[c->num_hidden_layers], &norm, s->d_narrow, s->dx, gradients);
    report_final(s, mep_section_range(s->model, SECTION_OUTPUT));
    return MEP_OK;
}

static mep_status blocks_backward(mep_session *s, float *gradients)
{
    const mep_model_config *c = &s->model->config;
    if (s->d_bias.table != NULL) /* as floats, two to a double */
        s->nn->clear(s->state, 2 * c->num_attention_heads * s->length, (float *)s->d_bias.table);
    mep_content_clear(s);
    for (int64_t l = c->num_hidden_layers - 1; l >= 0; l--) {
        MEP_TRY(mep_block_backward(s, l, gradients));
        report_final(s, mep_layer_range(s->model, l));
    }
    return MEP_OK;
}

/* x[0] = norm(embedded): the gradient of embedded from dx, in the memory of the stream after the last layer, which is
 * no longer needed. */
static float *embedding_norm_backward(mep_session *s, float *gradients)
{
    const mep_model_config *c = &s->model->config;
    const mep_norm_state norm = mep_norm_embed(s);
    float *dx = s->x[c->num_hidden_layers];
    s->nn->clear(s->state, s->rows * c->hidden_size, dx);
    mep_normalize_backward(s, s->x_embed, &norm, (mep_activation){s->dx, MEP_FLOAT32}, dx, gradients);
    return dx;
}

static void embedding_backward(mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    const float *dx = m->config.embedding_layer_norm ? embedding_norm_backward(s, gradients) : s->dx;
    const mep_embedding e = {
        .count = s->rows, .length = s->length, .width = m->config.hidden_size, .tokens = s->inputs};
    s->nn->embedding_backward(s->state, &e, dx, mep_session_gradient(s, gradients, m->first[EMBED_IN]),
                              mep_session_gradient(s, gradients, m->first[EMBED_POSITIONS]));
    report_final(s, mep_section_range(m, SECTION_INPUT));
}

/* b_h(d) = log sum_m w_m K_m,h(d): from the gradient of the table, summed over layers, to that of the parameters. */
static mep_status bias_backward(mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    const mep_bias_gradient *g = &s->d_bias;
    mep_device device = s->settings.device;
    int64_t values = mep_bias_param_values(m->bias), bytes = values * (int64_t)sizeof *g->into;
    int64_t table = m->config.num_attention_heads * s->length * (int64_t)sizeof *g->sums;
    float *into = mep_session_gradient(s, gradients, m->first[POSITION_BIAS]);
    memset(g->params, 0, (size_t)values * sizeof *g->params);
    if (g->sums != g->table) MEP_TRY(mep_device_read(device, g->sums, g->table, table));
    MEP_TRY(mep_bias_table_backward_with(m->bias, s->length, g->sums, g->params, g->scratch));
    MEP_TRY(mep_content_bias_backward(s, g->params, g->scratch));
    MEP_TRY(mep_device_read(device, g->into, into, bytes));
    for (int64_t i = 0; i < values; i++) g->into[i] += (float)g->params[i];
    MEP_TRY(mep_device_write(device, into, g->into, bytes));
    report_final(s, mep_section_range(m, SECTION_POSITION));
    return MEP_OK;
}

mep_status mep_session_train(mep_session *s, const mep_train_batch *b, float *losses, float *gradients)
{
    MEP_ASSERT(s->settings.training && s->kv->functions->attend_backward != NULL);
    s->accumulate = b->accumulate;
    if (!b->accumulate) clear_gradients(s, gradients);
    MEP_TRY(mep_session_begin(s, b->batch, b->length, b->inputs));
    MEP_TRY(mep_write_targets(s, b->targets));
    MEP_TRY(s->nn->embedding_order(s->state, s->rows, b->inputs));
    MEP_TRY(mep_run_layers(s, b->inputs));
    MEP_TRY(output_backward(s, b->scale, gradients));
    MEP_TRY(blocks_backward(s, gradients));
    embedding_backward(s, gradients);
    if (s->d_bias.table != NULL) MEP_TRY(bias_backward(s, gradients));
    return mep_read_losses(s, losses);
}
