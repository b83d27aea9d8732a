/* SPDX-License-Identifier: MIT */
/*
 * The forward pass: embedding, layers, final norm, and the output layer in chunks of rows.
 */
#include "base/error.h"
#include "model/cache.h"
#include "model/device_cache.h"
#include "model/ring.h"
#include "model/session.h"

/* ---- Pieces of a pass ---- */

/* Rows first .. first + count - 1 of the pass. */
typedef struct row_range {
    int64_t first, count;
} row_range;

/* `all` rows in as few pieces of `most` rows or less as there can be, all of the same multiple of 64 rows but the last.
 * That is for speed: a row's bits do not depend on the rows beside it. */
static int64_t piece_rows(int64_t all, int64_t most)
{
    int64_t pieces = (all + most - 1) / most, even = ((all + pieces - 1) / pieces + 63) / 64 * 64;
    return even < most ? even : most;
}

/* Rows of a layer that are computed between two reports. */
static int64_t watched_rows(const mep_session *s)
{
    const mep_model_config *c = &s->model->config;
    int64_t wide = c->intermediate_size > 3 * c->hidden_size ? c->intermediate_size : 3 * c->hidden_size;
    if (s->watch == NULL || s->settings.device != MEP_DEVICE_CPU) return s->rows;
    int64_t most = s->watch->operations / (2 * c->hidden_size * wide) / 64 * 64; /* of the largest product */
    return piece_rows(s->rows, most > 64 ? most : 64);
}

/* What a pass is expected to compute, in operations: in a layer before its attention, in it, and after it; and in the
 * output layer. Attention skips as much as it did last time. */
typedef struct work {
    double before, attention, after, output;
} work;

static work expected_work(const mep_session *s, int64_t output_rows)
{
    const mep_model_config *c = &s->model->config;
    double all = (double)s->rows, hidden = (double)c->hidden_size, wide = (double)c->intermediate_size;
    double keys = (double)s->position + (double)s->length / 2;
    int is_known = s->watch != NULL && s->attention != NULL && s->settings.device == MEP_DEVICE_CPU;
    double share = is_known ? mep_attention_computed_fraction(s->attention) : 1;
    return (work){.before = 6 * all * hidden * hidden,
                  .attention = 4 * all * keys * hidden * share,
                  .after = 2 * all * hidden * (hidden + 2 * wide),
                  .output = 2 * (double)output_rows * hidden * (double)c->vocab_size};
}

static double layer_work(const work *w)
{
    return w->before + w->attention + w->after;
}

/* The fraction of the pass that the layers are. */
static double layers_fraction(const mep_session *s, int64_t output_rows)
{
    work w = expected_work(s, output_rows);
    double layers = layer_work(&w) * (double)s->model->config.num_hidden_layers;
    return layers / (layers + w.output);
}

/* ---- Layers ---- */

/* Row `row` of an activation of this width. */
static mep_activation from_row(mep_activation x, int64_t row, int64_t width)
{
    return (mep_activation){(char *)x.data + row * width * mep_dtype_size(x.dtype), x.dtype};
}

/* The product y = x W^T + b of rows of x [rows, k] and y [rows, n], W [n, k] the layer's tensor `weight`, b the one
 * after it. The caller adds what else is done to y, and runs it. */
static mep_gemm linear(const mep_session *s, row_range r, mep_activation x, int64_t k, int64_t layer, int weight,
                       mep_activation y, int64_t n)
{
    mep_gemm g = {.m = r.count, .n = n, .k = k, .gelu_tanh = s->model->config.gelu_tanh};
    g.bias = mep_session_values(s, mep_layer_tensor(s->model, layer, weight + 1));
    g.a = mep_activation_matrix(x, r.first, k, 0);
    g.b = mep_session_weight(s, mep_layer_tensor(s->model, layer, weight), 1);
    g.c = mep_activation_matrix(y, r.first, n, 0);
    return g;
}

