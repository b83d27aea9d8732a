/* SPDX-License-Identifier: MIT */
/*
 * Gates, profiles, mixture weights and scaled queries of a block.
 */
#include "model/content_terms.h"

#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/session_memory.h"

/* The products: [rows, width] = norm1 W^T + bias. */
enum { GATE, PROFILES, MIXTURE, PRODUCTS };

static const mep_tensor_kind matrices[PRODUCTS] = {
    [GATE] = FORGET_WEIGHT, [PROFILES] = PROFILES_WEIGHT, [MIXTURE] = WEIGHTS_QUERY};

static int64_t matrix_of(const mep_session *s, int64_t layer, int product)
{
    return mep_tensor_index(s->model, matrices[product], layer);
}

/* The widest output of a product in any layer; 0: no layer has it. */
static int64_t width_of(const mep_session *s, int product)
{
    const mep_model *m = s->model;
    int64_t widest = 0;
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        int64_t index = matrix_of(s, l, product);
        if (index >= 0) widest = max_i64(widest, m->tensors[index].shape[0]);
    }
    return widest;
}

/* ---- Memory ---- */

mep_status mep_content_allocate_layer(mep_session *s, mep_layer_state *l, int64_t rows)
{
    for (int i = 0; i < PRODUCTS; i++) {
        int64_t width = width_of(s, i);
        if (width > 0) MEP_TRY(mep_session_floats(s, &l->content[i], rows, width));
    }
    return MEP_OK;
}

static mep_status doubles(mep_session *s, double **pointer, int64_t count, int64_t width)
{
    return mep_session_host(s, pointer, count, width, sizeof **pointer);
}

mep_status mep_content_allocate(mep_session *s)
{
    const mep_model *m = s->model;
    mep_content_state *c = &s->content;
    int64_t rows = s->settings.batch * s->settings.length, heads = m->config.num_attention_heads, widest = 0;
    int64_t kernels = width_of(s, MIXTURE) > 0 ? mep_bias_kernels(m->bias) : 0, bank = 0;
    if (!m->content) return MEP_OK;
    if (kernels > 0) MEP_TRY(mep_session_floats(s, &c->log_weights, heads, kernels));
    if (!s->settings.training) return MEP_OK;
    for (int i = 0; i < PRODUCTS; i++) {
        int64_t width = width_of(s, i);
        if (width > 0) MEP_TRY(mep_session_floats(s, &c->gradient[i], rows, width));
        widest = max_i64(widest, width);
    }
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        int64_t index = mep_tensor_index(m, PROFILES_BANK, l);
        if (index >= 0) bank = max_i64(bank, m->tensors[index].size);
    }
    if (widest > 0) MEP_TRY(mep_session_activation(s, &c->converted_gradient, rows, widest));
    MEP_TRY(doubles(s, &c->dsink, heads, 1));
    if (bank > 0) MEP_TRY(doubles(s, &c->dbank, bank, 1));
    if (mep_bias_threshold(m->bias) < INT64_MAX) MEP_TRY(doubles(s, &c->dfire, 3 * heads, MEP_BIAS_PIECES));
    if (kernels == 0 || m->first[POSITION_BIAS] < 0) return MEP_OK;
    MEP_TRY(doubles(s, &c->dlog_weights, heads, kernels));
    return doubles(s, &c->dlog_kernels, heads * kernels, s->settings.length);
}

void mep_content_refresh(mep_session *s)
{
    if (s->content.log_weights != NULL) mep_bias_log_weights(s->model->bias, s->content.log_weights);
}

/* ---- Forward ---- */

/* What is added to a product: the bias of a gate, the logarithms of a mixture's weights. */
static const float *added(const mep_session *s, int64_t layer, int product)
{
    if (product == GATE) return mep_session_values(s, mep_tensor_index(s->model, FORGET_BIAS, layer));
    return product == MIXTURE ? s->content.log_weights : NULL;
}

