/* SPDX-License-Identifier: MIT */
/*
 * The table of tensors, and the sizes that follow from it.
 */
#include "model/layout.h"

#include "base/assertion.h"
#include "base/integer.h"

#define LAYER(NAME) "gpt_neox.layers.#." NAME
#define PROJ(NAME) "model.layers.#." NAME

/* clang-format off */
const mep_tensor_row mep_tensor_rows[TENSOR_KINDS] = {
    [EMBED_IN] = {.name = "gpt_neox.embed_in.weight", .llama = "model.embed_tokens.weight", .section = SECTION_INPUT, .rows = DIM_VOCAB,
                  .columns = DIM_HIDDEN, .group = GROUP_TOKEN_EMBEDDINGS, .initialization = INIT_NORMAL, .decays = 1},
    [EMBED_POSITIONS] = {.name = "gpt_neox.embed_positions.weight", .llama = "model.embed_positions.weight", .section = SECTION_INPUT, .rows = DIM_POSITIONS,
                         .columns = DIM_HIDDEN, .present_if = IF_LEARNED_POSITIONS, .group = GROUP_POSITION,
                         .initialization = INIT_NORMAL, .decays = 1},
    [EMBED_NORM_WEIGHT] = {.name = "gpt_neox.embed_layer_norm.weight", .section = SECTION_INPUT, .rows = DIM_HIDDEN,
                           .present_if = IF_EMBEDDING_NORM, .group = GROUP_NORMS, .initialization = INIT_ONE},
    [EMBED_NORM_BIAS] = {.name = "gpt_neox.embed_layer_norm.bias", .section = SECTION_INPUT, .rows = DIM_HIDDEN,
                         .present_if = IF_EMBEDDING_NORM | IF_BIAS, .group = GROUP_NORMS},

    [NORM1_WEIGHT] = {.name = LAYER("input_layernorm.weight"), .llama = "model.layers.#.input_layernorm.weight", .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                      .group = GROUP_NORMS, .initialization = INIT_ONE},
    [NORM1_BIAS] = {.name = LAYER("input_layernorm.bias"), .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                    .present_if = IF_BIAS, .group = GROUP_NORMS},
    [QKV_WEIGHT] = {.name = LAYER("attention.query_key_value.weight"), .section = SECTION_LAYERS, .rows = DIM_QKV,
                    .columns = DIM_HIDDEN, .present_if = IF_NEOX, .group = GROUP_ATTENTION, .initialization = INIT_NORMAL, .decays = 1,
                    .multiplies = 1},
    [QKV_BIAS] = {.name = LAYER("attention.query_key_value.bias"), .section = SECTION_LAYERS, .rows = DIM_QKV,
                  .present_if = IF_BIAS, .group = GROUP_ATTENTION},
    [Q_WEIGHT] = {.name = PROJ("self_attn.q_proj.weight"), .section = SECTION_LAYERS, .rows = DIM_HEADS,
                  .columns = DIM_HIDDEN, .present_if = IF_LLAMA, .group = GROUP_ATTENTION,
                  .initialization = INIT_NORMAL, .decays = 1, .multiplies = 1},
    [K_WEIGHT] = {.name = PROJ("self_attn.k_proj.weight"), .section = SECTION_LAYERS, .rows = DIM_KV,
                  .columns = DIM_HIDDEN, .present_if = IF_LLAMA, .group = GROUP_ATTENTION,
                  .initialization = INIT_NORMAL, .decays = 1, .multiplies = 1, .joins = 1},
    [V_WEIGHT] = {.name = PROJ("self_attn.v_proj.weight"), .section = SECTION_LAYERS, .rows = DIM_KV,
                  .columns = DIM_HIDDEN, .present_if = IF_LLAMA, .group = GROUP_ATTENTION,
                  .initialization = INIT_NORMAL, .decays = 1, .multiplies = 1, .joins = 1},
    [Q_BIAS] = {.name = PROJ("self_attn.q_proj.bias"), .section = SECTION_LAYERS, .rows = DIM_HEADS,
                .present_if = IF_QKV_BIAS, .group = GROUP_ATTENTION},
    [K_BIAS] = {.name = PROJ("self_attn.k_proj.bias"), .section = SECTION_LAYERS, .rows = DIM_KV,
                .present_if = IF_QKV_BIAS, .group = GROUP_ATTENTION, .joins = 1},
    [V_BIAS] = {.name = PROJ("self_attn.v_proj.bias"), .section = SECTION_LAYERS, .rows = DIM_KV,
                .present_if = IF_QKV_BIAS, .group = GROUP_ATTENTION, .joins = 1},
    [Q_NORM] = {.name = PROJ("self_attn.q_norm.weight"), .section = SECTION_LAYERS, .rows = DIM_Q_NORM,
                .present_if = IF_QK_NORM, .group = GROUP_NORMS, .initialization = INIT_ONE},
    [K_NORM] = {.name = PROJ("self_attn.k_norm.weight"), .section = SECTION_LAYERS, .rows = DIM_K_NORM,
                .present_if = IF_QK_NORM, .group = GROUP_NORMS, .initialization = INIT_ONE},
    [DENSE_WEIGHT] = {.name = LAYER("attention.dense.weight"), .llama = "model.layers.#.self_attn.o_proj.weight", .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                      .columns = DIM_HEADS, .group = GROUP_ATTENTION, .initialization = INIT_NORMAL_RESIDUAL,
                      .decays = 1, .multiplies = 1},
    [DENSE_BIAS] = {.name = LAYER("attention.dense.bias"), .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                    .present_if = IF_BIAS, .group = GROUP_ATTENTION},
    [NORM2_WEIGHT] = {.name = LAYER("post_attention_layernorm.weight"), .llama = "model.layers.#.post_attention_layernorm.weight", .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                      .group = GROUP_NORMS, .initialization = INIT_ONE},
    [NORM2_BIAS] = {.name = LAYER("post_attention_layernorm.bias"), .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                    .present_if = IF_BIAS, .group = GROUP_NORMS},
    [UP_WEIGHT] = {.name = LAYER("mlp.dense_h_to_4h.weight"), .section = SECTION_LAYERS, .rows = DIM_UP,
                   .columns = DIM_HIDDEN, .present_if = IF_NEOX, .group = GROUP_MLP, .initialization = INIT_NORMAL, .decays = 1,
                   .multiplies = 1},
    [UP_BIAS] = {.name = LAYER("mlp.dense_h_to_4h.bias"), .section = SECTION_LAYERS, .rows = DIM_UP,
                 .present_if = IF_BIAS, .group = GROUP_MLP},
    [GATE_PROJ] = {.name = PROJ("mlp.gate_proj.weight"), .section = SECTION_LAYERS, .rows = DIM_MLP,
                   .columns = DIM_HIDDEN, .present_if = IF_LLAMA, .group = GROUP_MLP, .initialization = INIT_NORMAL,
                   .decays = 1, .multiplies = 1},
    [UP_PROJ] = {.name = PROJ("mlp.up_proj.weight"), .section = SECTION_LAYERS, .rows = DIM_MLP,
                 .columns = DIM_HIDDEN, .present_if = IF_LLAMA, .group = GROUP_MLP, .initialization = INIT_NORMAL,
                 .decays = 1, .multiplies = 1, .joins = 1},
    [DOWN_WEIGHT] = {.name = LAYER("mlp.dense_4h_to_h.weight"), .llama = "model.layers.#.mlp.down_proj.weight", .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                     .columns = DIM_MLP, .group = GROUP_MLP, .initialization = INIT_NORMAL_RESIDUAL, .decays = 1,
                     .multiplies = 1},
    [DOWN_BIAS] = {.name = LAYER("mlp.dense_4h_to_h.bias"), .section = SECTION_LAYERS, .rows = DIM_HIDDEN,
                   .present_if = IF_BIAS, .group = GROUP_MLP},

    [FORGET_WEIGHT] = {.name = LAYER("attention.position_bias.forget.weight"), .llama = "model.layers.#.self_attn.position_bias.forget.weight", .section = SECTION_LAYERS,
                       .rows = DIM_HEAD_COUNT, .columns = DIM_HIDDEN, .present_if = IF_FORGET, .group = GROUP_POSITION,
                       .initialization = INIT_NORMAL, .multiplies = 1},
    [FORGET_BIAS] = {.name = LAYER("attention.position_bias.forget.bias"), .llama = "model.layers.#.self_attn.position_bias.forget.bias", .section = SECTION_LAYERS,
                     .rows = DIM_HEAD_COUNT, .present_if = IF_FORGET_BIAS, .group = GROUP_POSITION,
                     .initialization = INIT_FORGET},
    [PROFILES_WEIGHT] = {.name = LAYER("attention.position_bias.profiles.query.weight"), .llama = "model.layers.#.self_attn.position_bias.profiles.query.weight", .section = SECTION_LAYERS,
                         .rows = DIM_PROFILES, .columns = DIM_HIDDEN, .present_if = IF_PROFILES,
                         .group = GROUP_POSITION, .initialization = INIT_NORMAL, .multiplies = 1},
    [PROFILES_BANK] = {.name = LAYER("attention.position_bias.profiles.bank"), .llama = "model.layers.#.self_attn.position_bias.profiles.bank", .section = SECTION_LAYERS,
                       .rows = DIM_RANK, .columns = DIM_EXTENT, .present_if = IF_PROFILES, .group = GROUP_POSITION,
                       .initialization = INIT_NORMAL},
    [WEIGHTS_QUERY] = {.name = LAYER("attention.position_bias.weights_query.weight"), .llama = "model.layers.#.self_attn.position_bias.weights_query.weight", .section = SECTION_LAYERS,
                       .rows = DIM_MIXTURE, .columns = DIM_HIDDEN, .present_if = IF_WEIGHTS_QUERY,
                       .group = GROUP_POSITION, .multiplies = 1},
    [SSMAX_SCALE] = {.name = LAYER("attention.position_bias.ssmax.scale"), .llama = "model.layers.#.self_attn.position_bias.ssmax.scale", .section = SECTION_LAYERS,
                     .rows = DIM_HEAD_COUNT, .present_if = IF_SSMAX, .group = GROUP_POSITION,
                     .initialization = INIT_SSMAX},
    [SINK] = {.name = LAYER("attention.position_bias.sink"), .llama = "model.layers.#.self_attn.position_bias.sink", .section = SECTION_LAYERS, .rows = DIM_HEAD_COUNT,
              .present_if = IF_SINK, .group = GROUP_POSITION},

    [FINAL_NORM_WEIGHT] = {.name = "gpt_neox.final_layer_norm.weight", .llama = "model.norm.weight", .section = SECTION_OUTPUT, .rows = DIM_HIDDEN,
                           .group = GROUP_NORMS, .initialization = INIT_ONE},
    [FINAL_NORM_BIAS] = {.name = "gpt_neox.final_layer_norm.bias", .section = SECTION_OUTPUT, .rows = DIM_HIDDEN,
                         .present_if = IF_BIAS, .group = GROUP_NORMS},
    [EMBED_OUT] = {.name = "embed_out.weight", .llama = "lm_head.weight", .section = SECTION_OUTPUT, .rows = DIM_VOCAB, .columns = DIM_HIDDEN,
                   .present_if = IF_NOT_TIED, .group = GROUP_OUTPUT, .initialization = INIT_NORMAL, .decays = 1,
                   .multiplies = 1},
    [POSITION_BIAS] = {.name = "position_bias.*", .section = SECTION_POSITION, .present_if = IF_BIAS_LEARNS,
                       .group = GROUP_POSITION, .initialization = INIT_BY_KERNEL},
};
/* clang-format on */

