/* SPDX-License-Identifier: MIT */
/*
 * The configuration of a model: presets and checks.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "bias/position.h"
#include "model/layout.h"
#include "model/model_internal.h"
#include "nn/layers.h"

enum { SWIGLU_STEP = 32 }; /* intermediate_size of a Llama block is a multiple of it */

static const struct {
    const char *name;
    int64_t layers, hidden, heads;
} PRESETS[] = {
    {"nano", 4, 128, 8}, {"micro", 6, 256, 8}, {"mini", 6, 512, 8}, {"small", 12, 768, 12}, {"medium", 24, 1024, 16}};

static const char LLAMA_SUFFIX[] = "-llama";

mep_status mep_model_preset(const char *name, mep_model_config *config)
{
    MEP_REQUIRE(name, config);
    for (size_t i = 0; i < sizeof PRESETS / sizeof *PRESETS; i++) {
        size_t length = strlen(PRESETS[i].name);
        if (strncmp(PRESETS[i].name, name, length) != 0) continue;
        if (name[length] != '\0' && strcmp(name + length, LLAMA_SUFFIX) != 0) continue;
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
        return name[length] == '\0' ? MEP_OK : mep_model_config_set_block(config, MEP_BLOCK_LLAMA);
    }
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "unknown preset \"%s\"; presets: nano, micro, mini, small, medium, each also with -llama", name);
}

mep_status mep_model_config_set_block(mep_model_config *config, mep_block block)
{
    MEP_REQUIRE(config);
    int llama = block == MEP_BLOCK_LLAMA;
    if (!llama && block != MEP_BLOCK_GPT_NEOX)
        return mep_fail(MEP_ERROR_ARGUMENT, "block is %d, which is not computed; choose gpt_neox (0) or llama (1)",
                        (int)block);
    config->block = block;
    config->norm = llama ? MEP_NORM_RMS : MEP_NORM_LAYER;
    config->mlp = llama ? MEP_MLP_SWIGLU : MEP_MLP_GELU;
    config->intermediate_size =
        llama ? round_up(ceil_div(8 * config->hidden_size, 3), SWIGLU_STEP) : 4 * config->hidden_size;
    return MEP_OK;
}

int64_t mep_model_config_head_dim(const mep_model_config *config)
{
    return config != NULL && config->num_attention_heads > 0 ? mep_head_dim(config) : 0;
}

static mep_status check_range(const char *name, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s must be from %lld to %lld, found %lld", name, (long long)low,
                    (long long)high, (long long)value);
}

/* One of the values of an enum, whose names are listed. */
static mep_status check_choice(const char *name, int value, const char *const *names, int count)
{
    if (value >= 0 && value < count) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s is %d, which is not computed; choose one from %s (0) to %s (%d)", name,
                    value, names[0], names[count - 1], count - 1);
}

/* A Llama block has its own norm and MLP, a GPT-NeoX block the others. */
static mep_status check_llama(const mep_model_config *c)
{
    int llama = c->block == MEP_BLOCK_LLAMA;
    if ((c->norm == MEP_NORM_RMS) != llama || (c->mlp == MEP_MLP_SWIGLU) != llama)
        return mep_fail(MEP_ERROR_ARGUMENT, "norm %d and mlp %d are not those of a %s block; it has %s", (int)c->norm,
                        (int)c->mlp, llama ? "Llama" : "GPT-NeoX", llama ? "RMSNorm and SwiGLU" : "LayerNorm and GELU");
    if (llama && (c->residual != MEP_RESIDUAL_SEQUENTIAL || c->embedding_layer_norm))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a Llama block has a sequential residual, and its embeddings have no norm; found residual %d, "
                        "embedding_layer_norm %d",
                        (int)c->residual, c->embedding_layer_norm);
    if (!llama && (c->qkv_bias || c->qk_norm != MEP_QK_NORM_NONE || c->post_norm))
        return mep_fail(MEP_ERROR_ARGUMENT, "qkv_bias, qk_norm and post_norm are for Llama blocks; choose block llama");
    return MEP_OK;
}

static mep_status check_block(const mep_model_config *c)
{
    static const char *const
        blocks[] = {[MEP_BLOCK_GPT_NEOX] = "gpt_neox", [MEP_BLOCK_LLAMA] = "llama"},
        *const norms[] = {[MEP_NORM_LAYER] = "layer", [MEP_NORM_RMS] = "rms"},
        *const mlps[] = {[MEP_MLP_GELU] = "gelu", [MEP_MLP_GELU_TANH] = "gelu_tanh", [MEP_MLP_SWIGLU] = "swiglu"},
        *const residuals[] = {[MEP_RESIDUAL_SEQUENTIAL] = "sequential", [MEP_RESIDUAL_PARALLEL] = "parallel"},
        *const qk_norms[] = {[MEP_QK_NORM_NONE] = "none", [MEP_QK_NORM_HEAD] = "head", [MEP_QK_NORM_ALL] = "all"};
    MEP_TRY(check_choice("block", (int)c->block, blocks, 2));
    MEP_TRY(check_choice("norm", (int)c->norm, norms, 2));
    MEP_TRY(check_choice("mlp", (int)c->mlp, mlps, 3));
    MEP_TRY(check_choice("residual", (int)c->residual, residuals, 2));
    MEP_TRY(check_choice("qk_norm", (int)c->qk_norm, qk_norms, 3));
    return check_llama(c);
}