mep_status mep_content_forward(mep_session *s, int64_t layer, mep_row_range r)
{
    int64_t hidden = s->model->config.hidden_size;
    for (int i = 0; i < PRODUCTS; i++) {
        int64_t index = matrix_of(s, layer, i);
        if (index < 0) continue;
        int64_t width = s->model->tensors[index].shape[0];
        const mep_activation out = {s->layer[layer].content[i], MEP_FLOAT32};
        const mep_gemm product = {.m = r.count,
                                  .n = width,
                                  .k = hidden,
                                  .bias = added(s, layer, i),
                                  .a = mep_activation_matrix(s->layer[layer].norm1, r.first, hidden, 0),
                                  .b = mep_session_weight(s, index, 1),
                                  .c = mep_activation_matrix(out, r.first, width, 0)};
        MEP_TRY(s->nn->gemm(s->state, &product));
    }
    return MEP_OK;
}

/* By what the query of a head at a position is multiplied. */
static float scale_at(const mep_model *m, int64_t layer, const float *scale, int64_t head, int64_t position)
{
    const mep_position_entry *e = mep_layer_position(m, layer);
    double logarithm = log((double)position + 1);
    if (e->scale == MEP_SCALE_SSMAX) return (float)((double)scale[head] * logarithm);
    int64_t length = e->logn > 0 ? e->logn : m->config.max_position_embeddings;
    return (float)fmax(1, logarithm / log((double)length));
}

double mep_content_largest_scale(const mep_model *m, int64_t layer, int64_t head, int64_t tokens)
{
    if (mep_layer_position(m, layer)->scale == MEP_SCALE_NONE) return 1;
    const float *scale = mep_tensor_values(m, SSMAX_SCALE, layer); /* the magnitude does not fall with the position */
    return fabs((double)scale_at(m, layer, scale, head, max_i64(tokens, 1) - 1));
}

/* A row of head_dim channels times `factor`; returns the sum of row * other before that, where `other` is not NULL. */
static double scale_row(mep_dtype dtype, void *row, const void *other, int64_t channels, float factor)
{
    double sum = 0;
    for (int64_t i = 0; i < channels; i++) {
        float x = dtype == MEP_FLOAT32 ? ((float *)row)[i] : mep_bf16_to_float(((mep_bf16 *)row)[i]);
        if (other != NULL)
            sum += (double)x * (double)(dtype == MEP_FLOAT32 ? ((const float *)other)[i]
                                                             : mep_bf16_to_float(((const mep_bf16 *)other)[i]));
        if (dtype == MEP_FLOAT32)
            ((float *)row)[i] = x * factor;
        else
            ((mep_bf16 *)row)[i] = mep_bf16_from_float(x * factor);
    }
    return sum;
}

static void *row_at(const mep_session *s, const mep_tensor_view *view, int64_t n, int64_t head)
{
    int64_t at = n / s->length * view->batch_stride + head * view->head_stride + n % s->length * view->token_stride;
    return (char *)view->data + at * mep_dtype_size(s->settings.dtype);
}

void mep_content_scale_queries(mep_session *s, int64_t layer)
{
    const mep_model_config *c = &s->model->config;
    const mep_tensor_view q = mep_qkv_view(s, s->layer[layer].qkv, 0);
    const float *scale = mep_session_values(s, mep_tensor_index(s->model, SSMAX_SCALE, layer));
    if (mep_layer_position(s->model, layer)->scale == MEP_SCALE_NONE) return;
#pragma omp parallel for
    for (int64_t n = 0; n < s->rows; n++)
        for (int64_t h = 0; h < c->num_attention_heads; h++)
            scale_row(s->settings.dtype, row_at(s, &q, n, h), NULL, mep_head_dim(c),
                      scale_at(s->model, layer, scale, h, mep_kv_position(s->kv, n / s->length) + n % s->length));
}

