/* SPDX-License-Identifier: MIT */
/*
 * The GPT model (GPT-NeoX block, sequential residual), with any position encoding of mep/bias.h: create or load it,
 * compute logits and losses, generate. Parameter names are Hugging Face's for GPT-NeoX; learned position parameters are
 * "position_bias.*" (shared by all layers) and "gpt_neox.embed_positions.weight".
 */
#ifndef MEP_MODEL_H
#define MEP_MODEL_H

#include "mep/bias.h"
#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_model mep_model;

enum { MEP_POSITION_SIZE = 256 };

/* Hugging Face's names. */
typedef struct mep_model_config {
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t num_hidden_layers;
    int64_t num_attention_heads; /* divides hidden_size */
    int64_t intermediate_size;
    int64_t max_position_embeddings; /* training length; the longest length that "learned" takes */
    double layer_norm_eps;
    double rotary_emb_base;                    /* of rotary and sinusoidal */
    double rotary_pct;                         /* share of a head's channels that rotary turns */
    char position_encoding[MEP_POSITION_SIZE]; /* a name or spec of mep/bias.h */
} mep_model_config;

/* The sizes of a preset: "nano" (4 layers, hidden 128, 8 heads: the demo), "micro" (6, 256, 8), "mini" (6, 512, 8),
 * "small" (the paper's: 12, 768, 12) or "medium" (24, 1024, 16); vocab_size and position are left at 50304 and "mep".
 * An unknown name fails and lists them. */
MEP_API mep_status mep_model_preset(const char *name, mep_model_config *config);

/* Check every field; the message names the one that is wrong. */
MEP_API mep_status mep_model_config_check(const mep_model_config *config);

/* A new model with weights drawn for `seed` (SPEC's initialization). A parameter's values depend on the seed, its name
 * and its shape alone, so models that differ only in the encoding begin alike. The caller owns *model. */
MEP_API mep_status mep_model_create(mep_model **model, const mep_model_config *config, uint64_t seed);

/* Load config.json and model.safetensors from a folder: a checkpoint, any folder of the same form, or a run folder,
 * whose newest checkpoint is taken. */
MEP_API mep_status mep_model_load(mep_model **model, const char *folder);

/* Write config.json and model.safetensors (float32) into an existing folder. */
MEP_API mep_status mep_model_save(const mep_model *model, const char *folder);

MEP_API void mep_model_destroy(mep_model **model);

/* The configuration; belongs to the model. */
MEP_API const mep_model_config *mep_model_get_config(const mep_model *model);

/* The position bias, or NULL where the encoding is none. Its parameters are those of the last mep_session call. */
MEP_API const mep_bias *mep_model_get_bias(const mep_model *model);

/* Named parameters. */
typedef struct mep_parameter {
    const char *name; /* belongs to the model */
    int ndim;
    int64_t shape[4];
    int64_t size;
    float *values; /* belongs to the model; may be written between calls */
} mep_parameter;
MEP_API int64_t mep_model_parameter_count(const mep_model *model);  /* tensors */
MEP_API int64_t mep_model_parameter_values(const mep_model *model); /* values in all */
MEP_API mep_status mep_model_get_parameter(const mep_model *model, int64_t index, mep_parameter *parameter);

/* ---- Computing ---- */

/* The workspace to run a model in, for up to `batch` sequences of up to `length` tokens. */
typedef struct mep_session mep_session;

typedef struct mep_session_settings {
    int64_t batch, length;
    mep_dtype dtype; /* compute type: MEP_FLOAT32 or MEP_BFLOAT16 */
    int training;    /* keep what the backward pass needs */
    int recompute; /* training: keep only each layer's input and compute the rest again: less memory, a third more work
                    */
    double tolerance; /* of attention; see mep_attention_settings */
} mep_session_settings;

/* Defaults: batch 1, length 1024, float32, not training, tolerance 0. */
MEP_API void mep_session_defaults(mep_session_settings *settings);

/* The model must outlive the session and may be shared by several, used one at a time: a call brings the model's bias
 * up to date. Different models may be used by different threads at once. Fails where the encoding cannot take the
 * length. */
MEP_API mep_status mep_session_create(mep_session **session, mep_model *model, const mep_session_settings *settings);
MEP_API void mep_session_destroy(mep_session **session);

/* logits [batch, length, vocab_size] of tokens [batch, length]. Calls with other batch and length than at creation are
 * allowed as long as they are not larger. Tokens outside the vocabulary are an error. */
MEP_API mep_status mep_session_logits(mep_session *session, int64_t batch, int64_t length, const int32_t *tokens,
                                      float *logits);

/* losses [batch, length]: the negative log likelihood, in nats, of targets[b, t] after inputs[b, 0 .. t]. */
MEP_API mep_status mep_session_losses(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                                      const int32_t *targets, float *losses);

/* ---- Generating ---- */

typedef struct mep_generate_settings {
    int64_t max_tokens; /* new tokens; 256 */
    double temperature; /* 0: the likeliest token each time; 1 */
    int64_t top_k;      /* keep the k likeliest; 0: all */
    double top_p;       /* keep the likeliest whose probabilities reach p; 1: all */
    uint64_t seed;
    int32_t stop_token;  /* ends the text; -1: none */
    int64_t vocab_limit; /* tokens from here on are never chosen (padding of the vocabulary); 0: none */
    mep_dtype dtype;
} mep_generate_settings;

MEP_API void mep_generate_defaults(mep_generate_settings *settings);

/* Called with each new token; a return other than 0 stops the generation. */
typedef int (*mep_token_fn)(void *context, int32_t token);

/* Continue `prompt` (count >= 1 tokens) with a key/value cache, which is allocated at the start for count + max_tokens
 * tokens (at most 2^31). MEP_ERROR_NUMERIC when the model's logits are not finite. */
MEP_API mep_status mep_generate(mep_model *model, const int32_t *prompt, int64_t count,
                                const mep_generate_settings *settings, mep_token_fn token, void *context);

#ifdef __cplusplus
}
#endif

#endif