/* attended = attention of the fused qkv, after rotary where the model has it. */
static mep_status attend(mep_session *s, int64_t layer)
{
    const mep_model_config *c = &s->model->config;
    mep_layer_state *l = &s->layer[layer];
    int64_t head_dim = mep_head_dim(c);
    for (int which = 0; which < 2 && s->rotary_dims > 0; which++) {
        mep_activation part = {mep_qkv_view(s, l->qkv, which).data, l->qkv.dtype};
        s->nn->rotary_apply(s->state, s->rows, s->length, s->position, c->num_attention_heads, s->rotary_dims,
                            s->cosine, s->sine, 0, part, 3 * c->hidden_size, 3 * head_dim);
    }
    mep_tensor_view q = mep_qkv_view(s, l->qkv, 0), k = mep_qkv_view(s, l->qkv, 1), v = mep_qkv_view(s, l->qkv, 2);
    mep_tensor_view out = mep_heads_view(s, l->attended);
    if (s->cache != NULL) return mep_cache_attend(s->cache, layer, s->length, q, k, v, out);
    if (s->device_cache != NULL) return mep_device_cache_attend(s, layer, q, k, out);
    if (s->ring != NULL) return mep_ring_attend(s, layer, q, k, v, out);
    const mep_attention_call call = {
        .batch = s->batch, .queries = s->length, .keys = s->length, .q = q, .k = k, .v = v, .out = out, .lse = l->lse};
    return mep_attention_forward(s->attention, &call);
}

/* y = layer norm of rows of x [rows, hidden] with the parameters of these indices. */
static void normalize(const mep_session *s, row_range r, const float *x, int64_t weight, int64_t bias, mep_activation y,
                      float *mean, float *rstd)
{
    const mep_model_config *c = &s->model->config;
    s->nn->layer_norm_forward(s->state, r.count, c->hidden_size, x + r.first * c->hidden_size,
                              mep_session_values(s, weight), mep_session_values(s, bias), (float)c->layer_norm_eps,
                              from_row(y, r.first, c->hidden_size), mean + r.first, rstd + r.first);
}

/* norm2 = LN2(x) */
static void normalize_second(const mep_session *s, row_range r, int64_t layer, const float *x)
{
    const mep_layer_state *l = &s->layer[layer];
    normalize(s, r, x, mep_layer_tensor(s->model, layer, LN2_WEIGHT), mep_layer_tensor(s->model, layer, LN2_BIAS),
              l->norm2, l->mean2, l->rstd2);
}

/* qkv of rows of the residual stream */
static mep_status before_attention(mep_session *s, int64_t layer, int inner, row_range r)
{
    (void)inner;
    mep_layer_state *l = &s->layer[layer];
    int64_t hidden = s->model->config.hidden_size;
    normalize(s, r, s->x[layer], mep_layer_tensor(s->model, layer, LN1_WEIGHT),
              mep_layer_tensor(s->model, layer, LN1_BIAS), l->norm1, l->mean1, l->rstd1);
    mep_gemm qkv = linear(s, r, l->norm1, hidden, layer, QKV_WEIGHT, l->qkv, 3 * hidden);
    return s->nn->gemm(s->state, &qkv);
}

/* Rows of the residual stream from those of the attention's output. */
static mep_status after_attention(mep_session *s, int64_t layer, int inner, row_range r)
{
    const mep_model_config *c = &s->model->config;
    mep_layer_state *l = &s->layer[layer];
    int64_t hidden = c->hidden_size, wide = c->intermediate_size;
    const mep_activation middle = {l->x_mid, MEP_FLOAT32}, next = {s->x[layer + 1], MEP_FLOAT32};
    if (c->use_parallel_residual)
        normalize_second(s, r, layer, s->x[layer]); /* before x_mid, which may be the same memory */
    mep_gemm dense = linear(s, r, l->attended, hidden, layer, DENSE_WEIGHT, middle, hidden);
    dense.residual = s->x[layer] + r.first * hidden;
    MEP_TRY(s->nn->gemm(s->state, &dense));
    if (!c->use_parallel_residual) normalize_second(s, r, layer, l->x_mid);
    mep_gemm up = linear(s, r, l->norm2, hidden, layer, UP_WEIGHT, l->up, wide);
    up.gelu = from_row(l->gelu, r.first, wide).data;
    MEP_TRY(s->nn->gemm(s->state, &up));
    if (inner) return MEP_OK;
    mep_gemm down = linear(s, r, l->gelu, wide, layer, DOWN_WEIGHT, next, hidden);
    down.residual = l->x_mid + r.first * hidden;
    return s->nn->gemm(s->state, &down);
}

