/* SPDX-License-Identifier: MIT */
/*
 * Sessions: allocation of activations, and what derives from the parameters.
 */
#include "model/session.h"

#include <string.h>

#include "attention/attention_backend.h"
#include "base/backend.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/content_terms.h"
#include "model/kv_terms.h"
#include "model/kv_windows.h"
#include "model/rotary_tables.h"
#include "model/session_memory.h"

void mep_session_defaults(mep_session_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_session_settings){.batch = 1, .length = 1024, .dtype = MEP_FLOAT32};
}

/* ---- Allocation ---- */

static int64_t width_of(const mep_session *s, int activation)
{
    return mep_activation_width(&s->model->config, activation);
}

/* Without a backward pass an activation may use the memory of one that is no longer needed: which one, -1 for none. A
 * pass by chunks of rows needs rows of equal width in shared memory. */
static int shares_memory_with(const mep_session *s, int activation)
{
    if (s->settings.training) return -1;
    switch (activation) {
    case ACT_ATTENDED:
        return width_of(s, ACT_ATTENDED) == width_of(s, ACT_NORM1) ? ACT_NORM1 : -1;
    case ACT_NORM2:
        return s->model->config.residual == MEP_RESIDUAL_SEQUENTIAL ? ACT_NORM1 : -1;
    case ACT_GELU:
        return s->model->config.mlp == MEP_MLP_SWIGLU ? -1 : ACT_UP;
    case ACT_QKV:
        return s->model->config.qk_norm != MEP_QK_NORM_NONE ? ACT_RAW : -1;
    default:
        return -1;
    }
}

static mep_status allocate_layer(mep_session *s, mep_layer_state *l, int64_t rows)
{
    const mep_model_config *c = &s->model->config;
    if (s->settings.training) MEP_TRY(mep_session_floats(s, &l->x_mid, rows, c->hidden_size));
    if (c->post_norm) MEP_TRY(mep_session_floats(s, &l->branch1, rows, c->hidden_size));
    l->branch2 = l->branch1;
    if (c->post_norm && s->settings.training) MEP_TRY(mep_session_floats(s, &l->branch2, rows, c->hidden_size));
    mep_activation *all[ACTIVATIONS] = {
        [ACT_NORM1] = &l->norm1, [ACT_RAW] = &l->raw, [ACT_QKV] = &l->qkv,  [ACT_ATTENDED] = &l->attended,
        [ACT_NORM2] = &l->norm2, [ACT_UP] = &l->up,   [ACT_GELU] = &l->gelu};
    for (int i = 0; i < ACTIVATIONS; i++) {
        int other = shares_memory_with(s, i);
        if (other >= 0)
            *all[i] = *all[other];
        else if (width_of(s, i) > 0)
            MEP_TRY(mep_session_activation(s, all[i], rows, width_of(s, i)));
    }
    float **columns[] = {&l->mean1, &l->rstd1, &l->mean2, &l->rstd2};
    for (int i = 0; i < 4; i++) MEP_TRY(mep_session_floats(s, columns[i], rows, 1));
    MEP_TRY(mep_content_allocate_layer(s, l, rows));
    if (c->qk_norm != MEP_QK_NORM_NONE) {
        MEP_TRY(mep_session_floats(s, &l->q_rstd, rows, c->num_attention_heads));
        MEP_TRY(mep_session_floats(s, &l->k_rstd, rows, mep_key_value_heads(c)));
    }
    return mep_session_floats(s, &l->lse, rows, c->num_attention_heads);
}

/* The residual stream: one buffer per layer in training, otherwise one for all. */
static mep_status allocate_stream(mep_session *s, int64_t rows)
{
    int64_t layers = s->model->config.num_hidden_layers, hidden = s->model->config.hidden_size;
    MEP_TRY(mep_session_host(s, &s->x, layers + 1, 1, sizeof *s->x));
    MEP_TRY(mep_session_host(s, &s->layer, layers, 1, sizeof *s->layer));
    if (s->model->config.embedding_layer_norm) {
        MEP_TRY(mep_session_floats(s, &s->mean_embed, rows, 1));
        MEP_TRY(mep_session_floats(s, &s->rstd_embed, rows, 1));
        if (s->settings.training) MEP_TRY(mep_session_floats(s, &s->x_embed, rows, hidden));
    }
    for (int64_t l = 0; l <= layers; l++) {
        if (l == 0 || s->settings.training)
            MEP_TRY(mep_session_floats(s, &s->x[l], rows, hidden));
        else
            s->x[l] = s->x[0];
    }
    for (int64_t l = 0; l < layers; l++) {
        if (l == 0 || (s->settings.training && !s->settings.recompute))
            MEP_TRY(allocate_layer(s, &s->layer[l], rows));
        else
            s->layer[l] = s->layer[0];
        if (!s->settings.training) s->layer[l].x_mid = s->x[0];
    }
    if (s->x_embed == NULL) s->x_embed = s->x[0]; /* normalized in place */
    return MEP_OK;
}

