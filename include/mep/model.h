/* SPDX-License-Identifier: MIT */
/*
 * The GPT model: a GPT-NeoX block, with the options in which GPT-NeoX, BLOOM, MPT and GPT-2 differ, or a Llama block,
 * with those of Llama, Mistral, Qwen and SmolLM; and any position encoding of mep/bias.h. Create or load a model,
 * compute logits and losses, generate text, save and export it. Parameter names are Hugging Face's for GPT-NeoX or
 * Llama; learned position parameters are "position_bias.*" (shared by all layers) and
 * "gpt_neox.embed_positions.weight".
 */
#ifndef MEP_MODEL_H
#define MEP_MODEL_H

#include "mep/bias.h"
#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_model mep_model;

enum { MEP_POSITION_SIZE = 8192 };

/* The shape of a block, which decides the names of its parameters. */
typedef enum mep_block {
    MEP_BLOCK_GPT_NEOX = 0, /* LayerNorm, an MLP with GELU, fused query_key_value */
    MEP_BLOCK_LLAMA = 1     /* RMSNorm, an MLP with SwiGLU, q_proj, k_proj and v_proj; no biases but `qkv_bias` */
} mep_block;

/* How a block normalizes its inputs. */
typedef enum mep_norm {
    MEP_NORM_LAYER = 0, /* LayerNorm */
    MEP_NORM_RMS = 1    /* RMSNorm, of MEP_BLOCK_LLAMA */
} mep_norm;

/* RMSNorm of queries and keys before rotary, of MEP_BLOCK_LLAMA. */
typedef enum mep_qk_norm {
    MEP_QK_NORM_NONE = 0,
    MEP_QK_NORM_HEAD = 1, /* of each head, with one weight [head_dim]: Qwen3 */
    MEP_QK_NORM_ALL = 2   /* of all heads together: OLMo2 */
} mep_qk_norm;

/* The function between the two matrices of an MLP. */
typedef enum mep_mlp {
    MEP_MLP_GELU = 0,      /* by erf; hidden_act "gelu" */
    MEP_MLP_GELU_TANH = 1, /* by tanh; hidden_act "gelu_new" */
    MEP_MLP_SWIGLU = 2     /* down_proj(silu(gate_proj x) * up_proj x), of MEP_BLOCK_LLAMA; hidden_act "silu" */
} mep_mlp;

/* How a block adds its two branches to the residual stream x. */
typedef enum mep_residual {
    MEP_RESIDUAL_SEQUENTIAL = 0, /* x += attention(norm1 x); x += MLP(norm2 x) */
    MEP_RESIDUAL_PARALLEL = 1    /* x += attention(norm1 x) + MLP(norm2 x), of the same x */
} mep_residual;

/* The names are Hugging Face's where it has one. With 0 in every member from `norm` on this is the paper's model:
 * LayerNorm, exact GELU, sequential residual, biases everywhere except in the output layer, which has a matrix of its
 * own. */
typedef struct mep_model_config {
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads;
    int64_t num_key_value_heads; /* a divisor of num_attention_heads; 0: num_attention_heads. Other numbers: of
                                    MEP_BLOCK_LLAMA (grouped-query attention) */
    int64_t head_dim;            /* channels of a head; 0: hidden_size / num_attention_heads, which must divide */
    int64_t intermediate_size;
    int64_t max_position_embeddings; /* training length; the longest length that "learned" accepts */
    double layer_norm_eps;
    double initializer_range;                  /* standard deviation of the initial weights; 0: 0.02 */
    double rotary_emb_base;                    /* of rotary and sinusoidal */
    double rotary_pct;                         /* fraction of a head's channels that rotary rotates */
    char position_encoding[MEP_POSITION_SIZE]; /* a name or spec of mep/bias.h */
    mep_block block;
    mep_norm norm;
    mep_mlp mlp;
    mep_residual residual;
    int tie_word_embeddings;  /* the output matrix is the embedding */
    int embedding_layer_norm; /* a LayerNorm after the embeddings, as in BLOOM */
    int no_bias;              /* no biases in linear layers and LayerNorms, as in MPT */
    int qkv_bias;             /* biases of q_proj, k_proj and v_proj, of MEP_BLOCK_LLAMA: Qwen2 */
    mep_qk_norm qk_norm;
    int post_norm; /* 1: norms follow the branches, x += norm1(attention(x)); x += norm2(MLP(x)), of MEP_BLOCK_LLAMA:
                      OLMo2 */
} mep_model_config;

