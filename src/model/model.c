/* SPDX-License-Identifier: MIT */
/*
 * Model configuration, the parameter table and initialization. No computing and no files.
 */
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bias/position.h"
#include "nn/layers.h"

static const struct {
    const char *name;
    int64_t layers, hidden, heads;
} PRESETS[] = {
    {"nano", 4, 128, 8}, {"micro", 6, 256, 8}, {"mini", 6, 512, 8}, {"small", 12, 768, 12}, {"medium", 24, 1024, 16}};

mep_status mep_model_preset(const char *name, mep_model_config *config)
{
    MEP_REQUIRE(name, config);
    for (size_t i = 0; i < sizeof PRESETS / sizeof *PRESETS; i++) {
        if (strcmp(PRESETS[i].name, name) != 0) continue;
        *config = (mep_model_config){.vocab_size = 50304,
                                     .hidden_size = PRESETS[i].hidden,
                                     .num_hidden_layers = PRESETS[i].layers,
                                     .num_attention_heads = PRESETS[i].heads,
                                     .intermediate_size = 4 * PRESETS[i].hidden,
                                     .max_position_embeddings = 512,
                                     .layer_norm_eps = 1e-5,
                                     .rotary_emb_base = 10000,
                                     .rotary_pct = 1,
                                     .position_encoding = "mep"};
        return MEP_OK;
    }
    return mep_fail(MEP_ERROR_ARGUMENT, "unknown preset \"%s\"; presets: nano, micro, mini, small, medium", name);
}

static mep_status check_range(const char *name, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s must be from %lld to %lld, found %lld", name, (long long)low,
                    (long long)high, (long long)value);
}

static mep_status check_rotary(const mep_model_config *c)
{
    int64_t head_dim = mep_head_dim(c), dims = mep_rotary_dims(c);
    if (dims < 2 || dims % 2 != 0 || dims > head_dim)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "rotary turns pairs of channels, but rotary_pct %g of head_dim %lld is %lld; choose another "
                        "number of heads",
                        c->rotary_pct, (long long)head_dim, (long long)dims);
    return MEP_OK;
}

/* A table of a bias may have any size that a spec says: not more than a model can need. */
static mep_status check_bias(const mep_model_config *c, const mep_position *position)
{
    enum { MOST = 1 << 24 };
    double values = mep_position_values(position, c->num_attention_heads);
    if (values <= MOST) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the encoding \"%s\" has %g parameters; %d are possible", c->position_encoding,
                    values, MOST);
}

static mep_status check_position(const mep_model_config *c, const mep_position *position)
{
    mep_position_kind kind = mep_position_get_kind(position);
    if (kind == MEP_POSITION_BIAS) return check_bias(c, position);
    if (kind == MEP_POSITION_ROTARY) return check_rotary(c);
    if (kind == MEP_POSITION_SINUSOIDAL && c->hidden_size % 2 != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "sinusoidal needs an even hidden_size, found %lld",
                        (long long)c->hidden_size);
    return MEP_OK;
}

/* All fields but the position encoding. */
static mep_status check_sizes(const mep_model_config *c)
{
    MEP_TRY(check_range("vocab_size", c->vocab_size, 1, 1 << 24));
    MEP_TRY(check_range("hidden_size", c->hidden_size, 1, MEP_MAX_WIDTH));
    MEP_TRY(check_range("num_hidden_layers", c->num_hidden_layers, 1, 1000));
    MEP_TRY(check_range("num_attention_heads", c->num_attention_heads, 1, c->hidden_size));
    MEP_TRY(check_range("intermediate_size", c->intermediate_size, 1, 1 << 20));
    MEP_TRY(check_range("max_position_embeddings", c->max_position_embeddings, 1, 1 << 30));
    if (c->hidden_size % c->num_attention_heads != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "hidden_size %lld is not a multiple of num_attention_heads %lld",
                        (long long)c->hidden_size, (long long)c->num_attention_heads);
    if (!(c->layer_norm_eps > 0 && c->layer_norm_eps < 1) || !(c->rotary_emb_base > 1 && isfinite(c->rotary_emb_base)))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "layer_norm_eps must be in (0, 1) and rotary_emb_base above 1, found %g and %g",
                        c->layer_norm_eps, c->rotary_emb_base);
    if (!(c->rotary_pct >= 0 && c->rotary_pct <= 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "rotary_pct must be from 0 to 1, found %g", c->rotary_pct);
    return MEP_OK;
}

/* Check every field; *position is the parsed encoding, which the caller destroys. */
static mep_status check_config(const mep_model_config *c, mep_position **position)
{
    MEP_TRY(check_sizes(c));
    MEP_TRY(mep_position_create(position, c->position_encoding));
    mep_status status = check_position(c, *position);
    if (status != MEP_OK) mep_position_destroy(position);
    return status;
}

mep_status mep_model_config_check(const mep_model_config *config)
{
    MEP_REQUIRE(config);
    mep_position *position = NULL;
    mep_status status = check_config(config, &position);
    mep_position_destroy(&position);
    return status;
}