/* All rows, with reports from one fraction of the layer to another where somebody watches. */
static mep_status in_pieces(mep_session *s, int64_t layer, int inner, double from, double to,
                            mep_status (*piece)(mep_session *s, int64_t layer, int inner, row_range r))
{
    int64_t size = watched_rows(s);
    for (row_range r = {0, size}; r.first < s->rows; r.first += size) {
        r.count = s->rows - r.first < size ? s->rows - r.first : size;
        if (mep_watch_ask(s->watch, from + (to - from) * (double)r.first / (double)s->rows))
            return mep_watch_status(s->watch);
        MEP_TRY(piece(s, layer, inner, r));
    }
    return MEP_OK;
}

mep_status mep_layer_forward(mep_session *s, int64_t layer, int inner)
{
    work w = expected_work(s, 0);
    double begin = w.before / layer_work(&w), end = (w.before + w.attention) / layer_work(&w);
    MEP_TRY(in_pieces(s, layer, inner, 0, begin, before_attention));
    mep_watch_part part = mep_watch_enter(s->watch, begin, end);
    mep_status status = attend(s, layer);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    return in_pieces(s, layer, inner, end, 1, after_attention);
}

/* tokens (host) -> norm_final. With a cache, the tokens continue those before them. */
static mep_status run_layers(mep_session *s, const int32_t *tokens)
{
    const mep_model *m = s->model;
    const mep_model_config *c = &m->config;
    s->position = s->cache != NULL          ? mep_cache_length(s->cache)
                  : s->device_cache != NULL ? mep_device_cache_length(s->device_cache)
                  : s->ring != NULL         ? mep_ring_position(s->ring)
                                            : 0;
    if (m->bias == NULL && s->position + s->length > s->longest)
        return mep_fail(MEP_ERROR_ARGUMENT, "the session was made for %lld tokens in all and has read them",
                        (long long)s->longest);
    if (s->cache != NULL) MEP_TRY(mep_session_extend_cache(s));
    if (s->device_cache != NULL) MEP_TRY(mep_device_cache_reserve(s));
    MEP_TRY(mep_device_write(s->settings.device, s->inputs, tokens, s->rows * (int64_t)sizeof *tokens));
    const float *positions = m->embed_positions >= 0 ? mep_session_values(s, m->embed_positions) : s->positions;
    if (positions != NULL) positions += s->position * c->hidden_size;
    float *embedded = c->embedding_layer_norm ? s->x_embed : s->x[0];
    s->nn->embedding_forward(s->state, s->rows, s->length, c->hidden_size, s->inputs,
                             mep_session_values(s, m->embed_in), positions, embedded);
    row_range all = {0, s->rows};
    if (c->embedding_layer_norm)
        normalize(s, all, embedded, m->embed_norm_weight, m->embed_norm_bias, (mep_activation){s->x[0], MEP_FLOAT32},
                  s->mean_embed, s->rstd_embed);
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        double layers = (double)c->num_hidden_layers;
        mep_watch_part part = mep_watch_enter(s->watch, (double)l / layers, (double)(l + 1) / layers);
        mep_status status = mep_layer_forward(s, l, 0);
        mep_watch_leave(s->watch, part);
        MEP_TRY(status);
    }
    normalize(s, all, s->x[c->num_hidden_layers], m->final_norm_weight, m->final_norm_bias, s->norm_final,
              s->mean_final, s->rstd_final);
    if (s->cache != NULL) mep_cache_advance(s->cache, s->length);
    if (s->device_cache != NULL) mep_device_cache_advance(s);
    return MEP_OK;
}