/* The sizes of a preset: "nano" (4 layers, hidden 128, 8 heads: the demo), "micro" (6, 256, 8), "mini" (6, 512, 8),
 * "small" (the paper's: 12, 768, 12) or "medium" (24, 1024, 16); the same name with "-llama" has Llama blocks and about
 * as many parameters. vocab_size is 50304 and the position encoding "mep". For an unknown name the message lists the
 * presets. */
MEP_API mep_status mep_model_preset(const char *name, mep_model_config *config);

/* Set block, norm, mlp and intermediate_size to what is usual for a shape of block: LayerNorm, exact GELU and
 * 4 hidden_size, or RMSNorm, SwiGLU and 8/3 hidden_size rounded up to a multiple of 32. Other members stay. */
MEP_API mep_status mep_model_config_set_block(mep_model_config *config, mep_block block);

/* Check every member; the message names the one that is wrong. */
MEP_API mep_status mep_model_config_check(const mep_model_config *config);

/* Create a model and draw its weights for `seed`: normal(0, initializer_range) for matrices, divided by sqrt(2 layers)
 * for the two per layer that write to the residual stream; 0 for biases, 1 for norms. The values of a parameter depend
 * only on the seed, its name and its shape, so models that differ only in the encoding start from the same weights. The
 * caller owns *model. */
MEP_API mep_status mep_model_create(mep_model **model, const mep_model_config *config, uint64_t seed);

/* Load config.json and model.safetensors (one file, or shards with model.safetensors.index.json) from a folder: a
 * checkpoint, a run folder (its newest checkpoint), or a Hugging Face folder of Llama, Mistral,
 * Qwen2, Qwen3, SmolLM3, OLMo2, Falcon with ALiBi, Baichuan-13B, GPT-NeoX, BLOOM, MPT or GPT-2 (docs/formats.md). A
 * setting of a family that this library does not compute is refused by name (MEP_ERROR_UNSUPPORTED). */
MEP_API mep_status mep_model_load(mep_model **model, const char *folder);

/* The same with another position encoding instead of the model's own; NULL: its own. Parameters of the new encoding
 * that the files do not have are drawn for `seed`; mep_model_parameter_is_new tells which they are. */
MEP_API mep_status mep_model_load_as(mep_model **model, const char *folder, const char *position, uint64_t seed);

/* Read only the configuration. */
MEP_API mep_status mep_model_read_config(const char *folder, mep_model_config *config);

/* What the folder of a model calls its family: "mep", or the model_type of a Hugging Face model ("gpt_neox"). *family
 * is a constant string. The folder is one that mep_model_load takes. */
MEP_API mep_status mep_model_family(const char *folder, const char **family);

/* Copy the files of the tokenizer, and generation_config.json, which names the token that ends a text, from the folder
 * of a model (as mep_model_load finds it) to another folder. Files that do not exist are skipped. */
MEP_API mep_status mep_model_copy_tokenizer(const char *from, const char *to);

/* The config.json of a configuration in this library's own form. The caller frees *text with mep_text_free. */
MEP_API mep_status mep_model_config_json(const mep_model_config *config, char **text);

/* Channels of a head: head_dim where it is not 0, otherwise hidden_size / num_attention_heads; 0 where there are no
 * heads. */
MEP_API int64_t mep_model_config_head_dim(const mep_model_config *config);

