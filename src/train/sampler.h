/* SPDX-License-Identifier: MIT */
/*
 * The order of the sequences of one dataset: each epoch divides the tokens, from a random start, into segments and
 * visits them in a random order. The position of a sequence depends on the seed and its number alone, so any sequence
 * can be read at any time, and a resumed run continues without stored state.
 */
#ifndef MEP_TRAIN_SAMPLER_H
#define MEP_TRAIN_SAMPLER_H

#include "mep/data.h"

typedef struct mep_sampler {
    const mep_dataset *data;
    int64_t length, segments; /* segments per epoch */
    int64_t slack; /* an epoch begins at one of the tokens 0 .. slack; 0 for data with a mask, whose sequences begin
                      where its documents do */
    uint64_t seed;
} mep_sampler;

/* Fails if the data has fewer than length + 1 tokens. `name` is for the message. */
mep_status mep_sampler_init(mep_sampler *sampler, const mep_dataset *data, const char *name, int64_t length,
                            uint64_t seed);

/* The first token of sequence number `index` >= 0. */
int64_t mep_sampler_start(const mep_sampler *sampler, int64_t index);

/* Read its inputs [length], and its targets, which are the tokens one position later; MEP_TARGET_NONE for those that
 * are not trained. */
mep_status mep_sampler_read(const mep_sampler *sampler, int64_t index, int32_t *inputs, int32_t *targets);

#endif
