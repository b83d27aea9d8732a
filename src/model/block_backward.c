/* SPDX-License-Identifier: MIT */
/*
 * The backward pass of a block. Each step quotes the forward line that it differentiates.
 */
#include "base/error.h"
#include "model/block.h"
#include "model/content_terms.h"
#include "model/rotary_tables.h"

void mep_normalize_backward(const mep_session *s, const float *x, const mep_norm_state *norm, mep_activation dy,
                            float *dx, float *gradients)
{
    const mep_layer_norm rows = {.rows = s->rows,
                                 .width = s->model->config.hidden_size,
                                 .x = x,
                                 .weight = mep_session_values(s, norm->weight),
                                 .mean = norm->mean,
                                 .rstd = norm->rstd,
                                 .rms = s->model->config.norm == MEP_NORM_RMS};
    const mep_layer_norm_gradient gradient = {.dy = dy,
                                              .dx = dx,
                                              .dweight = mep_session_gradient(s, gradients, norm->weight),
                                              .dbias = mep_session_gradient(s, gradients, norm->bias)};
    s->nn->layer_norm_backward(s->state, &rows, &gradient);
}

/* y = x W^T + b, all rows. */
typedef struct linear_map {
    int64_t layer;
    mep_tensor_kind weight, bias;
    mep_activation x;
    const void *gelu_input; /* where x = gelu(gelu_input): dx becomes the gradient of gelu_input; otherwise NULL */
} linear_map;