/* The number of parameter values that a model of this configuration has, without making one. */
MEP_API mep_status mep_model_config_values(const mep_model_config *config, int64_t *values);

/* How weights are written. */
typedef struct mep_save_settings {
    mep_dtype dtype; /* MEP_FLOAT32: no bit is lost; MEP_BFLOAT16: half the size, each value rounded to nearest even */
    int64_t shard_size; /* bytes of tensors per file; a larger model is written as shards. A tensor is never divided */
} mep_save_settings;

/* Defaults: float32, 50 GB (transformers' max_shard_size). */
MEP_API void mep_save_defaults(mep_save_settings *settings);

/* Write config.json and model.safetensors, or shards with model.safetensors.index.json, into an existing folder.
 * config.json is written last. A model in one file replaces a model in one file, each file in one step; any other
 * folder that holds a model is refused (MEP_ERROR_ARGUMENT). NULL settings: the defaults. */
MEP_API mep_status mep_model_save(const mep_model *model, const char *folder, const mep_save_settings *settings);

/* Write a Hugging Face folder in the same way: as the family ("gpt_neox", "llama", ...; docs/formats.md lists them)
 * that can express the model, otherwise as "mep" with the Python files modeling_mep.py and configuration_mep.py, which
 * transformers loads with trust_remote_code=True. Where `family` is not NULL, *family becomes the name, a constant
 * string. */
MEP_API mep_status mep_model_export(const mep_model *model, const char *folder, const mep_save_settings *settings,
                                    const char **family);

MEP_API void mep_model_destroy(mep_model **model);

/* The configuration; belongs to the model. */
MEP_API const mep_model_config *mep_model_get_config(const mep_model *model);

/* The position encoding, parsed; belongs to the model. */
MEP_API const mep_position *mep_model_get_position(const mep_model *model);

/* The position bias, or NULL where the encoding is not a bias. Its parameters are those of the last mep_session call.
 */
MEP_API const mep_bias *mep_model_get_bias(const mep_model *model);

/* Named parameters. */
typedef struct mep_parameter {
    const char *name;  /* belongs to the model */
    const char *group; /* "token_embeddings", "position", "attention", "mlp", "layer_norms" or "output"; a constant */
    int ndim;
    int64_t shape[4];
    int64_t size;
    float *values; /* belongs to the model; may be written between calls */
} mep_parameter;
MEP_API int64_t mep_model_parameter_count(const mep_model *model);  /* tensors */
MEP_API int64_t mep_model_parameter_values(const mep_model *model); /* values in total */
MEP_API mep_status mep_model_get_parameter(const mep_model *model, int64_t index, mep_parameter *parameter);
/* 1: mep_model_load_as drew the parameter, which the files do not have, so it is not trained; 0: otherwise, also for a
 * model of mep_model_create or an index out of range. */
MEP_API int mep_model_parameter_is_new(const mep_model *model, int64_t index);

/* ---- Computing ---- */

/* The workspace to run a model in, for up to `batch` sequences of up to `length` tokens. */
typedef struct mep_session mep_session;

typedef struct mep_session_settings {
    int64_t batch, length;
    mep_dtype dtype; /* compute type: MEP_FLOAT32 or MEP_BFLOAT16 */
    int training;    /* keep what the backward pass needs */
    int recompute;   /* training: keep only each layer's input and recompute the rest: less memory, a third more work */
    double tolerance;  /* of attention; see mep_attention_settings */
    mep_device device; /* where it computes; MEP_DEVICE_CUDA accepts bfloat16 (mep_attention_settings). Arguments of
                          calls are in host memory on every device */
} mep_session_settings;

/* Defaults: batch 1, length 1024, float32, not training, tolerance 0. */
MEP_API void mep_session_defaults(mep_session_settings *settings);

/* The model must outlive the session. A session serves one call at a time; several sessions of one model may run on
 * several threads. The first call after parameters of the position bias were written updates the model's bias: no other
 * session of the model may run during it. Fails where the encoding does not have positions for the length. */
