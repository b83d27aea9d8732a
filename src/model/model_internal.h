/* SPDX-License-Identifier: MIT */
/*
 * The inside of a model: its parameters, one block of float32 with a list of tensors (layout.h).
 */
#ifndef MEP_MODEL_MODEL_INTERNAL_H
#define MEP_MODEL_MODEL_INTERNAL_H

#include "base/tensor.h"
#include "mep/model.h"
#include "model/layout.h"

struct mep_model {
    mep_model_config config;
    mep_position *position; /* parsed from config.position_encoding */
    mep_bias *bias;         /* of MEP_POSITION_BIAS, else NULL */
    double *bias_values;    /* the bias parameters as float64, on their way to the bias */
    float *values;          /* all parameters */
    int64_t size;           /* values in total */
    mep_tensor *tensors;    /* [count] */
    mep_tensor_kind *kinds; /* [count] */
    unsigned char *is_new;  /* [count]: mep_model_parameter_is_new */
    int64_t count;
    int64_t first[TENSOR_KINDS]; /* index of the first tensor of a kind, that of layer 0; -1: none */
    int64_t section[SECTIONS];   /* index of the first tensor of a section */
    int64_t *layer_tensors;      /* [layers, TENSOR_KINDS]: index of the tensor; -1: the layer does not have it */
    int64_t *layer_first;        /* [layers + 1]: index of the first tensor of a layer, and of the one after the last */
    int content;  /* 1: a layer encodes position by more than a table and rotary (model/content_terms.h) */
    int all_bias; /* 1: all layers have the distance bias */
};

static inline mep_position_kind mep_model_position_kind(const mep_model *model)
{
    return mep_position_get_kind(model->position);
}

/* Whether some layer encodes position in this way. */
static inline int mep_model_has_kind(const mep_model *model, mep_position_kind kind)
{
    for (int i = 0; i < model->position->count; i++)
        if (model->position->entries[i].kind == kind) return 1;
    return 0;
}

/* Index of a tensor, -1 where the model does not have it. `layer` is 0 for tensors that are not of a layer. The
 * EMBED_OUT of a tied model is EMBED_IN. */
static inline int64_t mep_tensor_index(const mep_model *model, mep_tensor_kind kind, int64_t layer)
{
    if (mep_tensor_rows[kind].section != SECTION_LAYERS) return model->first[kind];
    return model->layer_tensors[layer * TENSOR_KINDS + kind];
}

/* Rows of the product that a matrix is of, or begins: its own and those of the matrices that join it. */
int64_t mep_product_rows(const mep_model *model, int64_t index);

/* The kind of the first tensor of what QKV_WEIGHT, QKV_BIAS and UP_WEIGHT stand for in the model's block. */
static inline mep_tensor_kind mep_kind_in_block(const mep_model *model, mep_tensor_kind kind)
{
    if (model->config.block == MEP_BLOCK_GPT_NEOX) return kind;
    return kind == QKV_WEIGHT ? Q_WEIGHT : kind == QKV_BIAS ? Q_BIAS : kind == UP_WEIGHT ? GATE_PROJ : kind;
}

/* Its values; NULL where the model does not have it. */
static inline const float *mep_tensor_values(const mep_model *model, mep_tensor_kind kind, int64_t layer)
{
    int64_t index = mep_tensor_index(model, kind, layer);
    return index >= 0 ? model->tensors[index].data : NULL;
}

/* The layer of a tensor; 0 where it is not of a layer. */
int64_t mep_tensor_layer(const mep_model *model, int64_t index);

/* How a layer encodes position. */
static inline const mep_position_entry *mep_layer_position(const mep_model *model, int64_t layer)
{
    return mep_position_of_layer(model->position, layer);
}

static inline const mep_tensor_row *mep_tensor_row_of(const mep_model *model, int64_t index)
{
    return &mep_tensor_rows[model->kinds[index]];
}

/* 1 for a parameter of the position encoding: the table of learned positions, and the parameters of a bias. */
static inline int mep_tensor_is_position(const mep_model *model, int64_t index)
{
    return mep_tensor_row_of(model, index)->group == GROUP_POSITION;
}

/* 1 for the matrix of a product: those of layers, and the output matrix, which may be the embedding. */
static inline int mep_tensor_multiplies(const mep_model *model, int64_t index)
{
    return mep_tensor_row_of(model, index)->multiplies || index == model->first[EMBED_OUT];
}

/* Whether weight decay applies to the tensor. */
static inline int mep_tensor_decays(const mep_model *model, int64_t index)
{
    return mep_tensor_row_of(model, index)->decays;
}

/* Offset of a tensor in the block, which is also its offset in gradients and optimizer state. */
static inline int64_t mep_tensor_offset(const mep_model *model, int64_t index)
{
    return (const float *)model->tensors[index].data - model->values;
}

/* Tensors first .. end - 1. */
typedef struct mep_tensor_range {
    int64_t first, end;
} mep_tensor_range;

/* The ranges of the parameter list whose gradients become final together, in the order of the list: number 0 is
 * SECTION_INPUT, then one per layer, SECTION_OUTPUT, SECTION_POSITION. A range may be empty. */
static inline int64_t mep_range_count(const mep_model *model)
{
    return model->config.num_hidden_layers + 3;
}

mep_tensor_range mep_range_at(const mep_model *model, int64_t number);
mep_tensor_range mep_section_range(const mep_model *model, mep_section section);
mep_tensor_range mep_layer_range(const mep_model *model, int64_t layer);

/* mep_model_config_check; *position is the parsed encoding, which the caller destroys. */
mep_status mep_model_config_parse(const mep_model_config *config, mep_position **position);

/* A model with its list of tensors, but without memory for them. */
mep_status mep_model_describe(mep_model **model, const mep_model_config *config);

/* Allocate the parameters of a described model, all zero. */
mep_status mep_model_allocate(mep_model *model);

/* Draw the parameters of the position encoding for `seed`. */
void mep_model_initialize_position(mep_model *model, uint64_t seed);

/* After parameters changed: clamp the bias parameters (in the block) to their ranges and load them into model->bias. */
mep_status mep_model_sync_bias(mep_model *model);

#endif
