/* SPDX-License-Identifier: MIT */
/*
 * Choosing the next token from logits.
 */
#ifndef MEP_MODEL_SAMPLE_H
#define MEP_MODEL_SAMPLE_H

#include "mep/model.h"

/* A token and its unnormalized probability: workspace of mep_sample. */
typedef struct mep_candidate {
    float probability;
    int32_t token;
} mep_candidate;

/* Choose a token from logits [count] as `settings` say; `number` is that of the draw. Of the top_k likeliest tokens the
 * fewest are kept whose probabilities sum to top_p. candidates has room for count elements. MEP_ERROR_NUMERIC where a
 * logit is NaN or the highest is not finite. */
mep_status mep_sample(const mep_generate_settings *settings, int64_t count, const float *logits, int64_t number,
                      mep_candidate *candidates, int32_t *token);

#endif