static const mep_dimension activation_widths[ACTIVATIONS] = {
    [ACT_NORM1] = DIM_HIDDEN, [ACT_RAW] = DIM_QKV, [ACT_QKV] = DIM_QKV, [ACT_ATTENDED] = DIM_HEADS,
    [ACT_NORM2] = DIM_HIDDEN, [ACT_UP] = DIM_UP,   [ACT_GELU] = DIM_MLP};

const char *mep_tensor_pattern(const mep_model_config *c, mep_tensor_kind kind)
{
    const mep_tensor_row *row = &mep_tensor_rows[kind];
    if (c->post_norm && kind == NORM1_WEIGHT) return PROJ("post_attention_layernorm.weight");
    if (c->post_norm && kind == NORM2_WEIGHT) return PROJ("post_feedforward_layernorm.weight");
    return c->block == MEP_BLOCK_LLAMA && row->llama != NULL ? row->llama : row->name;
}

const char *mep_group_name(mep_group group)
{
    static const char *const names[] = {[GROUP_TOKEN_EMBEDDINGS] = "token_embeddings",
                                        [GROUP_POSITION] = "position",
                                        [GROUP_ATTENTION] = "attention",
                                        [GROUP_MLP] = "mlp",
                                        [GROUP_NORMS] = "layer_norms",
                                        [GROUP_OUTPUT] = "output"};
    return names[group];
}

