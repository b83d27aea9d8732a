/* SPDX-License-Identifier: MIT */
/*
 * Sessions: allocation of activations, and what derives from the parameters. The passes are in forward.c and
 * backward.c.
 */
#include "model/session.h"

#include <string.h>

#include "attention/attention_backend.h"
#include "base/backend.h"
#include "base/error.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/cache.h"
#include "model/device_cache.h"
#include "model/ring.h"
#include "nn/pack.h"

void mep_session_defaults(mep_session_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_session_settings){.batch = 1, .length = 1024, .dtype = MEP_FLOAT32};
}

/* Allocate count * width elements of a device into the pointer at `pointer` and remember it. */
static mep_status take(mep_session *s, mep_device device, void *pointer, int64_t count, int64_t width, int64_t size)
{
    int64_t elements = 0;
    if (s->block_count % 64 == 0) MEP_TRY(mep_grow(&s->blocks, s->block_count, s->block_count + 64, sizeof *s->blocks));
    MEP_TRY(mep_multiply(count, width, 1, &elements));
    MEP_TRY(mep_device_array(device, pointer, elements, size));
    mep_session_block *b = &s->blocks[s->block_count++];
    b->device = device;
    memcpy(&b->data, pointer, sizeof b->data);
    return MEP_OK;
}

static mep_status host(mep_session *s, void *pointer, int64_t count, int64_t width, int64_t size)
{
    return take(s, MEP_DEVICE_CPU, pointer, count, width, size);
}

static mep_status block(mep_session *s, void *pointer, int64_t count, int64_t width, int64_t size)
{
    return take(s, s->settings.device, pointer, count, width, size);
}

static mep_status floats(mep_session *s, float **pointer, int64_t count, int64_t width)
{
    return block(s, pointer, count, width, sizeof **pointer);
}

static mep_status activation(mep_session *s, mep_activation *x, int64_t count, int64_t width)
{
    x->dtype = s->settings.dtype;
    return block(s, &x->data, count, width, mep_dtype_size(x->dtype));
}

static mep_status allocate_layer(mep_session *s, mep_layer_state *l, int64_t rows)
{
    const mep_model_config *c = &s->model->config;
    int64_t hidden = c->hidden_size, wide = c->intermediate_size;
    if (s->settings.training) MEP_TRY(floats(s, &l->x_mid, rows, hidden));
    mep_activation *parts[] = {&l->norm1, &l->qkv, &l->attended, &l->norm2, &l->up, &l->gelu};
    int64_t widths[] = {hidden, 3 * hidden, hidden, hidden, wide, wide};
    int shared = !s->settings.training; /* what is dead by then can be written again */
    for (int i = 0; i < 6; i++) {
        if (shared && (i == 2 || (i == 3 && !c->use_parallel_residual)))
            *parts[i] = l->norm1;
        else if (shared && i == 5)
            l->gelu = l->up;
        else
            MEP_TRY(activation(s, parts[i], rows, widths[i]));
    }
    float **columns[] = {&l->mean1, &l->rstd1, &l->mean2, &l->rstd2};
    for (int i = 0; i < 4; i++) MEP_TRY(floats(s, columns[i], rows, 1));
    return floats(s, &l->lse, rows, c->num_attention_heads);
}

