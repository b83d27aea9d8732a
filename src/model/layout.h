/* SPDX-License-Identifier: MIT */
/*
 * The tensors of a model as one table: name, shape, when a model has it, whether a product, weight decay and which
 * initialization apply. All sizes of a model follow from it: parameter lists, activations, work and memory. Nothing is
 * computed or allocated here.
 */
#ifndef MEP_MODEL_LAYOUT_H
#define MEP_MODEL_LAYOUT_H

#include "bias/position.h"
#include "mep/model.h"

/* The rows of the table, in the order of a model's parameters. Those from NORM1_WEIGHT to SINK occur in every
 * layer; those from FORGET_WEIGHT on depend on how the layer encodes position. POSITION_BIAS stands for all parameters
 * of the position bias. */
typedef enum mep_tensor_kind {
    EMBED_IN,
    EMBED_POSITIONS,
    EMBED_NORM_WEIGHT,
    EMBED_NORM_BIAS,
    NORM1_WEIGHT,
    NORM1_BIAS,
    QKV_WEIGHT,
    QKV_BIAS,
    Q_WEIGHT, /* this and the next two are one matrix, the Llama block's QKV_WEIGHT; so are the biases */
    K_WEIGHT,
    V_WEIGHT,
    Q_BIAS,
    K_BIAS,
    V_BIAS,
    Q_NORM,
    K_NORM,
    DENSE_WEIGHT,
    DENSE_BIAS,
    NORM2_WEIGHT,
    NORM2_BIAS,
    UP_WEIGHT,
    UP_BIAS,
    GATE_PROJ, /* this and the next are one matrix, the Llama block's UP_WEIGHT */
    UP_PROJ,
    DOWN_WEIGHT,
    DOWN_BIAS,
    FORGET_WEIGHT,
    FORGET_BIAS,
    PROFILES_WEIGHT,
    PROFILES_BANK,
    WEIGHTS_QUERY,
    SSMAX_SCALE,
    SINK,
    FINAL_NORM_WEIGHT,
    FINAL_NORM_BIAS,
    EMBED_OUT,
    POSITION_BIAS,
    TENSOR_KINDS
} mep_tensor_kind;

/* Consecutive parts of the parameter list. The backward pass completes their gradients in reverse order, except those
 * of the position bias, which come last. */
typedef enum mep_section { SECTION_INPUT, SECTION_LAYERS, SECTION_OUTPUT, SECTION_POSITION, SECTIONS } mep_section;

/* Sizes that a configuration gives. */
typedef enum mep_dimension {
    DIM_NONE,
    DIM_VOCAB,
    DIM_POSITIONS,
    DIM_HIDDEN,
    DIM_HEADS, /* channels of all query heads: heads * head_dim */
    DIM_QKV,   /* of queries, keys and values */
    DIM_MLP,
    DIM_UP,     /* of what the MLP computes first: twice DIM_MLP with SwiGLU */
    DIM_KV,     /* channels of all key/value heads */
    DIM_Q_NORM, /* channels that a norm of queries, or of keys, is of */
    DIM_K_NORM,
    DIM_HEAD_COUNT, /* query heads; this and the following are those of a layer (mep_layer_dimension) */
    DIM_PROFILES,   /* heads * rank */
    DIM_RANK,
    DIM_EXTENT,
    DIM_MIXTURE /* heads * kernels */
} mep_dimension;

typedef enum mep_initialization {
    INIT_ZERO,
    INIT_ONE,
    INIT_NORMAL,          /* normal(0, initializer_range) */
    INIT_NORMAL_RESIDUAL, /* divided by sqrt(2 layers): a matrix that writes to the residual stream */
    INIT_FORGET,          /* the bias of a forget gate */
    INIT_SSMAX,           /* 0.43, the value of arXiv:2501.19399 */
    INIT_BY_KERNEL        /* mep_bias_init */
} mep_initialization;

/* The group that a parameter is counted in (mep_parameter). */
typedef enum mep_group {
    GROUP_TOKEN_EMBEDDINGS,
    GROUP_POSITION,
    GROUP_ATTENTION,
    GROUP_MLP,
    GROUP_NORMS,
    GROUP_OUTPUT
} mep_group;