/* Given dy: dx = dy W, dW += dy^T x, db += column sums of dy. */
static mep_status linear_backward(mep_session *s, const linear_map *map, mep_activation dy, mep_activation dx,
                                  float *gradients)
{
    const mep_model *m = s->model;
    int64_t weight = mep_tensor_index(m, mep_kind_in_block(m, map->weight), map->layer);
    int64_t bias = mep_tensor_index(m, mep_kind_in_block(m, map->bias), map->layer);
    int64_t n = mep_kind_rows(&m->config, map->weight), k = mep_kind_columns(&m->config, map->weight);
    const mep_gemm input = {.m = s->rows,
                            .n = k,
                            .k = n,
                            .slope_input = map->gelu_input,
                            .epilogue = m->config.mlp == MEP_MLP_GELU_TANH ? MEP_EPILOGUE_GELU_TANH : MEP_EPILOGUE_GELU,
                            .a = mep_activation_matrix(dy, 0, n, 0),
                            .b = mep_session_weight(s, weight, 0),
                            .c = mep_activation_matrix(dx, 0, k, 0)};
    MEP_TRY(s->nn->gemm(s->state, &input));
    float *dw = mep_session_gradient(s, gradients, weight);
    const mep_gemm product = {.m = n,
                              .n = k,
                              .k = s->rows,
                              .accumulate = s->accumulate,
                              .a = mep_activation_matrix(dy, 0, n, 1),
                              .b = mep_activation_matrix(map->x, 0, k, 0),
                              .c = mep_activation_matrix((mep_activation){dw, MEP_FLOAT32}, 0, k, 0)};
    MEP_TRY(s->nn->gemm(s->state, &product));
    if (bias >= 0) s->nn->column_sum(s->state, s->rows, n, dy, mep_session_gradient(s, gradients, bias));
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

/* x_next = x + norm(branch): the gradient of the branch in the session's type, and those of the norm's parameters. */
static mep_activation branch_gradient(mep_session *s, const float *branch, const mep_norm_state *norm, float *gradients)
{
    int64_t values = s->rows * s->model->config.hidden_size;
    const mep_activation made = {s->d_branch, MEP_FLOAT32};
    s->nn->clear(s->state, values, s->d_branch);
    mep_normalize_backward(s, branch, norm, (mep_activation){s->dx, MEP_FLOAT32}, s->d_branch, gradients);
    if (s->settings.dtype == MEP_FLOAT32) return made;
    s->nn->convert(s->state, values, made, s->dx_copy);
    return s->dx_copy;
}

/* The gradient of the input of a branch, d_narrow, in that of the residual stream: through the norm before the branch,
 * norm(x), or directly where the norm follows the branch. */
static void input_gradient(mep_session *s, const float *x, const mep_norm_state *norm, float *gradients)
{
    int64_t values = s->rows * s->model->config.hidden_size;
    const mep_activation copy = {s->d_branch, MEP_FLOAT32};
    if (!s->model->config.post_norm) {
        mep_normalize_backward(s, x, norm, s->d_narrow, s->dx, gradients);
        return;
    }
    s->nn->convert(s->state, values, s->d_narrow, copy);
    s->nn->add(s->state, values, s->d_branch, s->dx);
}

/* attended = attention(rotary(norm(qkv))): from d_narrow to d_wide, a fused gradient of qkv. */
static mep_status attend_backward(mep_session *s, int64_t layer, float *gradients)
{
    const mep_kv_call call = mep_attention_call_of(s, layer);
    mep_kv_gradient g = {.attention = {.dout = mep_heads_view(s, s->d_narrow),
                                       .dq = mep_qkv_view(s, s->d_wide, 0),
                                       .dk = mep_qkv_view(s, s->d_wide, 1),
                                       .dv = mep_qkv_view(s, s->d_wide, 2),
                                       .dtable = s->d_bias.table}};
    if (s->model->content) mep_content_gradient(s, layer, &g);
    MEP_TRY(s->kv->functions->attend_backward(s->kv, &call, &g));
    if (s->model->content) mep_content_attended(s, layer, g.attention.dq, gradients);
    mep_rotate(s, layer,
               &(mep_rotated){.q = &g.attention.dq, .k = &g.attention.dk, .dtype = s->d_wide.dtype, .inverse = 1});
    for (int which = 0; which < 2 && s->model->config.qk_norm != MEP_QK_NORM_NONE; which++) {
        const mep_row_range all = {0, s->rows};
        const mep_head_norm norm = mep_head_norm_of(s, layer, all, which);
        int64_t index = mep_tensor_index(s->model, which == 0 ? Q_NORM : K_NORM, layer);
        s->nn->head_norm_backward(s->state, &norm, mep_qkv_part(s, s->d_wide, all, which),
                                  mep_session_gradient(s, gradients, index));
    }
    return MEP_OK;
}

/* x_next = x_mid + gelu(norm2 W_up^T + b) W_down^T + b, norm2 = norm of x_mid, or of x where the residual is parallel.
 * With post_norm: x_next = x_mid + norm(gelu(x_mid W_up^T) W_down^T). */
static mep_status mlp_backward(mep_session *s, int64_t layer, mep_activation dy, float *gradients)
{
    const mep_layer_state *l = &s->layer[layer];
    int swiglu = s->model->config.mlp == MEP_MLP_SWIGLU;
    const linear_map down = {layer, DOWN_WEIGHT, DOWN_BIAS, l->gelu, swiglu ? NULL : l->up.data},
                     up = {layer, UP_WEIGHT, UP_BIAS, l->norm2, NULL};
    const mep_norm_state norm = mep_norm2(s, layer);
    const float *x = s->model->config.residual == MEP_RESIDUAL_PARALLEL ? s->x[layer] : l->x_mid;
    if (s->model->config.post_norm) dy = branch_gradient(s, l->branch2, &norm, gradients);
    MEP_TRY(linear_backward(s, &down, dy, swiglu ? s->d_mlp : s->d_wide, gradients));
    if (swiglu)
        s->nn->swiglu_backward(s->state, s->rows, s->model->config.intermediate_size, l->up, s->d_mlp, s->d_wide);
    MEP_TRY(linear_backward(s, &up, s->d_wide, s->d_narrow, gradients));
    input_gradient(s, x, &norm, gradients);
    return MEP_OK;
}

/* x_mid = x + attended W_dense^T + b, attended = attention(norm1 W_qkv^T + b), norm1 = norm of x.
 * With post_norm: x_mid = x + norm(attended W_dense^T), attended = attention(x W_qkv^T). */
static mep_status attention_backward(mep_session *s, int64_t layer, mep_activation dy, float *gradients)
{
    const mep_layer_state *l = &s->layer[layer];
    const linear_map dense = {layer, DENSE_WEIGHT, DENSE_BIAS, l->attended, NULL},
                     qkv = {layer, QKV_WEIGHT, QKV_BIAS, l->norm1, NULL};
    const mep_norm_state norm = mep_norm1(s, layer);
    if (s->model->config.post_norm) dy = branch_gradient(s, l->branch1, &norm, gradients);
    MEP_TRY(linear_backward(s, &dense, dy, s->d_narrow, gradients));
    MEP_TRY(attend_backward(s, layer, gradients));
    MEP_TRY(linear_backward(s, &qkv, s->d_wide, s->d_narrow, gradients));
    if (s->model->content) MEP_TRY(mep_content_backward(s, layer, gradients));
    input_gradient(s, s->x[layer], &norm, gradients);
    return MEP_OK;
}

mep_status mep_block_backward(mep_session *s, int64_t layer, float *gradients)
{
    if (s->settings.recompute) MEP_TRY(mep_block_forward(s, layer, 1));
    mep_activation dy = stream_gradient(s);
    MEP_TRY(mlp_backward(s, layer, dy, gradients));
    /* with a parallel residual norm2 reads x, so what its gradient adds to dx is not part of x_mid's: dy stays */
    if (s->model->config.residual == MEP_RESIDUAL_SEQUENTIAL) dy = stream_gradient(s);
    return attention_backward(s, layer, dy, gradients);
}