MEP_API mep_status mep_session_create(mep_session **session, mep_model *model, const mep_session_settings *settings);
MEP_API void mep_session_destroy(mep_session **session);

/* logits [batch, length, vocab_size] of tokens [batch, length]. batch and length may differ from those of the session's
 * settings: length may not be larger, nor batch * length larger than their product. Tokens outside the vocabulary are
 * an error. */
MEP_API mep_status mep_session_logits(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens,
                                      float *logits);

/* losses [batch, length]: the negative log likelihood, in nats, of targets[b, t] after inputs[b, 0 .. t]; 0 for
 * MEP_TARGET_NONE. */
MEP_API mep_status mep_session_losses(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                                      const int32_t *targets, float *losses);

/* ---- Generating ---- */

typedef struct mep_generate_settings {
    int64_t max_tokens; /* new tokens; 256 */
    double temperature; /* 0: always the likeliest token; 1 */
    int64_t top_k;      /* keep the k likeliest tokens; 0: all */
    double top_p;       /* keep the likeliest tokens whose probabilities sum to p; 1: all */
    uint64_t seed;
    int32_t stop_token;  /* ends the text; -1: none */
    int64_t vocab_limit; /* this token and those above it are never chosen (padding of the vocabulary); 0: no limit */
    mep_dtype dtype;
    double tolerance;  /* of attention; see mep_attention_settings. Valid for texts of up to 2^31 tokens */
    mep_device device; /* as for a session */
} mep_generate_settings;

/* The largest max_tokens, which no text reaches. */
#define MEP_GENERATE_ENDLESS ((int64_t)1 << 62)

MEP_API void mep_generate_defaults(mep_generate_settings *settings);

/* Called with each new token; a return other than 0 stops the generation. */
typedef int (*mep_token_fn)(void *context, int32_t token);

/* Continue `prompt` (count >= 1 tokens) with a key/value cache, which grows with the tokens. With an encoding whose
 * bias falls in every head, such as mep and alibi, each head keeps its keys only as far back as a key can have a weight
 * in float32 (or within the tolerance), whatever the text: memory and time per token are then bounded, the text is the
 * one that a cache of all keys gives, and max_tokens may be MEP_GENERATE_ENDLESS. Modifiers of the spec keep this; with
 * /weights=query every kernel of the mixture must fall, and with /scale the number of keys grows with the logarithm of
 * count + max_tokens. /window=W keeps W keys of any encoding; where each layer also has a distance bias, max_tokens may
 * be MEP_GENERATE_ENDLESS. With fire keys may be dropped too, but only in texts of up to 2^31 tokens. All other
 * encodings keep every token that they read, which is every token except the last: count + max_tokens - 1 above 2^31 is
 * MEP_ERROR_UNSUPPORTED, and with "learned" above its number of positions MEP_ERROR_ARGUMENT. MEP_ERROR_NUMERIC where
 * the model's logits are not finite. */
MEP_API mep_status mep_generate(mep_model *model, const int32_t *prompt, int64_t count,
                                const mep_generate_settings *settings, mep_token_fn token, void *context);

/* Called about every tenth of a second while the prompt is read, with an estimate of the number of its tokens that have
 * been read, on the thread that called. Other threads may be working for the call, so return quickly. A return value
 * other than 0 ends the call with MEP_INTERRUPTED. */
typedef int (*mep_prompt_fn)(void *context, int64_t done, int64_t total);

/* mep_generate that also reports how much of the prompt has been read to `reading`, which gets the same context as
 * `token` and can stop the call. */
MEP_API mep_status mep_generate_reporting(mep_model *model, const int32_t *prompt, int64_t count,
                                          const mep_generate_settings *settings, mep_prompt_fn reading,
                                          mep_token_fn token, void *context);

#ifdef __cplusplus
}
#endif

#endif
