/* SPDX-License-Identifier: MIT */
/*
 * The forward pass of a block. Where the pass is watched, products and norms take rows in chunks with a report between
 * them.
 */
#include "base/error.h"
#include "base/integer.h"
#include "model/block.h"
#include "model/content_terms.h"
#include "model/pass_work.h"
#include "model/rotary_tables.h"

/* Row `row` of an activation of this width. */
static mep_activation from_row(mep_activation x, int64_t row, int64_t width)
{
    return (mep_activation){(char *)x.data + row * width * mep_dtype_size(x.dtype), x.dtype};
}

void mep_normalize(const mep_session *s, mep_row_range r, const float *x, const mep_norm_state *norm, mep_activation y)
{
    int64_t hidden = s->model->config.hidden_size;
    const mep_layer_norm rows = {.rows = r.count,
                                 .width = hidden,
                                 .x = x + r.first * hidden,
                                 .weight = mep_session_values(s, norm->weight),
                                 .bias = mep_session_values(s, norm->bias),
                                 .eps = (float)s->model->config.layer_norm_eps,
                                 .mean = norm->mean + r.first,
                                 .rstd = norm->rstd + r.first,
                                 .rms = s->model->config.norm == MEP_NORM_RMS};
    s->nn->layer_norm_forward(s->state, &rows, from_row(y, r.first, hidden));
}

mep_norm_state mep_norm1(const mep_session *s, int64_t layer)
{
    return (mep_norm_state){.weight = mep_tensor_index(s->model, NORM1_WEIGHT, layer),
                            .bias = mep_tensor_index(s->model, NORM1_BIAS, layer),
                            .mean = s->layer[layer].mean1,
                            .rstd = s->layer[layer].rstd1};
}

mep_norm_state mep_norm2(const mep_session *s, int64_t layer)
{
    return (mep_norm_state){.weight = mep_tensor_index(s->model, NORM2_WEIGHT, layer),
                            .bias = mep_tensor_index(s->model, NORM2_BIAS, layer),
                            .mean = s->layer[layer].mean2,
                            .rstd = s->layer[layer].rstd2};
}

/* y = rows of the residual stream in the session's type: the input of a branch whose norm follows it. */
static void copy_stream(const mep_session *s, mep_row_range r, float *x, mep_activation y)
{
    int64_t hidden = s->model->config.hidden_size;
    s->nn->convert(s->state, r.count * hidden, (mep_activation){x + r.first * hidden, MEP_FLOAT32},
                   from_row(y, r.first, hidden));
}

/* next = x + norm(branch) of rows; next may be x, and the branch is then overwritten. */
static void add_normalized(const mep_session *s, mep_row_range r, const mep_norm_state *norm, float *branch,
                           const float *x, float *next)
{
    int64_t hidden = s->model->config.hidden_size, first = r.first * hidden;
    int in_place = next == x;
    float *y = in_place ? branch : next;
    mep_normalize(s, r, branch, norm, (mep_activation){y, MEP_FLOAT32});
    s->nn->add(s->state, r.count * hidden, in_place ? branch + first : x + first, next + first);
}

/* A linear map of a layer. */
typedef struct linear_map {
    int64_t layer;
    mep_tensor_kind weight, bias;
} linear_map;

/* The product y = x W^T + b of rows of x and y. The caller adds what else is done to y, and runs it. */
static mep_gemm linear(const mep_session *s, mep_row_range r, linear_map map, mep_activation x, mep_activation y)
{
    const mep_model *m = s->model;
    int64_t n = mep_kind_rows(&m->config, map.weight), k = mep_kind_columns(&m->config, map.weight);
    return (mep_gemm){.m = r.count,
                      .n = n,
                      .k = k,
                      .bias = mep_session_values(s, mep_tensor_index(m, mep_kind_in_block(m, map.bias), map.layer)),
                      .a = mep_activation_matrix(x, r.first, k, 0),
                      .b = mep_session_weight(s, mep_tensor_index(m, mep_kind_in_block(m, map.weight), map.layer), 1),
                      .c = mep_activation_matrix(y, r.first, n, 0)};
}

/* Queries (0), keys (1) or values (2) of rows of an activation laid out as qkv. */
mep_activation mep_qkv_part(const mep_session *s, mep_activation qkv, mep_row_range r, int which)
{
    const mep_model_config *c = &s->model->config;
    mep_activation x = from_row(qkv, r.first, mep_dimension_of(c, DIM_QKV));
    x.data = (char *)x.data + mep_qkv_row(c, 0, which) * mep_dtype_size(x.dtype);
    return x;
}