/* A [rows, heads, width] array of float32 as attention reads it. */
static mep_tensor_view float_view(const mep_session *s, float *data, int64_t columns)
{
    return (mep_tensor_view){.data = data,
                             .batch_stride = s->length * columns,
                             .head_stride = columns / s->model->config.num_attention_heads,
                             .token_stride = columns};
}

/* The view of a product of the layer; empty where the layer does not have it. */
static mep_tensor_view product_view(const mep_session *s, int64_t layer, int product, float *data)
{
    int64_t index = matrix_of(s, layer, product);
    if (index < 0) return (mep_tensor_view){.data = NULL};
    return float_view(s, data, s->model->tensors[index].shape[0]);
}

void mep_content_call(const mep_session *s, int64_t layer, mep_kv_call *call)
{
    float *const *data = s->layer[layer].content;
    call->gate_logits = matrix_of(s, layer, GATE) >= 0 ? data[GATE] : NULL;
    call->profiles = product_view(s, layer, PROFILES, data[PROFILES]);
    call->mixture = product_view(s, layer, MIXTURE, data[MIXTURE]);
}

/* ---- Backward ---- */

void mep_content_clear(mep_session *s)
{
    const mep_content_state *c = &s->content;
    int64_t heads = s->model->config.num_attention_heads;
    if (c->dfire != NULL) memset(c->dfire, 0, (size_t)(3 * heads * MEP_BIAS_PIECES) * sizeof *c->dfire);
    if (c->dlog_kernels == NULL) return;
    int64_t kernels = heads * mep_bias_kernels(s->model->bias);
    memset(c->dlog_weights, 0, (size_t)kernels * sizeof *c->dlog_weights);
    memset(c->dlog_kernels, 0, (size_t)(kernels * s->length) * sizeof *c->dlog_kernels);
}

void mep_content_gradient(mep_session *s, int64_t layer, mep_kv_gradient *g)
{
    mep_content_state *c = &s->content;
    int64_t bank = mep_tensor_index(s->model, PROFILES_BANK, layer);
    g->fire = c->dfire;
    g->gate_logits = matrix_of(s, layer, GATE) >= 0 ? c->gradient[GATE] : NULL;
    g->attention.dprofiles = product_view(s, layer, PROFILES, c->gradient[PROFILES]);
    g->attention.dmixture = product_view(s, layer, MIXTURE, c->gradient[MIXTURE]);
    if (matrix_of(s, layer, MIXTURE) >= 0) {
        g->attention.dlog_kernels = c->dlog_kernels;
        g->attention.dtable = NULL;
    }
    if (mep_layer_position(s->model, layer)->kind != MEP_POSITION_BIAS) g->attention.dtable = NULL;
    if (mep_tensor_index(s->model, SINK, layer) >= 0) {
        g->attention.dsink = c->dsink;
        memset(c->dsink, 0, (size_t)s->model->config.num_attention_heads * sizeof *c->dsink);
    }
    if (bank < 0) return;
    g->attention.dbank = c->dbank;
    memset(c->dbank, 0, (size_t)s->model->tensors[bank].size * sizeof *c->dbank);
}

/* A parameter's gradient += values in float64. */
static void add_gradient(const mep_session *s, int64_t index, const double *values, float *gradients)
{
    float *to = mep_session_gradient(s, gradients, index);
    for (int64_t i = 0; index >= 0 && i < s->model->tensors[index].size; i++) to[i] += (float)values[i];
}

/* q' = q f: dq = dq' f, and f = s log(p + 1): ds += dq' . q log(p + 1) = dq' . q' / s. */
static void scale_backward(mep_session *s, int64_t layer, mep_tensor_view dq, float *gradients)
{
    const mep_model_config *c = &s->model->config;
    const mep_tensor_view q = mep_qkv_view(s, s->layer[layer].qkv, 0);
    int64_t index = mep_tensor_index(s->model, SSMAX_SCALE, layer);
    const float *scale = mep_session_values(s, index);
    float *dscale = mep_session_gradient(s, gradients, index);
#pragma omp parallel for
    for (int64_t h = 0; h < c->num_attention_heads; h++) {
        double sum = 0;
        for (int64_t n = 0; n < s->rows; n++)
            sum += scale_row(s->settings.dtype, row_at(s, &dq, n, h), row_at(s, &q, n, h), mep_head_dim(c),
                             scale_at(s->model, layer, scale, h, n % s->length));
        if (dscale != NULL && scale[h] != 0) dscale[h] += (float)(sum / (double)scale[h]);
    }
}

