/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the model share: a small model of any encoding, tokens and sessions for it, and differences of
 * vectors. It tests nothing itself.
 */
#ifndef MEP_TESTS_SMALL_MODEL_H
#define MEP_TESTS_SMALL_MODEL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "model/forward_pass.h"
#include "model/session.h"
#include "model/train_pass.h"

enum { BATCH = 4, LENGTH = 70, VOCAB = 50 };

static const char *const ENCODINGS[] = {
    "mep",
    "mep_param",
    "alibi",
    "rotary",
    "sinusoidal",
    "learned",
    "nope",
    "sandwich",
    "mep/learn=weights,slopes",
    "mep + uniform/weights=query",
    "exp + kerple_log/learn=weights,slopes/weights=query",
    "nope/forget",
    "alibi/forget:bias=none",
    "nope/profiles:rank=3,extent=20",
    "rotary/scale=ssmax",
    "bam/scale=logn:16/sink",
    "alibi/window=16/sink|rotary",
    "mep/weights=query/forget/profiles:rank=2/scale=ssmax/sink/window=40|nope/forget",
    "fire:max=40",
    "llama fire:max=9/forget/sink|rotary",
    "llama rotary",
    "qwen2 mep/forget",
    "qwen3 rotary|nope/sink",
    "olmo alibi/scale=ssmax",
    "olmo2 rotary|mep/forget",
    "rotary:base=300,partial=0.5,scaling=yarn,factor=4,original=16|rotary:scaling=linear,factor=3",
    "llama rotary:fraction=0.75,scaling=llama3,factor=4,original=32"};
enum { ENCODING_COUNT = sizeof ENCODINGS / sizeof *ENCODINGS };

static inline void *allocate(int64_t count, size_t size)
{
    void *p = calloc((size_t)(count > 0 ? count : 1), size);
    assert_non_null(p);
    return p;
}

static inline double mean(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    return sum / (double)n;
}

static inline double relative_difference(const float *a, const float *b, int64_t n)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

/* "BLOCK SPEC" for Llama blocks in their variants, of two query heads per key/value head or, for qwen2, three. Returns
 * the spec. */
static inline const char *set_block(const char *position, mep_model_config *c)
{
    static const char *const blocks[] = {"llama ", "qwen2 ", "qwen3 ", "olmo ", "olmo2 "};
    for (int i = 0; i < 5; i++) {
        if (strncmp(position, blocks[i], strlen(blocks[i])) != 0) continue;
        c->block = MEP_BLOCK_LLAMA, c->norm = MEP_NORM_RMS, c->mlp = MEP_MLP_SWIGLU;
        c->num_attention_heads = i == 1 ? 3 : 4, c->num_key_value_heads = i == 1 ? 1 : 2;
        c->qkv_bias = i == 1, c->tie_word_embeddings = i == 2;
        c->qk_norm = i == 2 ? MEP_QK_NORM_HEAD : i >= 3 ? MEP_QK_NORM_ALL : MEP_QK_NORM_NONE;
        c->post_norm = i == 4;
        return position + strlen(blocks[i]);
    }
    return position;
}

/* head_dim 0: hidden_size / heads, 16. */
static inline mep_model *small_model_with(const char *position, int64_t head_dim)
{
    mep_model_config c;
    mep_model *model;
    assert_int_equal(mep_model_preset("nano", &c), MEP_OK);
    c.vocab_size = VOCAB, c.hidden_size = 48, c.num_attention_heads = 3, c.num_hidden_layers = 2,
    c.intermediate_size = 80, c.head_dim = head_dim;
    c.max_position_embeddings = 4 * LENGTH;
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", set_block(position, &c));
    if (mep_model_create(&model, &c, 3) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int64_t i = 0; i < model->first[EMBED_OUT]; i++) /* away from the tiny initial values */
        for (int64_t n = 0; n < model->tensors[i].size && model->tensors[i].ndim == 2; n++)
            ((float *)model->tensors[i].data)[n] *= 5;
    return model;
}

static inline mep_model *small_model(const char *position)
{
    return small_model_with(position, 0);
}

static inline void random_tokens(int32_t *tokens, int64_t n)
{
    for (int64_t i = 0; i < n; i++) tokens[i] = (int32_t)(mep_random_bits(5, 1, (uint64_t)i) % VOCAB);
}

static inline mep_session *small_session(mep_model *model, int64_t batch, int64_t length, mep_dtype dtype, int training)
{
    mep_session_settings s;
    mep_session *session;
    mep_session_defaults(&s);
    s.batch = batch, s.length = length, s.dtype = dtype, s.training = training;
    if (mep_session_create(&session, model, &s) != MEP_OK) fail_msg("%s", mep_error_message());
    return session;
}

#endif