/* logits [count, vocab] of rows from `first`. */
static mep_status output(mep_session *s, int64_t first, int64_t count, float *logits)
{
    const mep_model_config *c = &s->model->config;
    mep_gemm g = {.m = count, .n = c->vocab_size, .k = c->hidden_size};
    g.a = mep_activation_matrix(s->norm_final, first, c->hidden_size, 0);
    g.b = mep_session_weight(s, s->model->embed_out, 1);
    g.c = (mep_matrix){logits, MEP_FLOAT32, c->vocab_size, 0, 0};
    return s->nn->gemm(s->state, &g);
}

/* The same into the program's memory: at once on the processor, else by way of the session's chunk. */
static mep_status read_logits(mep_session *s, int64_t first, int64_t count, float *logits)
{
    int64_t vocab = s->model->config.vocab_size;
    if (s->settings.device == MEP_DEVICE_CPU) return output(s, first, count, logits);
    for (int64_t done = 0; done < count; done += s->logit_rows) {
        int64_t rows = count - done < s->logit_rows ? count - done : s->logit_rows;
        MEP_TRY(output(s, first + done, rows, s->logits));
        MEP_TRY(mep_device_read(s->settings.device, logits + done * vocab, s->logits,
                                rows * vocab * (int64_t)sizeof *logits));
    }
    return MEP_OK;
}

mep_status mep_session_logits(mep_session *s, int64_t batch, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_REQUIRE_AS("session, tokens, logits", s, tokens, logits);
    MEP_TRY(mep_session_begin(s, batch, length, tokens));
    MEP_TRY(mep_session_load(s));
    MEP_TRY(mep_session_refresh(s));
    MEP_TRY(run_layers(s, tokens));
    return read_logits(s, 0, s->rows, logits);
}

mep_status mep_session_next(mep_session *s, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_TRY(mep_session_begin(s, 1, length, tokens));
    MEP_TRY(run_layers(s, tokens));
    return read_logits(s, s->rows - 1, 1, logits);
}

static mep_status take_targets(mep_session *s, const int32_t *targets)
{
    for (int64_t i = 0; i < s->rows; i++)
        if (targets[i] < 0 || targets[i] >= s->model->config.vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT, "target token %d is not in the model's vocabulary of %lld",
                            (int)targets[i], (long long)s->model->config.vocab_size);
    return mep_device_write(s->settings.device, s->targets, targets, s->rows * (int64_t)sizeof *targets);
}

static mep_status give_losses(mep_session *s, float *losses)
{
    return mep_device_read(s->settings.device, losses, s->losses, s->rows * (int64_t)sizeof *losses);
}

/* The losses of rows in chunks of the output layer. */
static mep_status score_rows(mep_session *s)
{
    const mep_activation none = {NULL, MEP_FLOAT32};
    int64_t size = piece_rows(s->rows, s->logit_rows);
    for (int64_t first = 0; first < s->rows; first += size) {
        int64_t count = s->rows - first < size ? s->rows - first : size;
        if (mep_watch_ask(s->watch, (double)first / (double)s->rows)) return mep_watch_status(s->watch);
        MEP_TRY(output(s, first, count, s->logits));
        s->nn->cross_entropy(s->state, count, s->model->config.vocab_size, s->logits, s->targets + first, 0, none,
                             s->losses + first);
    }
    return MEP_OK;
}

mep_status mep_session_score(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float *losses)
{
    MEP_TRY(mep_session_begin(s, batch, length, inputs));
    MEP_TRY(take_targets(s, targets));
    double layers = layers_fraction(s, s->rows);
    mep_watch_part part = mep_watch_enter(s->watch, 0, layers);
    mep_status status = run_layers(s, inputs);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    part = mep_watch_enter(s->watch, layers, 1);
    status = score_rows(s);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    return give_losses(s, losses);
}

