/* SPDX-License-Identifier: MIT */
/*
 * The backward pass: layers from the last to the first, each quoting the forward line that it differentiates.
 */
#include <string.h>

#include "base/error.h"
#include "bias/table.h"
#include "model/session.h"

/*
 * y[rows, n] = x[rows, k] W^T + b. Given dy: dx = dy W, dW += dy^T x, db += column sums of dy; W the layer's tensor
 * `which`, b the one behind it. Where x = gelu(gelu_input), dx becomes the gradient of gelu_input; NULL otherwise.
 */
static mep_status linear_backward(mep_session *s, mep_activation dy, int64_t n, mep_activation x, int64_t k,
                                  int64_t layer, int which, const void *gelu_input, mep_activation dx, float *gradients)
{
    int64_t weight = mep_layer_tensor(s->model, layer, which), bias = mep_layer_tensor(s->model, layer, which + 1);
    mep_gemm input = {.m = s->rows, .n = k, .k = n, .gelu_input = gelu_input};
    input.gelu_tanh = s->model->config.gelu_tanh;
    input.a = mep_activation_matrix(dy, 0, n, 0);
    input.b = mep_session_weight(s, weight, 0);
    input.c = mep_activation_matrix(dx, 0, k, 0);
    MEP_TRY(s->nn->gemm(s->state, &input));
    mep_gemm product = {.m = n, .n = k, .k = s->rows, .accumulate = s->accumulate};
    product.a = mep_activation_matrix(dy, 0, n, 1);
    product.b = mep_activation_matrix(x, 0, k, 0);
    product.c = (mep_matrix){gradients + mep_tensor_offset(s->model, weight), MEP_FLOAT32, k, 0, 0};
    MEP_TRY(s->nn->gemm(s->state, &product));
    if (bias >= 0) s->nn->column_sum(s->state, s->rows, n, dy, gradients + mep_tensor_offset(s->model, bias));
    return MEP_OK;
}

/* The gradient of the residual stream in the session's type. */
static mep_activation stream_gradient(mep_session *s)
{
    if (s->dx_copy.data != s->dx)
        s->nn->convert(s->state, s->rows * s->model->config.hidden_size, (mep_activation){s->dx, MEP_FLOAT32},
                       s->dx_copy);
    return s->dx_copy;
}

/* attended = attention(rotary(qkv)): from d_narrow to d_wide, a fused gradient of qkv. */
static mep_status attend_backward(mep_session *s, const mep_layer_state *l)
{
    const mep_model_config *c = &s->model->config;
    int64_t head_dim = mep_head_dim(c);
    const mep_attention_call call = {.batch = s->batch,
                                     .queries = s->length,
                                     .keys = s->length,
                                     .q = mep_qkv_view(s, l->qkv, 0),
                                     .k = mep_qkv_view(s, l->qkv, 1),
                                     .v = mep_qkv_view(s, l->qkv, 2),
                                     .out = mep_heads_view(s, l->attended),
                                     .lse = l->lse};
    const mep_attention_gradient gradient = {.dout = mep_heads_view(s, s->d_narrow),
                                             .dq = mep_qkv_view(s, s->d_wide, 0),
                                             .dk = mep_qkv_view(s, s->d_wide, 1),
                                             .dv = mep_qkv_view(s, s->d_wide, 2),
                                             .dtable = s->model->position_bias >= 0 ? s->bias_gradient : NULL};
    MEP_TRY(mep_attention_backward(s->attention, &call, &gradient));
    for (int which = 0; which < 2 && s->rotary_dims > 0; which++) {
        mep_activation part = {mep_qkv_view(s, s->d_wide, which).data, s->d_wide.dtype};
        s->nn->rotary_apply(s->state, s->rows, s->length, 0, c->num_attention_heads, s->rotary_dims, s->cosine, s->sine,
                            1, part, 3 * c->hidden_size, 3 * head_dim);
    }
    return MEP_OK;
}

/* y = LN(x): dx += gradient of x from d_narrow, that of y. */
static void norm_backward(mep_session *s, const float *x, int64_t weight, int64_t bias, const float *mean,
                          const float *rstd, float *gradients)
{
    s->nn->layer_norm_backward(s->state, s->rows, s->model->config.hidden_size, x, mep_session_values(s, weight), mean,
                               rstd, s->d_narrow, s->dx, mep_session_gradient(s, gradients, weight),
                               mep_session_gradient(s, gradients, bias));
}