/* Views of queries (0) or keys (1) of rows as vectors that a norm is of. */
mep_head_norm mep_head_norm_of(const mep_session *s, int64_t layer, mep_row_range r, int which)
{
    const mep_model_config *c = &s->model->config;
    const mep_layer_state *l = &s->layer[layer];
    int all = c->qk_norm == MEP_QK_NORM_ALL;
    int64_t width = mep_dimension_of(c, DIM_QKV), heads = which == 0 ? c->num_attention_heads : mep_key_value_heads(c);
    int64_t index = mep_tensor_index(s->model, which == 0 ? Q_NORM : K_NORM, layer);
    return (mep_head_norm){.rows = r.count,
                           .heads = all ? 1 : heads,
                           .dim = all ? heads * mep_head_dim(c) : mep_head_dim(c),
                           .weight = mep_session_values(s, index),
                           .eps = (float)c->layer_norm_eps,
                           .rstd = (which == 0 ? l->q_rstd : l->k_rstd) + r.first * (all ? 1 : heads),
                           .x = mep_qkv_part(s, l->raw, r, which),
                           .row_stride = width,
                           .head_stride = mep_head_dim(c)};
}

/* qkv = raw, with its queries and keys normalized. */
static void normalize_heads(const mep_session *s, int64_t layer, mep_row_range r)
{
    const mep_model_config *c = &s->model->config;
    const mep_layer_state *l = &s->layer[layer];
    for (int which = 0; which < 2; which++) {
        mep_head_norm norm = mep_head_norm_of(s, layer, r, which);
        s->nn->head_norm_forward(s->state, &norm, mep_qkv_part(s, l->qkv, r, which));
    }
    int64_t size = mep_dtype_size(l->qkv.dtype), stride = mep_dimension_of(c, DIM_QKV) * size;
    if (l->raw.data != l->qkv.data)
        s->nn->copy(s->state, r.count, mep_dimension_of(c, DIM_KV) * size, mep_qkv_part(s, l->raw, r, 2).data, stride,
                    mep_qkv_part(s, l->qkv, r, 2).data, stride);
}

/* qkv of rows of the residual stream. */
static mep_status before_attention(mep_session *s, int64_t layer, int inner, mep_row_range r)
{
    (void)inner;
    const mep_layer_state *l = &s->layer[layer];
    const mep_norm_state norm = mep_norm1(s, layer);
    if (s->model->config.post_norm)
        copy_stream(s, r, s->x[layer], l->norm1);
    else
        mep_normalize(s, r, s->x[layer], &norm, l->norm1);
    int raw = s->model->config.qk_norm != MEP_QK_NORM_NONE;
    mep_gemm qkv = linear(s, r, (linear_map){layer, QKV_WEIGHT, QKV_BIAS}, l->norm1, raw ? l->raw : l->qkv);
    MEP_TRY(s->nn->gemm(s->state, &qkv));
    if (raw) normalize_heads(s, layer, r);
    return s->model->content ? mep_content_forward(s, layer, r) : MEP_OK;
}

mep_kv_call mep_attention_call_of(const mep_session *s, int64_t layer)
{
    const mep_layer_state *l = &s->layer[layer];
    mep_kv_call call = {.layer = layer,
                        .batch = s->batch,
                        .length = s->length,
                        .q = mep_qkv_view(s, l->qkv, 0),
                        .k = mep_qkv_view(s, l->qkv, 1),
                        .v = mep_qkv_view(s, l->qkv, 2),
                        .out = mep_heads_view(s, l->attended),
                        .lse = l->lse,
                        .watch = s->watch};
    if (s->model->content) mep_content_call(s, layer, &call);
    return call;
}

/* attended = attention of the fused qkv, after rotary where the model has it. */
static mep_status attend(mep_session *s, int64_t layer)
{
    const mep_kv_call call = mep_attention_call_of(s, layer);
    mep_rotate(s, layer, &(mep_rotated){.q = &call.q, .k = &call.k, .dtype = s->layer[layer].qkv.dtype});
    if (s->model->content) mep_content_scale_queries(s, layer);
    return s->kv->functions->attend(s->kv, &call);
}

/* norm2 of rows of the stream that the MLP reads. */
static void normalize_second(const mep_session *s, int64_t layer, mep_row_range r, float *x)
{
    const mep_norm_state norm = mep_norm2(s, layer);
    if (s->model->config.post_norm)
        copy_stream(s, r, x, s->layer[layer].norm2);
    else
        mep_normalize(s, r, x, &norm, s->layer[layer].norm2);
}