mep_status mep_session_losses(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                              const int32_t *targets, float *losses)
{
    MEP_REQUIRE_AS("session, inputs, targets, losses", s, inputs, targets, losses);
    MEP_TRY(mep_session_begin(s, batch, length, inputs)); /* is looked at before anything is copied */
    MEP_TRY(mep_session_load(s));
    MEP_TRY(mep_session_refresh(s));
    return mep_session_score(s, batch, length, inputs, targets, losses);
}

/* Loss and backward pass of the output layer for a chunk of rows: logits = norm_final W^T. Leaves the gradient of
 * norm_final in d_narrow. */
static mep_status output_train(mep_session *s, int64_t first, int64_t count, float scale, float *gradients)
{
    const mep_model *m = s->model;
    int64_t vocab = m->config.vocab_size, hidden = m->config.hidden_size;
    MEP_TRY(output(s, first, count, s->logits));
    s->nn->cross_entropy(s->state, count, vocab, s->logits, s->targets + first, scale, s->logits_gradient,
                         s->losses + first);
    mep_gemm dx = {.m = count, .n = hidden, .k = vocab};
    dx.a = mep_activation_matrix(s->logits_gradient, 0, vocab, 0);
    dx.b = mep_session_weight(s, m->embed_out, 0);
    dx.c = mep_activation_matrix(s->d_narrow, first, hidden, 0);
    MEP_TRY(s->nn->gemm(s->state, &dx));
    int add = s->accumulate || first > 0 || m->config.tie_word_embeddings;
    mep_gemm dw = {.m = vocab, .n = hidden, .k = count, .accumulate = add};
    dw.a = mep_activation_matrix(s->logits_gradient, 0, vocab, 1);
    dw.b = mep_activation_matrix(s->norm_final, first, hidden, 0);
    dw.c = (mep_matrix){gradients + mep_tensor_offset(m, m->embed_out), MEP_FLOAT32, hidden, 0, 0};
    return s->nn->gemm(s->state, &dw);
}

/* Zero what the pass adds to rather than overwrites: all but the matrices of products. */
static void clear_gradients(const mep_session *s, float *gradients)
{
    const mep_model *m = s->model;
    for (int64_t t = 0; t < m->count; t++)
        if (t == m->embed_in || !mep_tensor_multiplies(m, t))
            s->nn->clear(s->state, m->tensors[t].size, gradients + mep_tensor_offset(m, t));
}

mep_status mep_session_train(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float scale, int accumulate, float *losses, float *gradients)
{
    const mep_model *m = s->model;
    s->accumulate = accumulate;
    if (!s->accumulate) clear_gradients(s, gradients);
    MEP_TRY(mep_session_begin(s, batch, length, inputs));
    MEP_TRY(take_targets(s, targets));
    MEP_TRY(s->nn->embedding_order(s->state, s->rows, inputs));
    MEP_TRY(run_layers(s, inputs));
    for (int64_t first = 0; first < s->rows; first += s->logit_rows) {
        int64_t count = s->rows - first < s->logit_rows ? s->rows - first : s->logit_rows;
        MEP_TRY(output_train(s, first, count, scale, gradients));
    }
    s->nn->clear(s->state, s->rows * m->config.hidden_size, s->dx);
    s->nn->layer_norm_backward(s->state, s->rows, m->config.hidden_size, s->x[m->config.num_hidden_layers],
                               mep_session_values(s, m->final_norm_weight), s->mean_final, s->rstd_final, s->d_narrow,
                               s->dx, mep_session_gradient(s, gradients, m->final_norm_weight),
                               mep_session_gradient(s, gradients, m->final_norm_bias));
    mep_session_gradients_final(s, m->final_norm_weight, m->position_bias >= 0 ? m->position_bias : m->count);
    MEP_TRY(mep_session_backward(s, gradients));
    return give_losses(s, losses);
}