static mep_status allocate_output(mep_session *s, int64_t rows)
{
    const mep_model_config *c = &s->model->config;
    s->logit_rows = mep_logit_rows(c, rows);
    MEP_TRY(mep_session_device(s, &s->inputs, rows, 1, sizeof *s->inputs));
    MEP_TRY(mep_session_device(s, &s->targets, rows, 1, sizeof *s->targets));
    MEP_TRY(mep_session_floats(s, &s->losses, rows, 1));
    MEP_TRY(mep_session_activation(s, &s->norm_final, rows, c->hidden_size));
    MEP_TRY(mep_session_floats(s, &s->mean_final, rows, 1));
    MEP_TRY(mep_session_floats(s, &s->rstd_final, rows, 1));
    MEP_TRY(mep_session_floats(s, &s->logits, s->logit_rows, c->vocab_size));
    s->logits_gradient = (mep_activation){s->logits, MEP_FLOAT32};
    if (s->settings.training && s->settings.dtype != MEP_FLOAT32)
        MEP_TRY(mep_session_activation(s, &s->logits_gradient, s->logit_rows, c->vocab_size));
    return MEP_OK;
}

/* The gradient of a bias with parameters. */
static mep_status allocate_bias(mep_session *s)
{
    const mep_bias *bias = s->model->bias;
    mep_bias_gradient *g = &s->d_bias;
    int64_t heads = s->model->config.num_attention_heads, values = mep_bias_param_values(bias);
    MEP_TRY(mep_session_host(s, &g->scratch, mep_bias_scratch(bias), 1, sizeof *g->scratch));
    MEP_TRY(mep_session_host(s, &g->params, values, 1, sizeof *g->params));
    MEP_TRY(mep_session_host(s, &g->into, values, 1, sizeof *g->into));
    MEP_TRY(mep_session_device(s, &g->table, s->longest, heads, sizeof *g->table));
    g->sums = g->table;
    return mep_device_is_host(s->settings.device) ? MEP_OK
                                                  : mep_session_host(s, &g->sums, s->longest, heads, sizeof *g->sums);
}

static mep_status allocate_training(mep_session *s, int64_t rows)
{
    const mep_model_config *c = &s->model->config;
    MEP_TRY(mep_session_floats(s, &s->dx, rows, c->hidden_size));
    s->dx_copy = (mep_activation){s->dx, MEP_FLOAT32};
    if (s->settings.dtype != MEP_FLOAT32 || c->residual == MEP_RESIDUAL_PARALLEL)
        MEP_TRY(mep_session_activation(s, &s->dx_copy, rows, c->hidden_size));
    MEP_TRY(mep_session_activation(s, &s->d_wide, rows, mep_widest_activation(c)));
    MEP_TRY(mep_session_activation(s, &s->d_narrow, rows, max_i64(c->hidden_size, mep_dimension_of(c, DIM_HEADS))));
    if (c->post_norm) MEP_TRY(mep_session_floats(s, &s->d_branch, rows, c->hidden_size));
    if (c->mlp == MEP_MLP_SWIGLU) MEP_TRY(mep_session_activation(s, &s->d_mlp, rows, c->intermediate_size));
    return s->model->first[POSITION_BIAS] >= 0 ? allocate_bias(s) : MEP_OK;
}

/* A table that was made in host memory becomes one in the device's memory. */
static mep_status move(mep_session *s, float **table, int64_t count, int64_t width)
{
    const float *made = *table;
    if (mep_device_is_host(s->settings.device)) return MEP_OK;
    MEP_TRY(mep_session_floats(s, table, count, width));
    return mep_device_write(s->settings.device, *table, made, count * width * (int64_t)sizeof *made);
}

/* Sinusoidal or rotary tables for positions up to `longest`. */
static mep_status allocate_positions(mep_session *s)
{
    const mep_model_config *c = &s->model->config;
    mep_position_tables *p = &s->positions;
    int64_t longest = s->longest;
    if (mep_model_position_kind(s->model) == MEP_POSITION_LEARNED && longest > c->max_position_embeddings)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the encoding \"learned\" has %lld positions and cannot read %lld tokens; use lengths up to "
                        "%lld or another encoding",
                        (long long)c->max_position_embeddings, (long long)longest,
                        (long long)c->max_position_embeddings);
    if (mep_model_position_kind(s->model) == MEP_POSITION_SINUSOIDAL) {
        MEP_TRY(mep_session_host(s, &p->added, longest, c->hidden_size, sizeof *p->added));
        mep_sinusoidal_table(longest, c->hidden_size, c->rotary_emb_base, p->added);
        MEP_TRY(move(s, &p->added, longest, c->hidden_size));
    }
    return mep_rotary_tables_allocate(s);
}

