/* SPDX-License-Identifier: MIT */
/*
 * Models: the list of tensors from the layout, initialization, and access to parameters. No computing and no files.
 */
#include "model/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bias/table.h"

/* ---- The list of tensors ---- */

/* Append a tensor; it has no data until the block exists. `number` or `part` replaces the mark in the row's name. */
static mep_tensor *append(mep_model *m, mep_tensor_kind kind, int64_t number, const char *part)
{
    const char *pattern = mep_tensor_pattern(&m->config, kind), *mark = strpbrk(pattern, "#*");
    mep_tensor *t = &m->tensors[m->count];
    if (mark == NULL)
        snprintf(t->name, sizeof t->name, "%s", pattern);
    else if (*mark == '#')
        snprintf(t->name, sizeof t->name, "%.*s%lld%s", (int)(mark - pattern), pattern, (long long)number, mark + 1);
    else
        snprintf(t->name, sizeof t->name, "%.*s%s%s", (int)(mark - pattern), pattern, part, mark + 1);
    t->dtype = MEP_FLOAT32;
    if (m->first[kind] < 0) m->first[kind] = m->count;
    m->kinds[m->count++] = kind;
    return t;
}

static void append_row(mep_model *m, mep_tensor_kind kind, int64_t layer)
{
    const mep_tensor_row *row = &mep_tensor_rows[kind];
    mep_tensor *t = append(m, kind, layer, "");
    t->ndim = row->columns == DIM_NONE ? 1 : 2;
    const mep_position_entry *entry = mep_layer_position(m, layer);
    t->shape[0] = mep_layer_dimension(&m->config, entry, row->rows);
    t->shape[1] = t->ndim == 2 ? mep_layer_dimension(&m->config, entry, row->columns) : 0;
    t->size = t->shape[0] * (t->ndim == 2 ? t->shape[1] : 1);
    m->size += t->size;
    if (row->section == SECTION_LAYERS) m->layer_tensors[layer * TENSOR_KINDS + kind] = m->count - 1;
}

/* The tensors of a section, of layer `layer` where it is that of the layers. */
static void append_section(mep_model *m, mep_section section, int64_t layer, int conditions)
{
    for (int k = 0; k < TENSOR_KINDS; k++) {
        const mep_tensor_row *row = &mep_tensor_rows[k];
        if (row->section == section && (row->present_if & ~conditions) == 0) append_row(m, (mep_tensor_kind)k, layer);
    }
}

/* The parameters of the position bias, whose names and shapes are the kernels'. */
static mep_status append_bias(mep_model *m, int64_t params)
{
    for (int64_t i = 0; i < params; i++) {
        mep_bias_param p = {0};
        MEP_TRY(mep_bias_get_param(m->bias, i, &p));
        mep_tensor *t = append(m, POSITION_BIAS, 0, p.name);
        t->ndim = p.ndim;
        for (int d = 0; d < p.ndim; d++) t->shape[d] = p.shape[d];
        t->size = p.size;
        m->size += t->size;
    }
    return MEP_OK;
}

/* List the tensors of the model: input, layers, output, position bias. */
static mep_status append_all(mep_model *m)
{
    int64_t params = m->bias != NULL ? mep_bias_param_count(m->bias) : 0, layers = m->config.num_hidden_layers;
    int conditions = mep_model_conditions(&m->config, mep_model_position_kind(m), params);
    MEP_TRY(MEP_ALLOC(&m->tensors, TENSOR_KINDS * (layers + 1) + params));
    MEP_TRY(MEP_ALLOC(&m->kinds, TENSOR_KINDS * (layers + 1) + params));
    MEP_TRY(MEP_ALLOC(&m->is_new, TENSOR_KINDS * (layers + 1) + params));
    MEP_TRY(MEP_ALLOC(&m->layer_tensors, TENSOR_KINDS * layers));
    MEP_TRY(MEP_ALLOC(&m->layer_first, layers + 1));
    for (int k = 0; k < TENSOR_KINDS; k++) m->first[k] = -1;
    for (int64_t i = 0; i < TENSOR_KINDS * layers; i++) m->layer_tensors[i] = -1;
    append_section(m, SECTION_INPUT, 0, conditions);
    m->section[SECTION_LAYERS] = m->count;
    for (int64_t l = 0; l < layers; l++) {
        m->layer_first[l] = m->count;
        append_section(m, SECTION_LAYERS, l, conditions | mep_layer_conditions(mep_layer_position(m, l)));
    }
    m->section[SECTION_OUTPUT] = m->layer_first[layers] = m->count;
    append_section(m, SECTION_OUTPUT, 0, conditions);
    m->section[SECTION_POSITION] = m->count;
    if (m->first[EMBED_OUT] < 0) m->first[EMBED_OUT] = m->first[EMBED_IN];
    return append_bias(m, params);
}