/* Conditions for the existence of a tensor: a model that fulfils all conditions of present_if has it. */
enum {
    IF_BIAS = 1, /* linear layers and norms with biases */
    IF_EMBEDDING_NORM = 2,
    IF_LEARNED_POSITIONS = 4,
    IF_NOT_TIED = 8,
    IF_BIAS_LEARNS = 16, /* the position bias has parameters */
    IF_FORGET = 32,
    IF_FORGET_BIAS = 64,
    IF_PROFILES = 128,
    IF_WEIGHTS_QUERY = 256,
    IF_SSMAX = 512,
    IF_SINK = 1024,
    IF_NEOX = 2048,
    IF_LLAMA = 4096,
    IF_QKV_BIAS = 8192,
    IF_QK_NORM = 16384
};

typedef struct mep_tensor_row {
    const char *name;  /* "#" is the number of the layer, "*" the name of a parameter of the position bias */
    const char *llama; /* the name in a Llama block; NULL: the same */
    mep_section section;
    mep_dimension rows, columns; /* columns of DIM_NONE: a vector */
    int present_if;
    mep_group group;
    mep_initialization initialization;
    int decays;     /* weight decay applies: matrices and embeddings */
    int multiplies; /* the matrix of a product y = x W^T */
    int joins;      /* the rows of this matrix follow those of the row before: one product computes both */
} mep_tensor_row;

extern const mep_tensor_row mep_tensor_rows[TENSOR_KINDS];

/* The row's name in the configuration's block. */
const char *mep_tensor_pattern(const mep_model_config *config, mep_tensor_kind kind);

const char *mep_group_name(mep_group group);

/* The conditions (IF_...) that a model fulfils. bias_params: parameters of its position bias. */
int mep_model_conditions(const mep_model_config *config, mep_position_kind position, int64_t bias_params);

/* Those that the position encoding of a layer fulfils in addition. */
int mep_layer_conditions(const mep_position_entry *entry);

/* ---- Sizes ---- */

/* Channels of a head, and key/value heads: the configuration's, where it leaves them open the default. */
int64_t mep_head_dim(const mep_model_config *config);
int64_t mep_key_value_heads(const mep_model_config *config);
/* initializer_range where the configuration leaves it open: GPT-2's, and that of Hugging Face's configurations. */
#define MEP_INITIALIZER_RANGE 0.02

/* What the rotation of a layer takes from the model: channels of a head that it rotates, its base, and the length of
 * training. */
mep_rotary_model mep_rotary_model_of(const mep_model_config *config, const mep_rotary_options *options);

int64_t mep_dimension_of(const mep_model_config *config, mep_dimension dimension);

/* The same for any dimension of a layer that encodes position by `entry`. */
int64_t mep_layer_dimension(const mep_model_config *config, const mep_position_entry *entry, mep_dimension dimension);

/* Values of a tensor, and of a matrix its rows (outputs) and columns (inputs). */
int64_t mep_kind_values(const mep_model_config *config, mep_tensor_kind kind);
int64_t mep_kind_rows(const mep_model_config *config, mep_tensor_kind kind);
int64_t mep_kind_columns(const mep_model_config *config, mep_tensor_kind kind);

/* Column of fused queries, keys and values at which a head's queries (0), keys (1) or values (2) begin; for keys and
 * values `head` is a key/value head. */
int64_t mep_qkv_row(const mep_model_config *config, int64_t head, int which);

/* Activations that a layer leaves for its backward pass, in the order of computation. */
enum { ACT_NORM1, ACT_RAW, ACT_QKV, ACT_ATTENDED, ACT_NORM2, ACT_UP, ACT_GELU, ACTIVATIONS };

/* The width of one; 0 where a model does not have it: ACT_RAW, queries and keys before their norm. */
int64_t mep_activation_width(const mep_model_config *config, int activation);

/* Width of the widest one. */
int64_t mep_widest_activation(const mep_model_config *config);

/* Rows of logits that a session of `rows` rows computes at a time: 256 MB of them, but at least 64 rows. */
int64_t mep_logit_rows(const mep_model_config *config, int64_t rows);

/* ---- Work and memory ---- */

/* Operations of the forward pass for one token: in each layer before attention, in attention for each key that the
 * token sees, and after attention; and in the output layer. */
typedef struct mep_token_work {
    double before, attention, after, output;
} mep_token_work;
mep_token_work mep_token_work_of(const mep_model_config *config);

/* Operations of the forward pass for a sequence: all products, and attention over each token's earlier keys. */
double mep_products_work(const mep_model_config *config, int64_t length);
double mep_attention_work(const mep_model_config *config, int64_t length);

/* Bytes that a training session of `rows` rows has for its rows: all that it holds except parameters, their gradients,
 * tables of positions, and what score terms compute from the content. */
double mep_training_bytes(const mep_model_config *config, mep_dtype dtype, int recompute, int64_t rows);

#endif