/* Append a tensor to the table; it has no data until the block exists. */
static int64_t append(mep_model *model, const char *name, int ndim, int64_t rows, int64_t columns)
{
    mep_tensor *t = &model->tensors[model->count];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->dtype = MEP_FLOAT32;
    t->ndim = ndim;
    t->shape[0] = rows;
    t->shape[1] = ndim == 2 ? columns : 0;
    t->size = ndim == 2 ? rows * columns : rows;
    model->size += t->size;
    return model->count++;
}

static void append_layer(mep_model *model, int64_t layer)
{
    const mep_model_config *c = &model->config;
    int64_t h = c->hidden_size, f = c->intermediate_size;
    const struct {
        const char *name;
        int64_t rows, columns;
    } parts[LAYER_TENSORS] = {{"input_layernorm.weight", h, 0},
                              {"input_layernorm.bias", h, 0},
                              {"attention.query_key_value.weight", 3 * h, h},
                              {"attention.query_key_value.bias", 3 * h, 0},
                              {"attention.dense.weight", h, h},
                              {"attention.dense.bias", h, 0},
                              {"post_attention_layernorm.weight", h, 0},
                              {"post_attention_layernorm.bias", h, 0},
                              {"mlp.dense_h_to_4h.weight", f, h},
                              {"mlp.dense_h_to_4h.bias", f, 0},
                              {"mlp.dense_4h_to_h.weight", h, f},
                              {"mlp.dense_4h_to_h.bias", h, 0}};
    for (int i = 0; i < LAYER_TENSORS; i++) {
        char name[MEP_TENSOR_NAME];
        snprintf(name, sizeof name, "gpt_neox.layers.%lld.%s", (long long)layer, parts[i].name);
        if (mep_layer_tensor(model, layer, i) >= 0)
            append(model, name, parts[i].columns > 0 ? 2 : 1, parts[i].rows, parts[i].columns);
    }
}

/* gpt_neox.NAME.weight and .bias */
static void append_norm(mep_model *model, const char *name, int64_t *weight, int64_t *bias)
{
    char part[MEP_TENSOR_NAME];
    snprintf(part, sizeof part, "gpt_neox.%s.weight", name);
    *weight = append(model, part, 1, model->config.hidden_size, 0);
    snprintf(part, sizeof part, "gpt_neox.%s.bias", name);
    if (!model->config.no_bias) *bias = append(model, part, 1, model->config.hidden_size, 0);
}

static mep_status append_all(mep_model *model)
{
    const mep_model_config *c = &model->config;
    model->embed_in = append(model, "gpt_neox.embed_in.weight", 2, c->vocab_size, c->hidden_size);
    if (mep_model_position_kind(model) == MEP_POSITION_LEARNED)
        model->embed_positions =
            append(model, "gpt_neox.embed_positions.weight", 2, c->max_position_embeddings, c->hidden_size);
    if (c->embedding_layer_norm)
        append_norm(model, "embed_layer_norm", &model->embed_norm_weight, &model->embed_norm_bias);
    model->first_layer = model->count;
    for (int64_t l = 0; l < c->num_hidden_layers; l++) append_layer(model, l);
    append_norm(model, "final_layer_norm", &model->final_norm_weight, &model->final_norm_bias);
    model->embed_out = model->embed_in;
    if (!c->tie_word_embeddings) model->embed_out = append(model, "embed_out.weight", 2, c->vocab_size, c->hidden_size);
    int64_t params = model->bias != NULL ? mep_bias_param_count(model->bias) : 0;
    if (params > 0) model->position_bias = model->count;
    for (int64_t i = 0; i < params; i++) {
        mep_bias_param p = {0};
        char name[MEP_TENSOR_NAME];
        MEP_TRY(mep_bias_get_param(model->bias, i, &p));
        snprintf(name, sizeof name, "position_bias.%s", p.name);
        append(model, name, p.ndim, p.shape[0], p.ndim == 2 ? p.shape[1] : 0);
    }
    return MEP_OK;
}

/* The bias and the table of tensors. */
static mep_status describe(mep_model *model)
{
    const mep_model_config *c = &model->config;
    if (mep_model_position_kind(model) == MEP_POSITION_BIAS)
        MEP_TRY(mep_bias_create_from(&model->bias, model->position, c->num_attention_heads, mep_head_dim(c)));
    int64_t tensors =
        7 + c->num_hidden_layers * LAYER_TENSORS + (model->bias != NULL ? mep_bias_param_count(model->bias) : 0);
    MEP_TRY(mep_alloc(&model->tensors, tensors, sizeof *model->tensors));
    MEP_TRY(append_all(model));
    return mep_alloc(&model->wide, model->bias != NULL ? mep_bias_param_values(model->bias) : 0, sizeof *model->wide);
}

mep_status mep_model_allocate(mep_model *model)
{
    MEP_TRY(mep_alloc(&model->values, model->size, sizeof *model->values));
    float *place = model->values;
    for (int64_t i = 0; i < model->count; place += model->tensors[i].size, i++) model->tensors[i].data = place;
    return MEP_OK;
}