/* The mixture's logits are log w + W x: the gradient of log w is the sum over rows. */
static void add_log_weights(mep_session *s, int64_t layer)
{
    int64_t width = s->model->tensors[matrix_of(s, layer, MIXTURE)].shape[0];
    const float *gradient = s->content.gradient[MIXTURE];
#pragma omp parallel for
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t n = 0; n < s->rows; n++) sum += (double)gradient[n * width + i];
        s->content.dlog_weights[i] += sum;
    }
}

void mep_content_attended(mep_session *s, int64_t layer, mep_tensor_view dq, float *gradients)
{
    const mep_model *m = s->model;
    add_gradient(s, mep_tensor_index(m, SINK, layer), s->content.dsink, gradients);
    add_gradient(s, mep_tensor_index(m, PROFILES_BANK, layer), s->content.dbank, gradients);
    if (matrix_of(s, layer, MIXTURE) >= 0 && s->content.dlog_weights != NULL) add_log_weights(s, layer);
    if (mep_layer_position(m, layer)->scale != MEP_SCALE_NONE) scale_backward(s, layer, dq, gradients);
}

mep_status mep_content_backward(mep_session *s, int64_t layer, float *gradients)
{
    int64_t hidden = s->model->config.hidden_size;
    for (int i = 0; i < PRODUCTS; i++) {
        int64_t index = matrix_of(s, layer, i);
        if (index < 0) continue;
        int64_t width = s->model->tensors[index].shape[0];
        mep_activation dy = {s->content.gradient[i], MEP_FLOAT32};
        if (i == GATE && mep_tensor_index(s->model, FORGET_BIAS, layer) >= 0)
            s->nn->column_sum(s->state, s->rows, width, dy,
                              mep_session_gradient(s, gradients, mep_tensor_index(s->model, FORGET_BIAS, layer)));
        if (s->settings.dtype != MEP_FLOAT32) {
            s->nn->convert(s->state, s->rows * width, dy, s->content.converted_gradient);
            dy = s->content.converted_gradient;
        }
        const mep_gemm input = {.m = s->rows,
                                .n = hidden,
                                .k = width,
                                .accumulate = 1,
                                .a = mep_activation_matrix(dy, 0, width, 0),
                                .b = mep_session_weight(s, index, 0),
                                .c = mep_activation_matrix(s->d_narrow, 0, hidden, 0)};
        MEP_TRY(s->nn->gemm(s->state, &input));
        const mep_activation dw = {mep_session_gradient(s, gradients, index), MEP_FLOAT32};
        const mep_gemm product = {.m = width,
                                  .n = hidden,
                                  .k = s->rows,
                                  .accumulate = s->accumulate,
                                  .a = mep_activation_matrix(dy, 0, width, 1),
                                  .b = mep_activation_matrix(s->layer[layer].norm1, 0, hidden, 0),
                                  .c = mep_activation_matrix(dw, 0, hidden, 0)};
        MEP_TRY(s->nn->gemm(s->state, &product));
    }
    return MEP_OK;
}

mep_status mep_content_bias_backward(mep_session *s, double *dparams, double *scratch)
{
    const mep_content_state *c = &s->content;
    if (c->dfire != NULL) mep_bias_pieces_backward(s->model->bias, c->dfire, dparams);
    if (c->dlog_kernels == NULL) return MEP_OK;
    return mep_bias_kernel_tables_backward(s->model->bias, s->length, c->dlog_kernels, c->dlog_weights, dparams,
                                           scratch);
}