int mep_model_conditions(const mep_model_config *c, mep_position_kind position, int64_t bias_params)
{
    if (c->block == MEP_BLOCK_LLAMA)
        return IF_LLAMA | (c->qkv_bias ? IF_QKV_BIAS : 0) | (c->qk_norm != MEP_QK_NORM_NONE ? IF_QK_NORM : 0) |
               (position == MEP_POSITION_LEARNED ? IF_LEARNED_POSITIONS : 0) |
               (c->tie_word_embeddings ? 0 : IF_NOT_TIED) | (bias_params > 0 ? IF_BIAS_LEARNS : 0);
    return IF_NEOX | (c->no_bias ? 0 : IF_BIAS) | (c->embedding_layer_norm ? IF_EMBEDDING_NORM : 0) |
           (position == MEP_POSITION_LEARNED ? IF_LEARNED_POSITIONS : 0) | (c->tie_word_embeddings ? 0 : IF_NOT_TIED) |
           (bias_params > 0 ? IF_BIAS_LEARNS : 0);
}

int mep_layer_conditions(const mep_position_entry *e)
{
    return (e->forget ? IF_FORGET : 0) | (e->forget && e->forget_bias ? IF_FORGET_BIAS : 0) |
           (e->rank > 0 ? IF_PROFILES : 0) | (e->weights_query ? IF_WEIGHTS_QUERY : 0) |
           (e->scale == MEP_SCALE_SSMAX ? IF_SSMAX : 0) | (e->sink ? IF_SINK : 0);
}