/* The up projection of rows of norm2, and its GELU or SwiGLU. */
static mep_status mlp_inner(mep_session *s, int64_t layer, mep_row_range r)
{
    const mep_layer_state *l = &s->layer[layer];
    mep_gemm up = linear(s, r, (linear_map){layer, UP_WEIGHT, UP_BIAS}, l->norm2, l->up);
    const mep_model_config *c = &s->model->config;
    mep_activation y = from_row(l->gelu, r.first, c->intermediate_size);
    if (c->mlp != MEP_MLP_SWIGLU) {
        up.activated = y.data;
        up.epilogue = c->mlp == MEP_MLP_GELU_TANH ? MEP_EPILOGUE_GELU_TANH : MEP_EPILOGUE_GELU;
        return s->nn->gemm(s->state, &up);
    }
    MEP_TRY(s->nn->gemm(s->state, &up));
    s->nn->swiglu_forward(s->state, r.count, c->intermediate_size,
                          from_row(l->up, r.first, mep_dimension_of(c, DIM_UP)), y);
    return MEP_OK;
}

/* The same as after_attention, with norms after the branches. The backward pass needs all of it: the second norm reads
 * the last product. */
static mep_status after_attention_post_norm(mep_session *s, int64_t layer, mep_row_range r)
{
    const mep_layer_state *l = &s->layer[layer];
    const mep_norm_state norm1 = mep_norm1(s, layer), norm2 = mep_norm2(s, layer);
    const mep_activation attended = {l->branch1, MEP_FLOAT32}, mlp = {l->branch2, MEP_FLOAT32};
    mep_gemm dense = linear(s, r, (linear_map){layer, DENSE_WEIGHT, DENSE_BIAS}, l->attended, attended);
    MEP_TRY(s->nn->gemm(s->state, &dense));
    add_normalized(s, r, &norm1, l->branch1, s->x[layer], l->x_mid);
    normalize_second(s, layer, r, l->x_mid);
    MEP_TRY(mlp_inner(s, layer, r));
    mep_gemm down = linear(s, r, (linear_map){layer, DOWN_WEIGHT, DOWN_BIAS}, l->gelu, mlp);
    MEP_TRY(s->nn->gemm(s->state, &down));
    add_normalized(s, r, &norm2, l->branch2, l->x_mid, s->x[layer + 1]);
    return MEP_OK;
}

/* Rows of the residual stream from those of the attention's output. */
static mep_status after_attention(mep_session *s, int64_t layer, int inner, mep_row_range r)
{
    const mep_layer_state *l = &s->layer[layer];
    int64_t hidden = s->model->config.hidden_size;
    int parallel = s->model->config.residual == MEP_RESIDUAL_PARALLEL;
    const mep_activation middle = {l->x_mid, MEP_FLOAT32}, next = {s->x[layer + 1], MEP_FLOAT32};
    if (s->model->config.post_norm) return after_attention_post_norm(s, layer, r);
    if (parallel) normalize_second(s, layer, r, s->x[layer]); /* before x_mid, which may be the same memory */
    mep_gemm dense = linear(s, r, (linear_map){layer, DENSE_WEIGHT, DENSE_BIAS}, l->attended, middle);
    dense.residual = s->x[layer] + r.first * hidden;
    MEP_TRY(s->nn->gemm(s->state, &dense));
    if (!parallel) normalize_second(s, layer, r, l->x_mid);
    MEP_TRY(mlp_inner(s, layer, r));
    if (inner) return MEP_OK;
    mep_gemm down = linear(s, r, (linear_map){layer, DOWN_WEIGHT, DOWN_BIAS}, l->gelu, next);
    down.residual = l->x_mid + r.first * hidden;
    return s->nn->gemm(s->state, &down);
}

/* A stage of a block over all rows, in chunks with reports from one fraction of the layer to another where somebody
 * watches. */
typedef struct stage {
    mep_status (*run)(mep_session *s, int64_t layer, int inner, mep_row_range r);
    double from, to;
} stage;

static mep_status run_stage(mep_session *s, int64_t layer, int inner, const stage *x)
{
    int64_t size = mep_watched_rows(s);
    for (mep_row_range r = {0, size}; r.first < s->rows; r.first += size) {
        r.count = min_i64(s->rows - r.first, size);
        if (mep_watch_ask(s->watch, x->from + (x->to - x->from) * (double)r.first / (double)s->rows))
            return mep_watch_status(s->watch);
        MEP_TRY(x->run(s, layer, inner, r));
    }
    return MEP_OK;
}

mep_status mep_block_forward(mep_session *s, int64_t layer, int inner)
{
    double begin = 0, end = 0;
    mep_attention_fractions(s, &begin, &end);
    const stage before = {before_attention, 0, begin}, after = {after_attention, end, 1};
    MEP_TRY(run_stage(s, layer, inner, &before));
    mep_watch_section part = mep_watch_enter(s->watch, begin, end);
    mep_status status = attend(s, layer);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    return run_stage(s, layer, inner, &after);
}
