/* SPDX-License-Identifier: MIT */
/*
 * The tables of the families. The names are those of Hugging Face's transformers; for every family
 * tests/test_families.c compares logits with those of transformers.
 */
#include "io/family.h"

#include <stddef.h>
#include <string.h>

#include "base/assertion.h"

/* clang-format off */
#define FIELD(NAME) offsetof(mep_model_config, NAME)
#define SIZE(NAME, OTHER, TO, FALLBACK) \
    {.name = NAME, .other = OTHER, .kind = MEP_KEY_SIZE, .field = FIELD(TO), .fallback = FALLBACK}
#define SIZE_OR_DEFAULT(NAME, TO) {.name = NAME, .kind = MEP_KEY_SIZE_OR_DEFAULT, .field = FIELD(TO)}
#define REAL(NAME, OTHER, TO, FALLBACK) \
    {.name = NAME, .other = OTHER, .kind = MEP_KEY_REAL, .field = FIELD(TO), .fallback = FALLBACK}
#define REAL_OR_DEFAULT(NAME, TO, FALLBACK) \
    {.name = NAME, .kind = MEP_KEY_REAL_OR_DEFAULT, .field = FIELD(TO), .fallback = FALLBACK}
#define FLAG(NAME, TO, FALLBACK) {.name = NAME, .kind = MEP_KEY_FLAG, .field = FIELD(TO), .fallback = FALLBACK}
#define ACTIVATION(NAME, FALLBACK) \
    {.name = NAME, .kind = MEP_KEY_ACTIVATION, .field = FIELD(mlp), .fallback = FALLBACK}
#define KEY_VALUE_HEADS(FALLBACK) \
    {.name = "num_key_value_heads", .kind = MEP_KEY_KEY_VALUE_HEADS, .field = FIELD(num_key_value_heads), \
     .fallback = FALLBACK}
#define OWN_HEAD_DIM(FALLBACK) \
    {.name = "head_dim", .kind = MEP_KEY_OWN_HEAD_DIM, .field = FIELD(head_dim), .fallback = FALLBACK}
#define REQUIRED_VALUE(NAME, VALUES) {.name = NAME, .kind = MEP_KEY_REQUIRED_VALUE, .fixed = VALUES}
#define FIXED(NAME, VALUES) {.name = NAME, .kind = MEP_KEY_FIXED, .fixed = VALUES}
#define CHOICE(NAME, TO, VALUES) {.name = NAME, .kind = MEP_KEY_CHOICE, .field = FIELD(TO), .fixed = VALUES}
#define CHECK(NAME, VALUES) {.name = NAME, .kind = MEP_KEY_CHECK, .fixed = VALUES}
#define CHECK_OR(NAME, OTHER, VALUES) {.name = NAME, .other = OTHER, .kind = MEP_KEY_CHECK, .fixed = VALUES}
#define SAME_SIZE(NAME, AS, FIELD_OF) \
    {.name = NAME, .other = AS, .kind = MEP_KEY_SAME_SIZE, .field = FIELD(FIELD_OF)}
#define SAME_REAL(NAME, AS, FIELD_OF) \
    {.name = NAME, .other = AS, .kind = MEP_KEY_SAME_REAL, .field = FIELD(FIELD_OF)}
#define HEAD_DIM(NAME, AS) {.name = NAME, .other = AS, .kind = MEP_KEY_HEAD_DIM}
#define BIAS_MAX(NAME) \
    {.name = NAME, .kind = MEP_KEY_BIAS_MAX, .field = FIELD(position_encoding), .fallback = 8}
#define END {.name = NULL}
/* Keys that change what transformers computes in every family: quantized weights, and a cache that drops keys. */
#define CHECKS_WITH_WINDOW CHECK("quantization_config", "[null]"), CHECK("attention_chunk_size", "[null]")
#define COMMON_CHECKS CHECKS_WITH_WINDOW, CHECK("sliding_window", "[null]")
/* clang-format on */