/* The residual stream: one buffer a layer in training, else one for all. */
static mep_status allocate_stream(mep_session *s, int64_t rows)
{
    int64_t layers = s->model->config.num_hidden_layers, hidden = s->model->config.hidden_size;
    MEP_TRY(host(s, &s->x, layers + 1, 1, sizeof *s->x));
    MEP_TRY(host(s, &s->layer, layers, 1, sizeof *s->layer));
    if (s->model->config.embedding_layer_norm) {
        MEP_TRY(floats(s, &s->mean_embed, rows, 1));
        MEP_TRY(floats(s, &s->rstd_embed, rows, 1));
        if (s->settings.training) MEP_TRY(floats(s, &s->x_embed, rows, hidden));
    }
    for (int64_t l = 0; l <= layers; l++) {
        if (l == 0 || s->settings.training)
            MEP_TRY(floats(s, &s->x[l], rows, hidden));
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
    int64_t chunk = ((int64_t)64 << 20) / c->vocab_size; /* 256 MB of logits at most, but 64 rows at least */
    s->logit_rows = chunk < 64 ? 64 : chunk;
    if (s->logit_rows > rows) s->logit_rows = rows;
    MEP_TRY(block(s, &s->inputs, rows, 1, sizeof *s->inputs));
    MEP_TRY(block(s, &s->targets, rows, 1, sizeof *s->targets));
    MEP_TRY(floats(s, &s->losses, rows, 1));
    MEP_TRY(activation(s, &s->norm_final, rows, c->hidden_size));
    MEP_TRY(floats(s, &s->mean_final, rows, 1));
    MEP_TRY(floats(s, &s->rstd_final, rows, 1));
    MEP_TRY(floats(s, &s->logits, s->logit_rows, c->vocab_size));
    s->logits_gradient = (mep_activation){s->logits, MEP_FLOAT32};
    if (s->settings.training && s->settings.dtype != MEP_FLOAT32)
        MEP_TRY(activation(s, &s->logits_gradient, s->logit_rows, c->vocab_size));
    return MEP_OK;
}

static int64_t widest_activation(const mep_model_config *c)
{
    return c->intermediate_size > 3 * c->hidden_size ? c->intermediate_size : 3 * c->hidden_size;
}

static mep_status allocate_training(mep_session *s, int64_t rows)
{
    const mep_model_config *c = &s->model->config;
    int64_t hidden = c->hidden_size, widest = widest_activation(c);
    MEP_TRY(floats(s, &s->dx, rows, hidden));
    s->dx_copy = (mep_activation){s->dx, MEP_FLOAT32};
    if (s->settings.dtype != MEP_FLOAT32 || c->use_parallel_residual) MEP_TRY(activation(s, &s->dx_copy, rows, hidden));
    MEP_TRY(activation(s, &s->d_wide, rows, widest));
    return activation(s, &s->d_narrow, rows, hidden);
}

static mep_status allocate_bias(mep_session *s)
{
    const mep_bias *bias = s->model->bias;
    int64_t heads = s->model->config.num_attention_heads;
    MEP_TRY(host(s, &s->bias_table, s->longest, heads, sizeof *s->bias_table));
    MEP_TRY(host(s, &s->bias_scratch, mep_bias_scratch(bias), 1, sizeof *s->bias_scratch));
    MEP_TRY(host(s, &s->bias_params, mep_bias_param_values(bias), 1, sizeof *s->bias_params));
    MEP_TRY(host(s, &s->bias_into, mep_bias_param_values(bias), 1, sizeof *s->bias_into));
    if (!s->settings.training) return MEP_OK;
    MEP_TRY(block(s, &s->bias_gradient, s->longest, heads, sizeof *s->bias_gradient));
    s->bias_sums = s->bias_gradient;
    if (s->settings.device == MEP_DEVICE_CPU) return MEP_OK;
    return host(s, &s->bias_sums, s->longest, heads, sizeof *s->bias_sums);
}

/* A table that was made in the program's memory becomes one in the device's. */
static mep_status move(mep_session *s, float **table, int64_t count, int64_t width)
{
    const float *made = *table;
    if (s->settings.device == MEP_DEVICE_CPU) return MEP_OK;
    MEP_TRY(floats(s, table, count, width));
    return mep_device_write(s->settings.device, *table, made, count * width * (int64_t)sizeof *made);
}

/* Bias table, sinusoidal or rotary tables, for positions up to `longest`. */
static mep_status allocate_positions(mep_session *s)
{
    const mep_model *m = s->model;
    const mep_model_config *c = &m->config;
    if (mep_model_position_kind(m) == MEP_POSITION_LEARNED && s->longest > c->max_position_embeddings)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the encoding \"learned\" has %lld positions and cannot read %lld tokens; use lengths up to "
                        "%lld or another encoding",
                        (long long)c->max_position_embeddings, (long long)s->longest,
                        (long long)c->max_position_embeddings);
    if (m->bias != NULL) MEP_TRY(allocate_bias(s));
    if (mep_model_position_kind(m) == MEP_POSITION_SINUSOIDAL) {
        MEP_TRY(host(s, &s->positions, s->longest, c->hidden_size, sizeof *s->positions));
        mep_sinusoidal_table(s->longest, c->hidden_size, c->rotary_emb_base, s->positions);
        MEP_TRY(move(s, &s->positions, s->longest, c->hidden_size));
    }
    if (mep_model_position_kind(m) == MEP_POSITION_ROTARY) {
        s->rotary_dims = mep_rotary_dims(c);
        MEP_TRY(host(s, &s->cosine, s->longest, s->rotary_dims / 2, sizeof *s->cosine));
        MEP_TRY(host(s, &s->sine, s->longest, s->rotary_dims / 2, sizeof *s->sine));
        mep_rotary_tables(s->longest, s->rotary_dims, c->rotary_emb_base, s->cosine, s->sine);
        MEP_TRY(move(s, &s->cosine, s->longest, s->rotary_dims / 2));
        MEP_TRY(move(s, &s->sine, s->longest, s->rotary_dims / 2));
    }
    return MEP_OK;
}

