/* SPDX-License-Identifier: MIT */
/*
 * The order of the training data: each epoch cuts the tokens, from a random start, into segments and visits them in a
 * random order. A sequence's place depends on the seed and its number alone, so any of them can be read at any time,
 * and a resumed run goes on where it was.
 */
#ifndef MEP_TRAIN_SAMPLER_H
#define MEP_TRAIN_SAMPLER_H

#include "mep/data.h"

typedef struct mep_sampler {
    const mep_dataset *data;
    int64_t length, segments; /* segments an epoch */
    uint64_t seed;
} mep_sampler;

/* Fails when the data holds no sequence of length + 1 tokens. `name` is for the message. */
mep_status mep_sampler_init(mep_sampler *sampler, const mep_dataset *data, const char *name, int64_t length,
                            uint64_t seed);

/* First token of sequence number `index` >= 0. */
int64_t mep_sampler_start(const mep_sampler *sampler, int64_t index);

/* Its length inputs, and as targets the tokens one later; MEP_TARGET_NONE for those that are not trained. */
mep_status mep_sampler_read(const mep_sampler *sampler, int64_t index, int32_t *inputs, int32_t *targets);

#endif