/* Keys that are true or false, and the name of an activation, are read into these as int. */
static_assert(sizeof(mep_residual) == sizeof(int) && sizeof(mep_mlp) == sizeof(int) &&
                  sizeof(mep_block) == sizeof(int) && sizeof(mep_qk_norm) == sizeof(int),
              "an enum is an int in the tables");
static_assert(MEP_RESIDUAL_PARALLEL == 1, "use_parallel_residual is read as mep_residual");

/* ---- This library's own, with GPT-NeoX's or Llama's names; mep_families[0] ---- */

static const mep_family_key OWN_KEYS[] = {
    CHOICE("block", block, "[\"gpt_neox\", \"llama\"]"), /* before the keys whose meaning depends on it */
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("hidden_size", NULL, hidden_size, MEP_KEY_REQUIRED),
    SIZE("num_hidden_layers", NULL, num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("num_attention_heads", NULL, num_attention_heads, MEP_KEY_REQUIRED),
    SIZE_OR_DEFAULT("num_key_value_heads", num_key_value_heads),
    SIZE_OR_DEFAULT("head_dim", head_dim),
    SIZE("intermediate_size", NULL, intermediate_size, 0),
    SIZE("max_position_embeddings", NULL, max_position_embeddings, 2048),
    REAL("layer_norm_eps", NULL, layer_norm_eps, 1e-5),
    REAL_OR_DEFAULT("initializer_range", initializer_range, MEP_INITIALIZER_RANGE),
    REAL("rotary_emb_base", NULL, rotary_emb_base, 10000),
    REAL("rotary_pct", NULL, rotary_pct, 0.25),
    FLAG("use_parallel_residual", residual, 0),
    ACTIVATION("hidden_act", 0),
    FLAG("tie_word_embeddings", tie_word_embeddings, 0),
    FLAG("embedding_layer_norm", embedding_layer_norm, 0),
    FLAG("no_bias", no_bias, 0),
    CHOICE("qkv_bias", qkv_bias, "[false, true]"),
    CHOICE("qk_norm", qk_norm, "[\"none\", \"head\", \"all\"]"),
    CHOICE("post_norm", post_norm, "[false, true]"),
    END,
};

static const char *const NOTHING[] = {NULL};

/* ---- GPT-NeoX, Pythia ---- */

/* Folders that this library wrote before it had a model_type of its own have a position_encoding. */
static const mep_family_key NEOX_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("hidden_size", NULL, hidden_size, MEP_KEY_REQUIRED),
    SIZE("num_hidden_layers", NULL, num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("num_attention_heads", NULL, num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("intermediate_size", NULL, intermediate_size, 24576), /* GPTNeoXConfig's, whatever hidden_size is */
    SIZE("max_position_embeddings", NULL, max_position_embeddings, 2048),
    REAL("layer_norm_eps", NULL, layer_norm_eps, 1e-5),
    REAL("rotary_emb_base", "rope_parameters.rope_theta", rotary_emb_base, 10000),
    REAL("rotary_pct", "rope_parameters.partial_rotary_factor", rotary_pct, 0.25),
    FLAG("use_parallel_residual", residual, 1),
    ACTIVATION("hidden_act", 0),
    FLAG("tie_word_embeddings", tie_word_embeddings, 0),
    CHECK("attention_bias", "[true]"),
    HEAD_DIM("head_dim", "hidden_size / num_attention_heads"),
    COMMON_CHECKS,
    END,
};

static const char *const NEOX_IGNORED[] = {"gpt_neox.layers.#.attention.bias",
                                           "gpt_neox.layers.#.attention.masked_bias",
                                           "gpt_neox.layers.#.attention.rotary_emb.inv_freq", NULL};

/* ---- BLOOM ---- */

static const mep_family_key BLOOM_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("hidden_size", "n_embed", hidden_size, MEP_KEY_REQUIRED),
    SIZE("n_layer", "num_hidden_layers", num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("n_head", "num_attention_heads", num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("seq_length", NULL, max_position_embeddings, 2048),
    REAL("layer_norm_epsilon", NULL, layer_norm_eps, 1e-5),
    FLAG("tie_word_embeddings", tie_word_embeddings, 1),
    FIXED("apply_residual_connection_post_layernorm", "[false]"),
    COMMON_CHECKS,
    END,
};

static const mep_family_tensor BLOOM_TENSORS[] = {
    {EMBED_IN, "word_embeddings.weight", 0},
    {EMBED_NORM_WEIGHT, "word_embeddings_layernorm.weight", 0},
    {EMBED_NORM_BIAS, "word_embeddings_layernorm.bias", 0},
    {NORM1_WEIGHT, "h.#.input_layernorm.weight", 0},
    {NORM1_BIAS, "h.#.input_layernorm.bias", 0},
    {QKV_WEIGHT, "h.#.self_attention.query_key_value.weight", 0},
    {QKV_BIAS, "h.#.self_attention.query_key_value.bias", 0},
    {DENSE_WEIGHT, "h.#.self_attention.dense.weight", 0},
    {DENSE_BIAS, "h.#.self_attention.dense.bias", 0},
    {NORM2_WEIGHT, "h.#.post_attention_layernorm.weight", 0},
    {NORM2_BIAS, "h.#.post_attention_layernorm.bias", 0},
    {UP_WEIGHT, "h.#.mlp.dense_h_to_4h.weight", 0},
    {UP_BIAS, "h.#.mlp.dense_h_to_4h.bias", 0},
    {DOWN_WEIGHT, "h.#.mlp.dense_4h_to_h.weight", 0},
    {DOWN_BIAS, "h.#.mlp.dense_4h_to_h.bias", 0},
    {FINAL_NORM_WEIGHT, "ln_f.weight", 0},
    {FINAL_NORM_BIAS, "ln_f.bias", 0},
    {EMBED_OUT, "lm_head.weight", 0},
    {TENSOR_KINDS, NULL, 0},
};

/* ---- MPT: its slopes are ALiBi's for any number of heads, unless alibi_bias_max says otherwise ---- */

/* The checks cover what llm-foundry, which trains these models, computes and transformers' MPT ignores. */
static const mep_family_key MPT_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("d_model", "hidden_size", hidden_size, MEP_KEY_REQUIRED),
    SIZE("n_layers", "num_hidden_layers", num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("n_heads", "num_attention_heads", num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("max_seq_len", NULL, max_position_embeddings, 2048),
    REAL("layer_norm_epsilon", NULL, layer_norm_eps, 1e-5),
    FLAG("tie_word_embeddings", tie_word_embeddings, 1),
    FIXED("expansion_ratio", "[4]"),
    FIXED("no_bias", "[true]"),
    FIXED("attn_config.alibi", "[true]"),
    BIAS_MAX("attn_config.alibi_bias_max"),
    CHECK("attn_config.attn_type", "[\"multihead_attention\"]"),
    CHECK("attn_config.qk_ln", "[false]"),
    CHECK("attn_config.clip_qkv", "[null]"),
    CHECK("attn_config.softmax_scale", "[null]"),
    CHECK("attn_config.prefix_lm", "[false]"),
    CHECK("attn_config.qk_gn", "[false]"),
    CHECK("attn_config.rope", "[false]"),
    CHECK("attn_config.sliding_window_size", "[-1]"),
    CHECK("attn_config.attn_logit_softcapping", "[null]"),
    SAME_SIZE("attn_config.kv_n_heads", "n_heads", num_attention_heads),
    CHECK("ffn_config.ffn_type", "[\"mptmlp\"]"),
    CHECK("ffn_config.ffn_act_fn", "[{\"name\": \"gelu\"}, {\"name\": \"gelu\", \"approximate\": \"none\"}]"),
    SAME_SIZE("ffn_config.ffn_hidden_size", "d_model * expansion_ratio", intermediate_size),
    SAME_REAL("norm_eps", "layer_norm_epsilon", layer_norm_eps),
    CHECK("logit_scale", "[null]"),
    CHECK("final_logit_softcapping", "[null]"),
    CHECK("block_overrides", "[null]"),
    CHECK("norm_type", "[\"low_precision_layernorm\", \"layernorm\"]"),
    COMMON_CHECKS,
    END,
};

static const mep_family_tensor MPT_TENSORS[] = {
    {EMBED_IN, "wte.weight", 0},
    {NORM1_WEIGHT, "blocks.#.norm_1.weight", 0},
    {QKV_WEIGHT, "blocks.#.attn.Wqkv.weight", MEP_LAYOUT_QKV},
    {DENSE_WEIGHT, "blocks.#.attn.out_proj.weight", 0},
    {NORM2_WEIGHT, "blocks.#.norm_2.weight", 0},
    {UP_WEIGHT, "blocks.#.ffn.up_proj.weight", 0},
    {DOWN_WEIGHT, "blocks.#.ffn.down_proj.weight", 0},
    {FINAL_NORM_WEIGHT, "norm_f.weight", 0},
    {EMBED_OUT, "lm_head.weight", 0},
    {TENSOR_KINDS, NULL, 0},
};

/* ---- GPT-2 ---- */

static const mep_family_key GPT2_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("n_embd", "hidden_size", hidden_size, MEP_KEY_REQUIRED),
    SIZE("n_layer", "num_hidden_layers", num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("n_head", "num_attention_heads", num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("n_inner", NULL, intermediate_size, 0),
    SIZE("n_positions", "max_position_embeddings", max_position_embeddings, 1024),
    REAL("layer_norm_epsilon", NULL, layer_norm_eps, 1e-5),
    ACTIVATION("activation_function", 1),
    FLAG("tie_word_embeddings", tie_word_embeddings, 1),
    FIXED("scale_attn_weights", "[true]"),
    FIXED("scale_attn_by_inverse_layer_idx", "[false]"),
    FIXED("reorder_and_upcast_attn", "[false]"),
    CHECK("add_cross_attention", "[false]"),
    COMMON_CHECKS,
    END,
};

enum { CONV = MEP_LAYOUT_TRANSPOSED, CONV_QKV = MEP_LAYOUT_TRANSPOSED | MEP_LAYOUT_QKV };

static const mep_family_tensor GPT2_TENSORS[] = {
    {EMBED_IN, "wte.weight", 0},
    {EMBED_POSITIONS, "wpe.weight", 0},
    {NORM1_WEIGHT, "h.#.ln_1.weight", 0},
    {NORM1_BIAS, "h.#.ln_1.bias", 0},
    {QKV_WEIGHT, "h.#.attn.c_attn.weight", CONV_QKV},
    {QKV_BIAS, "h.#.attn.c_attn.bias", MEP_LAYOUT_QKV},
    {DENSE_WEIGHT, "h.#.attn.c_proj.weight", CONV},
    {DENSE_BIAS, "h.#.attn.c_proj.bias", 0},
    {NORM2_WEIGHT, "h.#.ln_2.weight", 0},
    {NORM2_BIAS, "h.#.ln_2.bias", 0},
    {UP_WEIGHT, "h.#.mlp.c_fc.weight", CONV},
    {UP_BIAS, "h.#.mlp.c_fc.bias", 0},
    {DOWN_WEIGHT, "h.#.mlp.c_proj.weight", CONV},
    {DOWN_BIAS, "h.#.mlp.c_proj.bias", 0},
    {FINAL_NORM_WEIGHT, "ln_f.weight", 0},
    {FINAL_NORM_BIAS, "ln_f.bias", 0},
    {EMBED_OUT, "lm_head.weight", 0},
    {TENSOR_KINDS, NULL, 0},
};

static const char *const GPT2_IGNORED[] = {"h.#.attn.bias", "h.#.attn.masked_bias", NULL};

/* ---- Falcon with ALiBi (Falcon-RW): BLOOM's tensors without the norm of the embeddings ---- */

/* transformers also rounds slope times position to bfloat16, which is not computed here. */
static const mep_family_key FALCON_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("hidden_size", "n_embed", hidden_size, MEP_KEY_REQUIRED),
    SIZE("num_hidden_layers", NULL, num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("num_attention_heads", NULL, num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("ffn_hidden_size", NULL, intermediate_size, 0),
    SIZE("max_position_embeddings", NULL, max_position_embeddings, 2048),
    REAL("layer_norm_epsilon", NULL, layer_norm_eps, 1e-5),
    ACTIVATION("activation", 0),
    FLAG("tie_word_embeddings", tie_word_embeddings, 1),
    REQUIRED_VALUE("alibi", "[true]"),
    REQUIRED_VALUE("multi_query", "[false]"),
    REQUIRED_VALUE("parallel_attn", "[false]"),
    REQUIRED_VALUE("bias", "[true]"),
    CHECK("new_decoder_architecture", "[false]"),
    CHECK("apply_residual_connection_post_layernorm", "[false]"),
    SAME_SIZE("num_kv_heads", "num_attention_heads", num_attention_heads),
    COMMON_CHECKS,
    END,
};

/* ---- Llama and its relatives: the names of their tensors are those of this library's Llama block ---- */

/* Keys of all of them. A scaling is in rope_scaling or rope_parameters (rope_config.c). */
#define LLAMA_SIZES(POSITIONS, TIED, EPS)                                                                              \
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED), SIZE("hidden_size", NULL, hidden_size, MEP_KEY_REQUIRED),  \
        SIZE("intermediate_size", NULL, intermediate_size, MEP_KEY_REQUIRED),                                          \
        SIZE("num_hidden_layers", NULL, num_hidden_layers, MEP_KEY_REQUIRED),                                          \
        SIZE("num_attention_heads", NULL, num_attention_heads, MEP_KEY_REQUIRED),                                      \
        SIZE("max_position_embeddings", NULL, max_position_embeddings, POSITIONS),                                     \
        REAL("rms_norm_eps", NULL, layer_norm_eps, EPS), ACTIVATION("hidden_act", MEP_MLP_SWIGLU),                     \
        FLAG("tie_word_embeddings", tie_word_embeddings, TIED), CHECK("attention_bias", "[false]"),                    \
        CHECK("mlp_bias", "[false]"), CHECK("partial_rotary_factor", "[1, 1.0]"),                                      \
        CHECK("rope_scaling.partial_rotary_factor", "[1, 1.0]"),                                                       \
        CHECK("rope_parameters.partial_rotary_factor", "[1, 1.0]"), CHECK("attn_logit_softcapping", "[null]"),         \
        CHECK("final_logit_softcapping", "[null]"), CHECK("num_local_experts", "[null]"),                              \
        CHECK("num_experts", "[null]"), CHECKS_WITH_WINDOW

static const mep_family_key LLAMA_KEYS[] = {
    LLAMA_SIZES(2048, 0, 1e-6),
    KEY_VALUE_HEADS(0),
    OWN_HEAD_DIM(0),
    CHECK("sliding_window", "[null]"),
    CHECK("layer_types", "[null]"),
    END,
};

static const mep_family_key MISTRAL_KEYS[] = {
    LLAMA_SIZES(131072, 0, 1e-6), KEY_VALUE_HEADS(8), OWN_HEAD_DIM(0), CHECK("layer_types", "[null]"), END,
};

static const mep_family_key QWEN2_KEYS[] = {
    LLAMA_SIZES(32768, 0, 1e-6), KEY_VALUE_HEADS(32), OWN_HEAD_DIM(0), CHECK("use_mrope", "[false]"), END,
};

static const mep_family_key QWEN3_KEYS[] = {
    LLAMA_SIZES(32768, 0, 1e-6),
    KEY_VALUE_HEADS(32),
    OWN_HEAD_DIM(128),
    END,
};

static const mep_family_key SMOLLM3_KEYS[] = {
    LLAMA_SIZES(32768, 1, 1e-6),
    KEY_VALUE_HEADS(4),
    OWN_HEAD_DIM(0),
    END,
};

static const mep_family_key OLMO2_KEYS[] = {
    LLAMA_SIZES(2048, 0, 1e-5),
    KEY_VALUE_HEADS(0),
    OWN_HEAD_DIM(0),
    CHECK("sliding_window", "[null]"),
    CHECK("layer_types", "[null]"),
    CHECK("clip_qkv", "[null]"),
    END,
};

static const char *const LLAMA_IGNORED[] = {"model.layers.#.self_attn.rotary_emb.inv_freq", NULL};

/* ---- Baichuan-13B: a Llama with ALiBi and one matrix for q, k and v ---- */

/* max_position_embeddings is a key of the models of 7B, which are rotary, and z_loss_weight of Baichuan 2, whose output
 * matrix is normalized. */
static const mep_family_key BAICHUAN_KEYS[] = {
    SIZE("vocab_size", NULL, vocab_size, MEP_KEY_REQUIRED),
    SIZE("hidden_size", NULL, hidden_size, MEP_KEY_REQUIRED),
    SIZE("intermediate_size", NULL, intermediate_size, MEP_KEY_REQUIRED),
    SIZE("num_hidden_layers", NULL, num_hidden_layers, MEP_KEY_REQUIRED),
    SIZE("num_attention_heads", NULL, num_attention_heads, MEP_KEY_REQUIRED),
    SIZE("model_max_length", NULL, max_position_embeddings, 4096),
    REAL("rms_norm_eps", NULL, layer_norm_eps, 1e-6),
    ACTIVATION("hidden_act", MEP_MLP_SWIGLU),
    FLAG("tie_word_embeddings", tie_word_embeddings, 0),
    CHECK("max_position_embeddings", "[null]"),
    CHECK("z_loss_weight", "[null]"),
    HEAD_DIM("head_dim", "hidden_size / num_attention_heads"),
    SAME_SIZE("num_key_value_heads", "num_attention_heads", num_attention_heads),
    COMMON_CHECKS,
    END,
};

static const mep_family_tensor BAICHUAN_TENSORS[] = {
    {EMBED_IN, "embed_tokens.weight", 0},
    {NORM1_WEIGHT, "layers.#.input_layernorm.weight", 0},
    {Q_WEIGHT, "layers.#.self_attn.W_pack.weight", MEP_LAYOUT_FIRST},
    {K_WEIGHT, "layers.#.self_attn.W_pack.weight", MEP_LAYOUT_SECOND},
    {V_WEIGHT, "layers.#.self_attn.W_pack.weight", MEP_LAYOUT_THIRD},
    {DENSE_WEIGHT, "layers.#.self_attn.o_proj.weight", 0},
    {NORM2_WEIGHT, "layers.#.post_attention_layernorm.weight", 0},
    {GATE_PROJ, "layers.#.mlp.gate_proj.weight", 0},
    {UP_PROJ, "layers.#.mlp.up_proj.weight", 0},
    {DOWN_WEIGHT, "layers.#.mlp.down_proj.weight", 0},
    {FINAL_NORM_WEIGHT, "norm.weight", 0},
    {EMBED_OUT, "lm_head.weight", 0},
    {TENSOR_KINDS, NULL, 0},
};

static const char *const BAICHUAN_IGNORED[] = {"layers.#.self_attn.rotary_emb.inv_freq", NULL};

/* ---- The list ---- */

const mep_family mep_families[] = {
    {.model_type = "mep",
     .architecture = "MepForCausalLM",
     .keys = OWN_KEYS,
     .prefix = "",
     .ignored = NOTHING,
     .residual = MEP_FREE,
     .mlp = MEP_FREE,
     .embedding_norm = MEP_FREE,
     .no_bias = MEP_FREE,
     .qkv_bias = MEP_FREE,
     .qk_norm = MEP_FREE,
     .post_norm = MEP_FREE},
    {.model_type = "gpt_neox",
     .architecture = "GPTNeoXForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 0.25,
     .keys = NEOX_KEYS,
     .prefix = "",
     .ignored = NEOX_IGNORED,
     .residual = MEP_FREE,
     .mlp = MEP_FREE,
     .older_own = 1},
    {.model_type = "bloom",
     .architecture = "BloomForCausalLM",
     .position = "alibi",
     .keys = BLOOM_KEYS,
     .tensors = BLOOM_TENSORS,
     .prefix = "transformer.",
     .ignored = NOTHING,
     .mlp = MEP_MLP_GELU_TANH,
     .embedding_norm = 1,
     .wide_is_four = 1},
    {.model_type = "mpt",
     .architecture = "MptForCausalLM",
     .position = "alibi",
     .keys = MPT_KEYS,
     .tensors = MPT_TENSORS,
     .prefix = "transformer.",
     .ignored = NOTHING,
     .no_bias = 1,
     .wide_is_four = 1},
    {.model_type = "gpt2",
     .architecture = "GPT2LMHeadModel",
     .position = "learned",
     .keys = GPT2_KEYS,
     .tensors = GPT2_TENSORS,
     .prefix = "transformer.",
     .ignored = GPT2_IGNORED,
     .mlp = MEP_FREE},
    {.model_type = "falcon",
     .architecture = "FalconForCausalLM",
     .position = "alibi",
     .keys = FALCON_KEYS,
     .tensors = BLOOM_TENSORS,
     .prefix = "transformer.",
     .ignored = NOTHING,
     .mlp = MEP_FREE,
     .scales_slopes = 1,
     .only_read = 1},
    {.model_type = "llama",
     .architecture = "LlamaForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 1,
     .keys = LLAMA_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE},
    {.model_type = "mistral",
     .architecture = "MistralForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 1,
     .keys = MISTRAL_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .layers = MEP_LAYERS_WINDOW,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE},
    {.model_type = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 1,
     .keys = QWEN2_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .layers = MEP_LAYERS_WINDOW_LAST,
     .qkv_bias = 1,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE},
    {.model_type = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 1,
     .keys = QWEN3_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .layers = MEP_LAYERS_WINDOW_LAST,
     .qk_norm = MEP_QK_NORM_HEAD,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE},
    {.model_type = "smollm3",
     .architecture = "SmolLM3ForCausalLM",
     .position = "rotary",
     .rope_theta = 2000000,
     .partial_rotary_factor = 1,
     .keys = SMOLLM3_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .layers = MEP_LAYERS_WITHOUT_ROPE,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE},
    {.model_type = "olmo2",
     .architecture = "Olmo2ForCausalLM",
     .position = "rotary",
     .rope_theta = 10000,
     .partial_rotary_factor = 1,
     .keys = OLMO2_KEYS,
     .prefix = "",
     .ignored = LLAMA_IGNORED,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE,
     .qk_norm = MEP_QK_NORM_ALL,
     .post_norm = 1},
    {.model_type = "baichuan",
     .architecture = "BaichuanForCausalLM",
     .position = "alibi",
     .keys = BAICHUAN_KEYS,
     .tensors = BAICHUAN_TENSORS,
     .prefix = "model.",
     .ignored = BAICHUAN_IGNORED,
     .block = MEP_BLOCK_LLAMA,
     .mlp = MEP_FREE,
     .only_read = 1},
    {.model_type = NULL},
};