mep_status mep_session_add_attention(mep_session *s, int64_t heads, int64_t max_length)
{
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = heads;
    a.head_dim = mep_head_dim(&s->model->config);
    a.max_length = max_length;
    a.dtype = s->settings.dtype;
    a.tolerance = s->settings.tolerance;
    a.device = s->settings.device;
    a.stream = s->nn->stream(s->state);
    return mep_attention_create(&s->attention, &a);
}

/* Packed weights pay for few rows at a time: a product of one row then takes 0.83 of the time, one of 256 or more no
 * less than when a thread packs what it multiplies. */
static mep_status allocate_weights(mep_session *s, int decodes)
{
    const mep_model *m = s->model;
    mep_dtype dtype = s->settings.dtype;
    MEP_TRY(host(s, &s->weights, m->count, 1, sizeof *s->weights));
    for (int64_t i = 0; i < m->count; i++) {
        if (!mep_tensor_multiplies(m, i)) continue;
        const mep_tensor *t = &m->tensors[i];
        mep_matrix *w = &s->weights[i];
        int64_t bytes = t->size * mep_dtype_size(dtype);
        *w = (mep_matrix){mep_session_values(s, i), dtype, t->shape[1], 0, 0};
        if (dtype == MEP_FLOAT32) continue;
        w->packed = decodes && s->settings.device == MEP_DEVICE_CPU;
        if (w->packed) MEP_TRY(mep_packed_size(t->shape[1], t->shape[0], dtype, &bytes));
        MEP_TRY(block(s, &w->data, bytes, 1, 1));
    }
    return MEP_OK;
}

/* Copies of weights, from the parameters. */
static void refresh_weights(mep_session *s)
{
    for (int64_t i = 0; i < s->model->count; i++) {
        const mep_tensor *t = &s->model->tensors[i];
        float *values = mep_session_values(s, i);
        mep_matrix *w = &s->weights[i], turned = {values, MEP_FLOAT32, t->shape[1], 1, 0};
        if (w->packed)
            *w = mep_pack(&turned, t->shape[1], t->shape[0], w->dtype, w->data);
        else if (w->data != NULL && w->data != values)
            s->nn->convert(s->state, t->size, (mep_activation){values, MEP_FLOAT32},
                           (mep_activation){w->data, w->dtype});
    }
}

/* Where it computes, and the parameters there. */
static mep_status open_device(mep_session *s, int64_t rows)
{
    s->nn = mep_backend_of(s->settings.device)->network;
    MEP_TRY(s->nn->create(&s->state, rows, widest_activation(&s->model->config)));
    s->values = s->model->values;
    return s->settings.device == MEP_DEVICE_CPU ? MEP_OK : floats(s, &s->values, s->model->size, 1);
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
    return allocate_weights(s, decodes);
}

mep_status mep_session_prepare(mep_session **session, mep_model *model, const mep_session_settings *settings,
                               int64_t longest, int decodes)
{
    *session = NULL;
    if (settings->batch < 1 || settings->length < 1 ||
        (settings->dtype != MEP_FLOAT32 && settings->dtype != MEP_BFLOAT16))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a session needs batch and length of 1 or more and float32 or bfloat16, found %lld, %lld, %s",
                        (long long)settings->batch, (long long)settings->length, mep_dtype_name(settings->dtype));
    MEP_TRY(mep_device_check_dtype(settings->device, settings->dtype));
    MEP_TRY(mep_device_check(settings->device));
    mep_session *s = NULL;
    MEP_TRY(mep_alloc(&s, 1, sizeof *s));
    s->model = model;
    s->settings = *settings;
    s->longest = longest;
    mep_status status = allocate(s, decodes);
    if (status != MEP_OK) mep_session_destroy(&s);
    *session = s;
    return status;
}

