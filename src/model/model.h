/* SPDX-License-Identifier: MIT */
/*
 * The model's inside: its parameters, one block of float32 with a table of names and shapes.
 */
#ifndef MEP_MODEL_MODEL_H
#define MEP_MODEL_MODEL_H

#include "base/tensor.h"
#include "mep/model.h"

/* Tensors of a layer, in the order of the table. Without biases those are left out. */
enum {
    LN1_WEIGHT,
    LN1_BIAS,
    QKV_WEIGHT,
    QKV_BIAS,
    DENSE_WEIGHT,
    DENSE_BIAS,
    LN2_WEIGHT,
    LN2_BIAS,
    UP_WEIGHT,
    UP_BIAS,
    DOWN_WEIGHT,
    DOWN_BIAS,
    LAYER_TENSORS
};

struct mep_model {
    mep_model_config config;
    mep_position *position; /* parsed from config.position_encoding */
    mep_bias *bias;         /* of MEP_POSITION_BIAS, else NULL */
    double *wide;           /* the bias parameters as float64, on their way to the bias */
    float *values;          /* all parameters */
    int64_t size;           /* values in all */
    mep_tensor *tensors;
    int64_t count;
    /* indices into tensors; -1 where there is none. embed_out is embed_in where they are tied */
    int64_t embed_in, embed_positions, embed_norm_weight, embed_norm_bias, first_layer, final_norm_weight,
        final_norm_bias, embed_out, position_bias;
};

static inline mep_position_kind mep_model_position_kind(const mep_model *model)
{
    return mep_position_get_kind(model->position);
}

/* Channels of a head. */
static inline int64_t mep_head_dim(const mep_model_config *config)
{
    return config->hidden_size / config->num_attention_heads;
}

/* Channels of a head that rotary turns. */
static inline int64_t mep_rotary_dims(const mep_model_config *config)
{
    return (int64_t)((double)mep_head_dim(config) * config->rotary_pct);
}

/* Index of tensor `which` of a layer; -1 for a bias that the model has not. Weights and biases alternate. */
static inline int64_t mep_layer_tensor(const mep_model *model, int64_t layer, int which)
{
    if (!model->config.no_bias) return model->first_layer + layer * LAYER_TENSORS + which;
    return which % 2 == 1 ? -1 : model->first_layer + (layer * LAYER_TENSORS + which) / 2;
}

/* Its values; NULL where the model has none. */
static inline const float *mep_layer_values(const mep_model *model, int64_t layer, int which)
{
    int64_t index = mep_layer_tensor(model, layer, which);
    return index >= 0 ? model->tensors[index].data : NULL;
}

/* 1 for a parameter of the position encoding: the table of learned positions, and those of a bias. */
static inline int mep_tensor_is_position(const mep_model *model, int64_t index)
{
    return index == model->embed_positions || (model->position_bias >= 0 && index >= model->position_bias);
}

/* 1 for a matrix of a product: a layer's, and the output's, which may be the embedding. */
static inline int mep_tensor_multiplies(const mep_model *model, int64_t index)
{
    return index == model->embed_out ||
           (model->tensors[index].ndim == 2 && index >= model->first_layer && !mep_tensor_is_position(model, index));
}

/* Offset of a tensor in the block, which is also its offset in gradients and optimizer state. */
static inline int64_t mep_tensor_offset(const mep_model *model, int64_t index)
{
    return (const float *)model->tensors[index].data - model->values;
}

/* Whether weight decay falls on the tensor: matrices and embeddings, not biases, LayerNorm or position parameters. */
int mep_tensor_decays(const mep_model *model, int64_t index);

/* A model with its table of tensors, but no memory for them yet. */
mep_status mep_model_describe(mep_model **model, const mep_model_config *config);

/* The block of parameters of a described model, all zero. */
mep_status mep_model_allocate(mep_model *model);

/* Draw the parameters of the position encoding for `seed`. */
void mep_model_initialize_position(mep_model *model, uint64_t seed);

/* After parameters changed: move the bias parameters into their ranges (in the block) and load them into model->bias.
 */
mep_status mep_model_sync_bias(mep_model *model);

#endif
