/* SPDX-License-Identifier: MIT */
/*
 * Choosing the next token from logits.
 */
#ifndef MEP_MODEL_SAMPLE_H
#define MEP_MODEL_SAMPLE_H

#include "mep/model.h"

/* A token and its probability; workspace of mep_sample. */
typedef struct mep_candidate {
    float probability;
    int32_t token;
} mep_candidate;

/* *token is what `settings` choose from logits [count]; `place` numbers the draw. candidates holds count elements. The
 * k likeliest are kept, then of these the fewest whose probabilities reach top_p. MEP_ERROR_NUMERIC when a logit is NaN
 * or the highest not finite. */
mep_status mep_sample(const mep_generate_settings *settings, int64_t count, const float *logits, int64_t place,
                      mep_candidate *candidates, int32_t *token);

#endif