/* ---- Sizes ---- */

int64_t mep_head_dim(const mep_model_config *c)
{
    return c->head_dim > 0 ? c->head_dim : c->hidden_size / c->num_attention_heads;
}

int64_t mep_key_value_heads(const mep_model_config *c)
{
    return c->num_key_value_heads > 0 ? c->num_key_value_heads : c->num_attention_heads;
}

mep_rotary_model mep_rotary_model_of(const mep_model_config *c, const mep_rotary_options *o)
{
    double partial = o->partial > 0 ? o->partial : c->rotary_pct;
    return (mep_rotary_model){.base = o->base > 0 ? o->base : c->rotary_emb_base,
                              .dims = (int64_t)((double)mep_head_dim(c) * partial),
                              .original = o->original > 0 ? (int64_t)o->original : c->max_position_embeddings};
}

int64_t mep_dimension_of(const mep_model_config *c, mep_dimension dimension)
{
    switch (dimension) {
    case DIM_VOCAB:
        return c->vocab_size;
    case DIM_POSITIONS:
        return c->max_position_embeddings;
    case DIM_HIDDEN:
        return c->hidden_size;
    case DIM_HEADS:
        return c->num_attention_heads * mep_head_dim(c);
    case DIM_QKV:
        return (c->num_attention_heads + 2 * mep_key_value_heads(c)) * mep_head_dim(c);
    case DIM_MLP:
        return c->intermediate_size;
    case DIM_UP:
        return (c->mlp == MEP_MLP_SWIGLU ? 2 : 1) * c->intermediate_size;
    case DIM_KV:
        return mep_key_value_heads(c) * mep_head_dim(c);
    case DIM_Q_NORM:
        return (c->qk_norm == MEP_QK_NORM_ALL ? c->num_attention_heads : 1) * mep_head_dim(c);
    case DIM_K_NORM:
        return (c->qk_norm == MEP_QK_NORM_ALL ? mep_key_value_heads(c) : 1) * mep_head_dim(c);
    default:
        break;
    }
    return 1;
}

int64_t mep_layer_dimension(const mep_model_config *c, const mep_position_entry *e, mep_dimension dimension)
{
    switch (dimension) {
    case DIM_HEAD_COUNT:
        return c->num_attention_heads;
    case DIM_PROFILES:
        return c->num_attention_heads * e->rank;
    case DIM_RANK:
        return e->rank;
    case DIM_EXTENT:
        return e->extent > 0 ? e->extent : c->max_position_embeddings;
    case DIM_MIXTURE:
        return c->num_attention_heads * e->mixture.count;
    default:
        return mep_dimension_of(c, dimension);
    }
}

int64_t mep_kind_rows(const mep_model_config *c, mep_tensor_kind kind)
{
    return mep_dimension_of(c, mep_tensor_rows[kind].rows);
}

int64_t mep_kind_columns(const mep_model_config *c, mep_tensor_kind kind)
{
    return mep_dimension_of(c, mep_tensor_rows[kind].columns);
}