mep_tensor_range mep_section_range(const mep_model *m, mep_section section)
{
    return (mep_tensor_range){m->section[section], section + 1 < SECTIONS ? m->section[section + 1] : m->count};
}

mep_tensor_range mep_layer_range(const mep_model *m, int64_t layer)
{
    return (mep_tensor_range){m->layer_first[layer], m->layer_first[layer + 1]};
}

mep_tensor_range mep_range_at(const mep_model *m, int64_t number)
{
    int64_t layers = m->config.num_hidden_layers;
    if (number == 0) return mep_section_range(m, SECTION_INPUT);
    if (number <= layers) return mep_layer_range(m, number - 1);
    return mep_section_range(m, number == layers + 1 ? SECTION_OUTPUT : SECTION_POSITION);
}

int64_t mep_product_rows(const mep_model *m, int64_t index)
{
    int64_t rows = m->tensors[index].shape[0];
    while (++index < m->count && mep_tensor_row_of(m, index)->joins) rows += m->tensors[index].shape[0];
    return rows;
}

int64_t mep_tensor_layer(const mep_model *m, int64_t index)
{
    int64_t layer = 0;
    if (mep_tensor_row_of(m, index)->section != SECTION_LAYERS) return 0;
    while (index >= m->layer_first[layer + 1]) layer++;
    return layer;
}

/* ---- Models ---- */

/* What the layers' encodings have in common. */
static void summarize_position(mep_model *m)
{
    int some_bias = mep_position_bias_entry(m->position) != NULL;
    m->all_bias = 1;
    for (int i = 0; i < m->position->count; i++) {
        const mep_position_entry *e = &m->position->entries[i];
        m->all_bias &= e->kind == MEP_POSITION_BIAS;
        m->content |= (some_bias && m->position->count > 1) || e->window > 0 || e->scale != MEP_SCALE_NONE ||
                      mep_layer_conditions(e) != 0 || mep_entry_has_threshold(e);
    }
}

/* The bias and the list of tensors. */
static mep_status describe(mep_model *m)
{
    const mep_model_config *c = &m->config;
    MEP_TRY(mep_model_config_parse(c, &m->position));
    summarize_position(m);
    if (mep_position_bias_entry(m->position) != NULL)
        MEP_TRY(mep_bias_create_from(&m->bias, m->position, c->num_attention_heads, mep_head_dim(c)));
    if (m->bias != NULL) MEP_TRY(mep_bias_set_train_length(m->bias, c->max_position_embeddings));
    MEP_TRY(append_all(m));
    int64_t values = m->bias != NULL ? mep_bias_param_values(m->bias) : 0;
    return MEP_ALLOC(&m->bias_values, values);
}

mep_status mep_model_describe(mep_model **model, const mep_model_config *config)
{
    *model = NULL;
    mep_model *m = NULL;
    MEP_TRY(MEP_ALLOC(&m, 1));
    m->config = *config;
    mep_status status = describe(m);
    if (status != MEP_OK) mep_model_destroy(&m);
    *model = m;
    return status;
}

mep_status mep_model_config_values(const mep_model_config *config, int64_t *values)
{
    MEP_REQUIRE(config, values);
    mep_model *m = NULL;
    MEP_TRY(mep_model_describe(&m, config));
    *values = m->size;
    mep_model_destroy(&m);
    return MEP_OK;
}

mep_status mep_model_allocate(mep_model *m)
{
    MEP_TRY(MEP_ALLOC(&m->values, m->size));
    float *next = m->values;
    for (int64_t i = 0; i < m->count; next += m->tensors[i].size, i++) m->tensors[i].data = next;
    return MEP_OK;
}

/* ---- Initial values ---- */

static void fill(mep_tensor *t, float value)
{
    float *x = t->data;
    for (int64_t i = 0; i < t->size; i++) x[i] = value;
}

static void draw(mep_tensor *t, double deviation, uint64_t seed)
{
    float *x = t->data;
    uint64_t stream = mep_random_stream(t->name);
#pragma omp parallel for
    for (int64_t i = 0; i < t->size; i++) x[i] = (float)(deviation * mep_random_normal(seed, stream, (uint64_t)i));
}

