/* SPDX-License-Identifier: MIT */
/*
 * For the tests of training, evaluation and generation: a scratch folder with a synthetic dataset, in which every token
 * except the first of a group of four follows from the one before it, so that a model can learn; and settings of a
 * small model. It tests nothing itself. The including file defines _POSIX_C_SOURCE.
 */
#ifndef MEP_TESTS_SMALL_DATA_H
#define MEP_TESTS_SMALL_DATA_H

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
#include "io/files.h"
#include "mep/eval.h"
#include "mep/train.h"
#include "model/forward_pass.h"
#include "model/session.h"
#include "model/train_pass.h"
#include "scratch.h"

enum { TOKENS = 20000, VOCAB = 64 };

static char folder[512], data_path[600];

/* Tokens t, t+1, t+2, t+3 (mod 60) in groups, t random. */
static inline void write_data(const char *path, int64_t tokens, uint64_t seed)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    int32_t *text = calloc((size_t)tokens, sizeof *text);
    for (int64_t i = 0; i < tokens; i++)
        text[i] = i % 4 == 0 ? (int32_t)(mep_random_bits(seed, 1, (uint64_t)i) % 60) : (text[i - 1] + 1) % 60;
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, text, tokens, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    free(text);
}

static inline mep_train_settings settings_for(const char *position)
{
    mep_train_settings s;
    assert_int_equal(mep_train_preset("nano", &s), MEP_OK);
    s.model.initializer_range = 0.02; /* the recipe suits the size of the preset */
    s.model.vocab_size = VOCAB, s.model.hidden_size = 32, s.model.num_attention_heads = 4,
    s.model.num_hidden_layers = 2;
    s.model.intermediate_size = 64, s.model.max_position_embeddings = 16;
    s.length = 16, s.batch_size = 8, s.micro_batch_size = 4, s.steps = 24, s.learning_rate = 1e-2,
    s.dtype = MEP_FLOAT32;
    s.save_every = 8;
    snprintf(s.model.position_encoding, sizeof s.model.position_encoding, "%s", position);
    snprintf(s.data, sizeof s.data, "%s", data_path);
    return s;
}

/* A path in the scratch folder, one of the last eight. */
static inline char *run_path(const char *name)
{
    static char paths[8][700];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", scratch_path(""));
    snprintf(data_path, sizeof data_path, "%s/data", folder);
    write_data(data_path, TOKENS, 1);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    return mep_remove_tree(folder) == MEP_OK ? 0 : 1;
}

#endif