int64_t mep_kind_values(const mep_model_config *c, mep_tensor_kind kind)
{
    return mep_kind_rows(c, kind) * mep_kind_columns(c, kind);
}

int64_t mep_qkv_row(const mep_model_config *c, int64_t head, int which)
{
    int64_t heads = c->num_attention_heads, kv = mep_key_value_heads(c);
    if (c->block == MEP_BLOCK_GPT_NEOX) return (3 * head + which) * mep_head_dim(c);
    return (head + (which > 0 ? heads : 0) + (which > 1 ? kv : 0)) * mep_head_dim(c);
}

int64_t mep_activation_width(const mep_model_config *c, int activation)
{
    if (activation == ACT_RAW && c->qk_norm == MEP_QK_NORM_NONE) return 0;
    return mep_dimension_of(c, activation_widths[activation]);
}

int64_t mep_widest_activation(const mep_model_config *c)
{
    int64_t widest = 0;
    for (int i = 0; i < ACTIVATIONS; i++) widest = max_i64(widest, mep_activation_width(c, i));
    return widest;
}

int64_t mep_logit_rows(const mep_model_config *c, int64_t rows)
{
    int64_t chunk = ((int64_t)64 << 20) / c->vocab_size;
    return min_i64(max_i64(chunk, 64), rows);
}

/* ---- Work and memory ---- */

static double product(const mep_model_config *c, mep_tensor_kind kind)
{
    return 2 * (double)mep_kind_values(c, kind);
}

mep_token_work mep_token_work_of(const mep_model_config *c)
{
    return (mep_token_work){.before = product(c, QKV_WEIGHT),
                            .attention = 4 * (double)mep_dimension_of(c, DIM_HEADS),
                            .after = product(c, DENSE_WEIGHT) + product(c, UP_WEIGHT) + product(c, DOWN_WEIGHT),
                            .output = product(c, EMBED_OUT)};
}

double mep_products_work(const mep_model_config *c, int64_t length)
{
    mep_token_work w = mep_token_work_of(c);
    return (double)length * ((double)c->num_hidden_layers * (w.before + w.after) + w.output);
}

double mep_attention_work(const mep_model_config *c, int64_t length)
{
    double keys = (double)length / 2; /* on average */
    return (double)c->num_hidden_layers * mep_token_work_of(c).attention * (double)length * keys;
}

/* Bytes per row of a layer's activations (allocate_layer in session.c): the stream after attention, the activations,
 * and the statistics of norms and of softmax. */
static double layer_row(const mep_model_config *c, double width)
{
    double channels = 0, heads = (double)c->num_attention_heads, keys = (double)mep_key_value_heads(c);
    for (int i = 0; i < ACTIVATIONS; i++) channels += (double)mep_activation_width(c, i);
    double statistics = 4 + heads + (c->qk_norm != MEP_QK_NORM_NONE ? heads + keys : 0);
    double stream = (c->post_norm ? 3 : 1) * 4 * (double)c->hidden_size; /* with the branches before their norms */
    return stream + width * channels + 4 * statistics;
}

/* Bytes per row of the gradients of activations (allocate_training in session.c). */
static double gradient_row(const mep_model_config *c, double width)
{
    int64_t hidden = c->hidden_size,
            channels = mep_widest_activation(c) + max_i64(hidden, mep_dimension_of(c, DIM_HEADS));
    if (width < 4 || c->residual == MEP_RESIDUAL_PARALLEL) channels += hidden;
    if (c->mlp == MEP_MLP_SWIGLU) channels += c->intermediate_size;
    return (c->post_norm ? 2 : 1) * 4 * (double)hidden + width * (double)channels;
}

double mep_training_bytes(const mep_model_config *c, mep_dtype dtype, int recompute, int64_t rows)
{
    double width = (double)mep_dtype_size(dtype), stream = 4 * (double)c->hidden_size;
    double layers = (double)c->num_hidden_layers, row = stream * (layers + 1);
    row += layer_row(c, width) * (recompute ? 1 : layers) + gradient_row(c, width);
    row += width * (double)c->hidden_size + 5 * 4; /* the last norm; token, target, loss, mean and deviation */
    if (c->embedding_layer_norm) row += stream + 2 * 4;
    double logits = (double)(mep_logit_rows(c, rows) * c->vocab_size) * (4 + (width < 4 ? width : 0));
    return (double)rows * row + logits;
}