/* Packed weights pay for few rows at a time: a product of one row then takes 0.83 of the time, one of 256 or more no
 * less than when a thread packs what it multiplies. */
static mep_status allocate_weights(mep_session *s, int decodes)
{
    const mep_model *m = s->model;
    mep_dtype dtype = s->settings.dtype;
    MEP_TRY(mep_session_host(s, &s->weights, m->count, 1, sizeof *s->weights));
    for (int64_t i = 0; i < m->count; i++) {
        if (!mep_tensor_multiplies(m, i) || mep_tensor_row_of(m, i)->joins) continue;
        const mep_tensor *t = &m->tensors[i];
        int64_t outputs = mep_product_rows(m, i);
        mep_matrix *w = &s->weights[i];
        int64_t bytes = outputs * t->shape[1] * mep_dtype_size(dtype);
        *w = (mep_matrix){.data = mep_session_values(s, i), .dtype = dtype, .stride = t->shape[1]};
        if (dtype == MEP_FLOAT32) continue;
        w->packed = decodes && s->nn->pack != NULL;
        if (w->packed) MEP_TRY(s->nn->packed_size(t->shape[1], outputs, dtype, &bytes));
        MEP_TRY(mep_session_device(s, &w->data, bytes, 1, 1));
    }
    return MEP_OK;
}

/* Where it computes, and the parameters there. */
static mep_status open_device(mep_session *s, int64_t rows)
{
    MEP_TRY(s->nn->create(&s->state, rows, mep_widest_activation(&s->model->config)));
    s->values = s->model->values;
    if (mep_device_is_host(s->settings.device)) return MEP_OK;
    if (s->model->first[POSITION_BIAS] >= 0)
        MEP_TRY(mep_session_host(s, &s->bias_values, mep_bias_param_values(s->model->bias), 1, sizeof *s->bias_values));
    return mep_session_floats(s, &s->values, s->model->size, 1);
}

static mep_status allocate(mep_session *s, int decodes)
{
    int64_t rows = 0;
    MEP_TRY(mep_multiply(s->settings.batch, s->settings.length, 1, &rows));
    MEP_TRY(open_device(s, rows));
    MEP_TRY(allocate_positions(s));
    MEP_TRY(allocate_stream(s, rows));
    MEP_TRY(allocate_output(s, rows));
    if (s->settings.training) MEP_TRY(allocate_training(s, rows));
    MEP_TRY(mep_content_allocate(s));
    return allocate_weights(s, decodes);
}

/* ---- Creation ---- */

mep_status mep_session_open(mep_session **session, mep_model *model, const mep_session_settings *settings,
                            int64_t longest, int decodes)
{
    *session = NULL;
    if (settings->batch < 1 || settings->length < 1 ||
        (settings->dtype != MEP_FLOAT32 && settings->dtype != MEP_BFLOAT16))
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "a session or decoder needs batch and length of 1 or more and float32 or bfloat16, found %lld, %lld, %s",
            (long long)settings->batch, (long long)settings->length, mep_dtype_name(settings->dtype));
    const mep_backend *backend = NULL;
    MEP_TRY(mep_backend_open(settings->device, settings->dtype, &backend));
    if (model->config.block == MEP_BLOCK_LLAMA && backend->network->swiglu_forward == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s does not compute Llama blocks; compute on the CPU",
                        backend->attention->name);
    if (!backend->attention->all_terms) MEP_TRY(mep_kv_refuse_content(model, backend->attention->name));
    mep_session *s = NULL;
    MEP_TRY(MEP_ALLOC(&s, 1));
    s->model = model;
    s->settings = *settings;
    s->nn = backend->network;
    s->longest = longest;
    mep_status status = allocate(s, decodes);
    if (status == MEP_OK) status = mep_session_load(s);
    if (status == MEP_OK) status = mep_session_refresh(s);
    if (status != MEP_OK) mep_session_destroy(&s);
    *session = s;
    return status;
}

mep_kv_settings mep_session_kv_settings(const mep_session *s, int64_t tokens)
{
    return (mep_kv_settings){.model = s->model,
                             .context = mep_session_context(s),
                             .dtype = s->settings.dtype,
                             .tolerance = s->settings.tolerance,
                             .call = s->settings.length,
                             .tokens = tokens};
}