static mep_status check_heads(const mep_model_config *c)
{
    MEP_TRY(check_range("num_attention_heads", c->num_attention_heads, 1, MEP_MAX_WIDTH));
    MEP_TRY(check_range("num_key_value_heads", c->num_key_value_heads, 0, MEP_MAX_WIDTH));
    MEP_TRY(check_range("head_dim", c->head_dim, 0, MEP_MAX_WIDTH));
    if (mep_key_value_heads(c) != c->num_attention_heads && c->block != MEP_BLOCK_LLAMA)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "num_key_value_heads is %lld and num_attention_heads %lld; they differ in Llama blocks "
                        "only: choose block llama, or equal numbers",
                        (long long)c->num_key_value_heads, (long long)c->num_attention_heads);
    if (c->num_attention_heads % mep_key_value_heads(c) != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "num_key_value_heads %lld does not divide num_attention_heads %lld",
                        (long long)c->num_key_value_heads, (long long)c->num_attention_heads);
    if (c->head_dim == 0 && c->hidden_size % c->num_attention_heads != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "hidden_size %lld is not a multiple of num_attention_heads %lld",
                        (long long)c->hidden_size, (long long)c->num_attention_heads);
    return check_range("num_attention_heads * head_dim", mep_dimension_of(c, DIM_HEADS), 1, 4 * MEP_MAX_WIDTH);
}

static mep_status check_rotary(const mep_model_config *c, const mep_rotary_options *o)
{
    const mep_rotary_model m = mep_rotary_model_of(c, o);
    int64_t head_dim = mep_head_dim(c);
    if (m.dims < 2 || m.dims % 2 != 0 || m.dims > head_dim)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "rotary rotates pairs of channels, but rotary_pct %g of head_dim %lld is %lld; choose another "
                        "number of heads",
                        o->partial > 0 ? o->partial : c->rotary_pct, (long long)head_dim, (long long)m.dims);
    if (o->scaling == MEP_ROTARY_LONGROPE && o->factors != m.dims / 2)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "rotary rotates %lld pairs of channels, but short_factor and long_factor have %lld numbers",
                        (long long)(m.dims / 2), (long long)o->factors);
    if (o->scaling == MEP_ROTARY_LONGROPE && m.original < 2)
        return mep_fail(MEP_ERROR_ARGUMENT, "scaling=longrope needs a length of training of 2 or more, found %lld",
                        (long long)m.original);
    return MEP_OK;
}

/* A spec may ask for a bias table of any size; a model does not need more than this. */
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
    if (position->count > c->num_hidden_layers)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the encoding \"%s\" has %d entries, but the model has %lld layers; give one per layer at most",
                        mep_position_spec(position), position->count, (long long)c->num_hidden_layers);
    MEP_TRY(check_bias(c, position));
    for (int i = 0; i < position->count; i++)
        if (position->entries[i].kind == MEP_POSITION_ROTARY) MEP_TRY(check_rotary(c, &position->entries[i].rotary));
    for (int i = 0; i < position->count; i++)
        if (position->entries[i].scale == MEP_SCALE_LOGN && position->entries[i].logn == 0 &&
            c->max_position_embeddings < 2)
            return mep_fail(
                MEP_ERROR_ARGUMENT,
                "scale=logn divides by the logarithm of max_position_embeddings, which must be at least 2 or "
                "given as scale=logn:N");
    if (kind == MEP_POSITION_SINUSOIDAL && c->hidden_size % 2 != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "sinusoidal needs an even hidden_size, found %lld",
                        (long long)c->hidden_size);
    return MEP_OK;
}

/* All fields except the position encoding. */
static mep_status check_sizes(const mep_model_config *c)
{
    MEP_TRY(check_range("vocab_size", c->vocab_size, 1, 1 << 24));
    MEP_TRY(check_range("hidden_size", c->hidden_size, 1, MEP_MAX_WIDTH));
    MEP_TRY(check_range("num_hidden_layers", c->num_hidden_layers, 1, 1000));
    MEP_TRY(check_heads(c));
    MEP_TRY(check_range("intermediate_size", c->intermediate_size, 1, 1 << 20));
    MEP_TRY(check_range("max_position_embeddings", c->max_position_embeddings, 1, 1 << 30));
    MEP_TRY(check_block(c));
    if (!(c->layer_norm_eps > 0 && c->layer_norm_eps < 1) || !(c->rotary_emb_base > 1 && isfinite(c->rotary_emb_base)))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "layer_norm_eps must be in (0, 1) and rotary_emb_base above 1, found %g and %g",
                        c->layer_norm_eps, c->rotary_emb_base);
    if (!(c->initializer_range >= 0 && c->initializer_range <= 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "initializer_range must be from 0 to 1, found %g", c->initializer_range);
    if (!(c->rotary_pct >= 0 && c->rotary_pct <= 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "rotary_pct must be from 0 to 1, found %g", c->rotary_pct);
    return MEP_OK;
}

mep_status mep_model_config_parse(const mep_model_config *c, mep_position **position)
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
    mep_status status = mep_model_config_parse(config, &position);
    mep_position_destroy(&position);
    return status;
}