mep_status mep_model_describe(mep_model **model, const mep_model_config *config)
{
    *model = NULL;
    mep_model *m = NULL;
    mep_position *position = NULL;
    MEP_TRY(check_config(config, &position));
    mep_status status = mep_alloc(&m, 1, sizeof *m);
    if (status != MEP_OK) {
        mep_position_destroy(&position);
        return status;
    }
    m->config = *config;
    m->position = position;
    m->embed_positions = m->position_bias = m->embed_norm_weight = m->embed_norm_bias = m->final_norm_bias = -1;
    status = describe(m);
    if (status != MEP_OK) mep_model_destroy(&m);
    *model = m;
    return status;
}

/* normal(0, 0.02) for matrices, scaled down by sqrt(2 layers) for those that write to the residual stream; LayerNorm 1,
 * biases 0 (SPEC 6). */
static void initialize(mep_model *model, int64_t index, uint64_t seed)
{
    mep_tensor *t = &model->tensors[index];
    float *x = t->data;
    double deviation = 0.02;
    if (strstr(t->name, "attention.dense.") != NULL || strstr(t->name, "dense_4h_to_h.") != NULL)
        deviation /= sqrt(2.0 * (double)model->config.num_hidden_layers);
    if (t->ndim == 2) {
        uint64_t stream = mep_random_stream(t->name);
#pragma omp parallel for
        for (int64_t i = 0; i < t->size; i++) x[i] = (float)(deviation * mep_random_normal(seed, stream, (uint64_t)i));
    } else {
        int norm_weight = strstr(t->name, "norm.weight") != NULL;
        for (int64_t i = 0; i < t->size; i++) x[i] = norm_weight ? 1.0f : 0.0f;
    }
}

void mep_model_initialize_position(mep_model *m, uint64_t seed)
{
    if (m->embed_positions >= 0) initialize(m, m->embed_positions, seed);
    if (m->position_bias < 0) return;
    mep_bias_init(m->bias, seed);
    float *values = m->tensors[m->position_bias].data;
    for (int64_t i = 0; i < mep_bias_param_values(m->bias); i++) values[i] = (float)mep_bias_params(m->bias)[i];
}

mep_status mep_model_create(mep_model **model, const mep_model_config *config, uint64_t seed)
{
    MEP_REQUIRE(model, config);
    MEP_TRY(mep_model_describe(model, config));
    mep_status status = mep_model_allocate(*model);
    if (status != MEP_OK) {
        mep_model_destroy(model);
        return status;
    }
    mep_model *m = *model;
    for (int64_t i = 0; i < m->count; i++)
        if (!mep_tensor_is_position(m, i)) initialize(m, i, seed);
    mep_model_initialize_position(m, seed);
    return MEP_OK;
}

void mep_model_destroy(mep_model **model)
{
    if (model == NULL || *model == NULL) return;
    mep_position_destroy(&(*model)->position);
    mep_bias_destroy(&(*model)->bias);
    mep_free(&(*model)->values);
    mep_free(&(*model)->wide);
    mep_free(&(*model)->tensors);
    mep_free(model);
}

const mep_model_config *mep_model_get_config(const mep_model *model)
{
    if (model == NULL) return NULL;
    return &model->config;
}

const mep_position *mep_model_get_position(const mep_model *model)
{
    if (model == NULL) return NULL;
    return model->position;
}

const mep_bias *mep_model_get_bias(const mep_model *model)
{
    if (model == NULL) return NULL;
    return model->bias;
}

int64_t mep_model_parameter_count(const mep_model *model)
{
    if (model == NULL) return 0;
    return model->count;
}

int64_t mep_model_parameter_values(const mep_model *model)
{
    if (model == NULL) return 0;
    return model->size;
}

mep_status mep_model_get_parameter(const mep_model *model, int64_t index, mep_parameter *parameter)
{
    MEP_REQUIRE(model, parameter);
    if (index < 0 || index >= model->count)
        return mep_fail(MEP_ERROR_ARGUMENT, "parameter index %lld is not in 0 .. %lld", (long long)index,
                        (long long)model->count - 1);
    const mep_tensor *t = &model->tensors[index];
    *parameter = (mep_parameter){t->name, t->ndim, {t->shape[0], t->shape[1], 0, 0}, t->size, t->data};
    return MEP_OK;
}

int mep_tensor_decays(const mep_model *model, int64_t index)
{
    return model->tensors[index].ndim == 2 && (model->position_bias < 0 || index < model->position_bias);
}

mep_status mep_model_sync_bias(mep_model *model)
{
    if (model->position_bias < 0) return MEP_OK;
    float *values = model->tensors[model->position_bias].data;
    int64_t count = mep_bias_param_values(model->bias);
    mep_bias_constrain(model->bias, values);
    for (int64_t i = 0; i < count; i++) model->wide[i] = (double)values[i];
    return mep_bias_set_params(model->bias, model->wide, count);
}