/* Tensors of one kind, except those of the position bias. */
static void initialize(mep_model *m, int64_t index, uint64_t seed)
{
    const double deviation = m->config.initializer_range > 0 ? m->config.initializer_range : MEP_INITIALIZER_RANGE;
    const double residual = deviation / sqrt(2.0 * (double)m->config.num_hidden_layers);
    mep_tensor *t = &m->tensors[index];
    switch (mep_tensor_row_of(m, index)->initialization) {
    case INIT_ZERO:
        fill(t, 0);
        break;
    case INIT_ONE:
        fill(t, 1);
        break;
    case INIT_NORMAL:
        draw(t, deviation, seed);
        break;
    case INIT_NORMAL_RESIDUAL:
        draw(t, residual, seed);
        break;
    case INIT_FORGET:
        fill(t, (float)mep_layer_position(m, mep_tensor_layer(m, index))->forget_initial);
        break;
    case INIT_SSMAX:
        fill(t, 0.43f);
        break;
    case INIT_BY_KERNEL:
        break;
    }
}

void mep_model_initialize_position(mep_model *m, uint64_t seed)
{
    int64_t params = m->first[POSITION_BIAS];
    for (int64_t i = 0; i < m->count; i++)
        if (mep_tensor_is_position(m, i)) initialize(m, i, seed);
    if (params < 0) return;
    mep_bias_init(m->bias, seed);
    float *values = m->tensors[params].data;
    for (int64_t i = 0; i < mep_bias_param_values(m->bias); i++) values[i] = (float)mep_bias_params(m->bias)[i];
}

mep_status mep_model_create(mep_model **model, const mep_model_config *config, uint64_t seed)
{
    MEP_REQUIRE(model, config);
    MEP_TRY(mep_model_describe(model, config));
    mep_model *m = *model;
    mep_status status;
    MEP_TRY_OR(status, mep_model_allocate(m), failed);
    for (int64_t i = 0; i < m->count; i++)
        if (!mep_tensor_is_position(m, i)) initialize(m, i, seed);
    mep_model_initialize_position(m, seed);
    MEP_TRY_OR(status, mep_model_sync_bias(m), failed); /* opening sessions on several threads then changes nothing */
    return MEP_OK;
failed:
    mep_model_destroy(model);
    return status;
}

void mep_model_destroy(mep_model **model)
{
    if (model == NULL || *model == NULL) return;
    mep_position_destroy(&(*model)->position);
    mep_bias_destroy(&(*model)->bias);
    mep_free(&(*model)->values);
    mep_free(&(*model)->bias_values);
    mep_free(&(*model)->tensors);
    mep_free(&(*model)->kinds);
    mep_free(&(*model)->is_new);
    mep_free(&(*model)->layer_tensors);
    mep_free(&(*model)->layer_first);
    mep_free(model);
}

/* ---- Access ---- */

const mep_model_config *mep_model_get_config(const mep_model *model)
{
    return model != NULL ? &model->config : NULL;
}

const mep_position *mep_model_get_position(const mep_model *model)
{
    if (model == NULL) return NULL;
    return model->position;
}

const mep_bias *mep_model_get_bias(const mep_model *model)
{
    return model != NULL ? model->bias : NULL;
}

int64_t mep_model_parameter_count(const mep_model *model)
{
    return model != NULL ? model->count : 0;
}

int64_t mep_model_parameter_values(const mep_model *model)
{
    return model != NULL ? model->size : 0;
}

mep_status mep_model_get_parameter(const mep_model *model, int64_t index, mep_parameter *parameter)
{
    MEP_REQUIRE(model, parameter);
    if (index < 0 || index >= model->count)
        return mep_fail(MEP_ERROR_ARGUMENT, "parameter index %lld is not in 0 .. %lld", (long long)index,
                        (long long)model->count - 1);
    const mep_tensor *t = &model->tensors[index];
    *parameter = (mep_parameter){.name = t->name,
                                 .group = mep_group_name(mep_tensor_row_of(model, index)->group),
                                 .ndim = t->ndim,
                                 .shape = {t->shape[0], t->shape[1], 0, 0},
                                 .size = t->size,
                                 .values = t->data};
    return MEP_OK;
}

int mep_model_parameter_is_new(const mep_model *model, int64_t index)
{
    return model != NULL && index >= 0 && index < model->count && model->is_new[index];
}

mep_status mep_model_sync_bias(mep_model *m)
{
    int64_t params = m->first[POSITION_BIAS];
    if (params < 0) return MEP_OK;
    float *values = m->tensors[params].data;
    int64_t count = mep_bias_param_values(m->bias);
    mep_bias_constrain(m->bias, values);
    if (mep_bias_has_params(m->bias, values)) return MEP_OK; /* sessions on other threads may be reading the bias */
    for (int64_t i = 0; i < count; i++) m->bias_values[i] = (double)values[i];
    return mep_bias_set_params(m->bias, m->bias_values, count);
}