/* x = LN(embedded): the gradient of embedded from dx. The stream behind the last layer is not needed any more. */
static float *embedding_norm_backward(mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    int64_t hidden = m->config.hidden_size;
    float *dx = s->x[m->config.num_hidden_layers];
    s->nn->clear(s->state, s->rows * hidden, dx);
    s->nn->layer_norm_backward(s->state, s->rows, hidden, s->x_embed, mep_session_values(s, m->embed_norm_weight),
                               s->mean_embed, s->rstd_embed, (mep_activation){s->dx, MEP_FLOAT32}, dx,
                               mep_session_gradient(s, gradients, m->embed_norm_weight),
                               mep_session_gradient(s, gradients, m->embed_norm_bias));
    return dx;
}

static mep_status layer_backward(mep_session *s, int64_t layer, float *gradients)
{
    const mep_model *m = s->model;
    const mep_layer_state *l = &s->layer[layer];
    int64_t hidden = m->config.hidden_size, wide = m->config.intermediate_size;
    int parallel = m->config.use_parallel_residual;
    if (s->settings.recompute) MEP_TRY(mep_layer_forward(s, layer, 1));
    /* x_next = x_mid + gelu(norm2 W_up^T + b) W_down^T + b, norm2 = LN2(x_mid), or LN2(x) where parallel */
    mep_activation dy = stream_gradient(s);
    MEP_TRY(linear_backward(s, dy, hidden, l->gelu, wide, layer, DOWN_WEIGHT, l->up.data, s->d_wide, gradients));
    MEP_TRY(linear_backward(s, s->d_wide, wide, l->norm2, hidden, layer, UP_WEIGHT, NULL, s->d_narrow, gradients));
    norm_backward(s, parallel ? s->x[layer] : l->x_mid, mep_layer_tensor(m, layer, LN2_WEIGHT),
                  mep_layer_tensor(m, layer, LN2_BIAS), l->mean2, l->rstd2, gradients);
    /* x_mid = x + attended W_dense^T + b, attended = attention(norm1 W_qkv^T + b), norm1 = LN1(x). Where parallel, what
     * LN2 added belongs to x, not to x_mid: dy is then what it was. */
    if (!parallel) dy = stream_gradient(s);
    MEP_TRY(linear_backward(s, dy, hidden, l->attended, hidden, layer, DENSE_WEIGHT, NULL, s->d_narrow, gradients));
    MEP_TRY(attend_backward(s, l));
    MEP_TRY(
        linear_backward(s, s->d_wide, 3 * hidden, l->norm1, hidden, layer, QKV_WEIGHT, NULL, s->d_narrow, gradients));
    norm_backward(s, s->x[layer], mep_layer_tensor(m, layer, LN1_WEIGHT), mep_layer_tensor(m, layer, LN1_BIAS),
                  l->mean1, l->rstd1, gradients);
    return MEP_OK;
}

/* b_h(d) = log sum_m w_m K_m,h(d): from the table's gradient, summed over layers, to the parameters'. */
static mep_status bias_backward(mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    mep_device device = s->settings.device;
    int64_t values = mep_bias_param_values(m->bias), bytes = values * (int64_t)sizeof *s->bias_into;
    int64_t table = m->config.num_attention_heads * s->length * (int64_t)sizeof *s->bias_sums;
    float *into = gradients + mep_tensor_offset(m, m->position_bias);
    memset(s->bias_params, 0, (size_t)values * sizeof *s->bias_params);
    if (s->bias_sums != s->bias_gradient) MEP_TRY(mep_device_read(device, s->bias_sums, s->bias_gradient, table));
    MEP_TRY(mep_bias_table_backward_with(m->bias, s->length, s->bias_sums, s->bias_params, s->bias_scratch));
    MEP_TRY(mep_device_read(device, s->bias_into, into, bytes));
    for (int64_t i = 0; i < values; i++) s->bias_into[i] += (float)s->bias_params[i];
    return mep_device_write(device, into, s->bias_into, bytes);
}

mep_status mep_session_backward(mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    int learned = m->position_bias >= 0;
    if (learned) /* as floats, two to a double */
        s->nn->clear(s->state, 2 * m->config.num_attention_heads * s->length, (float *)s->bias_gradient);
    for (int64_t l = m->config.num_hidden_layers - 1; l >= 0; l--) {
        MEP_TRY(layer_backward(s, l, gradients));
        mep_session_gradients_final(s, mep_layer_tensor(m, l, LN1_WEIGHT), mep_layer_tensor(m, l + 1, LN1_WEIGHT));
    }
    s->nn->embedding_backward(s->state, s->rows, s->length, m->config.hidden_size, s->inputs,
                              m->config.embedding_layer_norm ? embedding_norm_backward(s, gradients) : s->dx,
                              mep_session_gradient(s, gradients, m->embed_in),
                              mep_session_gradient(s, gradients, m->embed_positions));
    mep_session_gradients_final(s, 0, m->first_layer);
    if (!learned) return MEP_OK;
    MEP_TRY(bias_backward(s, gradients));
    mep_session_gradients_final(s, m->position_bias, m->count);
    return MEP_OK;
}