mep_status mep_session_create(mep_session **session, mep_model *model, const mep_session_settings *settings)
{
    MEP_REQUIRE(session, model, settings);
    MEP_TRY(mep_session_open(session, model, settings, settings->length, 0));
    mep_kv_settings kv = mep_session_kv_settings(*session, settings->length);
    mep_status status = mep_kv_none_create(&(*session)->kv, &kv);
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

mep_status mep_session_create_cached(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                     int64_t tokens, int keep_all)
{
    *session = NULL;
    if (!model->all_bias && tokens > MEP_MOST_POSITIONS) return mep_model_fail_no_reach(model);
    /* the bias table of the cache is as long as the keys that it holds; other encodings have tables for all tokens */
    int64_t longest = !model->all_bias ? max_i64(tokens, settings->length) : settings->length;
    MEP_TRY(mep_session_open(session, model, settings, longest, 1));
    (*session)->text_length = tokens;
    mep_kv_settings kv = mep_session_kv_settings(*session, tokens);
    mep_status status = mep_kv_cache_create(&(*session)->kv, &kv, keep_all);
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

void mep_session_destroy(mep_session **session)
{
    if (session == NULL || *session == NULL) return;
    mep_session *s = *session;
    mep_kv_destroy(&s->kv);
    if (s->nn != NULL) s->nn->destroy(&s->state);
    mep_session_memory_free(s);
    mep_free(session);
}

void mep_session_set_watch(mep_session *s, mep_watch *watch)
{
    s->watch = watch;
}

/* ---- Parameters ---- */

mep_status mep_session_load(mep_session *s)
{
    if (s->values == s->model->values) return MEP_OK;
    return mep_device_write(s->settings.device, s->values, s->model->values,
                            s->model->size * (int64_t)sizeof *s->values);
}

mep_status mep_session_store(mep_session *s)
{
    if (s->values == s->model->values) return MEP_OK;
    return mep_device_read(s->settings.device, s->model->values, s->values,
                           s->model->size * (int64_t)sizeof *s->values);
}

/* Clamp the parameters of the bias to their ranges, in the model and on the device. The model is written only where it
 * changes: sessions of one model may run on several threads. */
static mep_status sync_bias(mep_session *s)
{
    mep_model *m = s->model;
    int64_t index = m->first[POSITION_BIAS];
    if (s->values == m->values || index < 0) return mep_model_sync_bias(m);
    float *there = mep_session_values(s, index), *here = m->tensors[index].data;
    int64_t bytes = mep_bias_param_values(m->bias) * (int64_t)sizeof *here;
    MEP_TRY(mep_device_read(s->settings.device, s->bias_values, there, bytes));
    if (memcmp(here, s->bias_values, (size_t)bytes) != 0) memcpy(here, s->bias_values, (size_t)bytes);
    MEP_TRY(mep_model_sync_bias(m));
    return mep_device_write(s->settings.device, there, here, bytes);
}

/* Copies of weights, from the parameters. */
static void refresh_weights(mep_session *s)
{
    for (int64_t i = 0; i < s->model->count; i++) {
        const mep_tensor *t = &s->model->tensors[i];
        float *values = mep_session_values(s, i);
        mep_matrix *w = &s->weights[i];
        const mep_matrix transposed = {.data = values, .dtype = MEP_FLOAT32, .stride = t->shape[1], .transposed = 1};
        if (w->packed)
            *w = s->nn->pack(&transposed, t->shape[1], mep_product_rows(s->model, i), w->dtype, w->data);
        else if (w->data != NULL && w->data != values)
            s->nn->convert(s->state, mep_product_rows(s->model, i) * t->shape[1], (mep_activation){values, MEP_FLOAT32},
                           (mep_activation){w->data, w->dtype});
    }
}

mep_status mep_session_refresh(mep_session *s)
{
    refresh_weights(s);
    MEP_TRY(sync_bias(s));
    mep_content_refresh(s);
    return s->kv != NULL ? s->kv->functions->refresh(s->kv) : MEP_OK;
}

/* ---- Calls ---- */

mep_status mep_session_check_tokens(const mep_session *s, int64_t count, const int32_t *tokens)
{
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= s->model->config.vocab_size)
            return mep_fail(
                MEP_ERROR_ARGUMENT,
                "token %d is not in the model's vocabulary of %lld; is it of another tokenizer than the model's?",
                (int)tokens[i], (long long)s->model->config.vocab_size);
    return MEP_OK;
}

mep_status mep_session_begin(mep_session *s, int64_t batch, int64_t length, const int32_t *tokens)
{
    if (batch < 1 || length < 1 || length > s->settings.length ||
        batch > s->settings.batch * s->settings.length / length)
        return mep_fail(
            MEP_ERROR_ARGUMENT, "the session was made for %lld sequences of %lld tokens, the call has %lld of %lld",
            (long long)s->settings.batch, (long long)s->settings.length, (long long)batch, (long long)length);
    MEP_TRY(mep_session_check_tokens(s, batch * length, tokens));
    s->batch = batch;
    s->length = length;
    s->rows = batch * length;
    return mep_rotary_tables_update(s);
}