mep_status mep_session_create(mep_session **session, mep_model *model, const mep_session_settings *settings)
{
    MEP_REQUIRE(session, model, settings);
    MEP_TRY(mep_session_prepare(session, model, settings, settings->length, 0));
    mep_status status = mep_session_add_attention(*session, model->config.num_attention_heads, settings->length);
    if (status == MEP_OK) status = mep_session_load(*session);
    if (status == MEP_OK) status = mep_session_refresh(*session);
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

mep_status mep_session_create_cached(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                     int64_t tokens, int whole)
{
    *session = NULL;
    if (model->bias == NULL && tokens > MEP_MOST_POSITIONS) return mep_session_no_reach(model);
    /* a bias has its own table in the cache, as long as what is held */
    int64_t longest = model->bias == NULL && tokens > settings->length ? tokens : settings->length;
    MEP_TRY(mep_session_prepare(session, model, settings, longest, 1));
    mep_status status = mep_session_load(*session);
    if (status == MEP_OK) status = mep_session_refresh(*session);
    if (status == MEP_OK) status = mep_session_open_cache(*session, tokens, whole);
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

void mep_session_destroy(mep_session **session)
{
    if (session == NULL || *session == NULL) return;
    mep_attention_destroy(&(*session)->attention);
    mep_cache_destroy(&(*session)->cache);
    mep_device_cache_destroy(&(*session)->device_cache);
    mep_ring_destroy(&(*session)->ring);
    if ((*session)->nn != NULL) (*session)->nn->destroy(&(*session)->state);
    for (int64_t i = 0; i < (*session)->block_count; i++)
        mep_device_release((*session)->blocks[i].device, &(*session)->blocks[i].data);
    mep_free(&(*session)->blocks);
    mep_free(session);
}

void mep_session_set_watch(mep_session *s, mep_watch *watch)
{
    s->watch = watch;
    if (s->attention != NULL) mep_attention_set_watch(s->attention, watch);
    if (s->cache != NULL) mep_cache_set_watch(s->cache, watch);
}

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

/* The parameters of the bias are moved into their ranges in the model. */
static mep_status sync_bias(mep_session *s)
{
    mep_model *m = s->model;
    if (s->values == m->values || m->position_bias < 0) return mep_model_sync_bias(m);
    float *there = mep_session_values(s, m->position_bias), *here = m->tensors[m->position_bias].data;
    int64_t bytes = mep_bias_param_values(m->bias) * (int64_t)sizeof *here;
    MEP_TRY(mep_device_read(s->settings.device, here, there, bytes));
    MEP_TRY(mep_model_sync_bias(m));
    return mep_device_write(s->settings.device, there, here, bytes);
}

mep_status mep_session_refresh(mep_session *s)
{
    mep_model *m = s->model;
    refresh_weights(s);
    if (m->bias == NULL) return MEP_OK;
    MEP_TRY(sync_bias(s));
    if (s->attention == NULL) return MEP_OK;
    MEP_TRY(mep_bias_table_with(m->bias, s->longest, s->bias_table, s->bias_scratch));
    if (s->ring != NULL) return MEP_OK; /* sets the bias of a head when it comes to it */
    const mep_attention_terms terms = {.table = s->bias_table, .table_length = s->longest};
    return mep_attention_set_terms(s->attention, &terms);
}

mep_status mep_session_begin(mep_session *s, int64_t batch, int64_t length, const int32_t *tokens)
{
    if (batch < 1 || length < 1 || length > s->settings.length ||
        batch > s->settings.batch * s->settings.length / length)
        return mep_fail(
            MEP_ERROR_ARGUMENT, "the session was made for %lld sequences of %lld tokens, the call has %lld of %lld",
            (long long)s->settings.batch, (long long)s->settings.length, (long long)batch, (long long)length);
    for (int64_t i = 0; i < batch * length; i++)
        if (tokens[i] < 0 || tokens[i] >= s->model->config.vocab_size)
            return mep_fail(
                MEP_ERROR_ARGUMENT,
                "token %d is not in the model's vocabulary of %lld; is it of another tokenizer than the model's?",
                (int)tokens[i], (long long)s->model->config.vocab_size);
    s->batch = batch;
    s->length = length;
    s->rows = batch * length;
    return MEP_OK;
}

mep_tensor_view mep_qkv_view(const mep_session *s, mep_activation qkv, int which)
{
    const mep_model_config *c = &s->model->config;
    int64_t head_dim = mep_head_dim(c);
    char *data = (char *)qkv.data + which * head_dim * mep_dtype_size(qkv.dtype);
    return (mep_tensor_view){data, s->length * 3 * c->hidden_size, 3 * head_dim, 3 * c->hidden_size};
}

mep_tensor_view mep_heads_view(const mep_session *s, mep_activation x)
{
    const mep_model_config *c = &s->model->config;
    return (mep_tensor_view){x.data, s->length * c->hidden_size, mep_head_dim(c), c->hidden_size};
}
