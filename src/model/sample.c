/* SPDX-License-Identifier: MIT */
/*
 * Temperature, top-k and top-p.
 */
#include "model/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/random.h"

static int by_probability(const void *a, const void *b)
{
    const mep_candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

static int32_t likeliest(int64_t count, const float *logits)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Keep the k likeliest, of these the fewest that reach top_p, most likely first; returns how many. */
static int64_t cut_candidates(const mep_generate_settings *s, int64_t count, mep_candidate *candidates)
{
    int64_t left = s->top_k > 0 && s->top_k < count ? s->top_k : count, n = 0;
    double sum = 0, kept = 0;
    qsort(candidates, (size_t)count, sizeof *candidates, by_probability);
    for (int64_t i = 0; i < left; i++) sum += (double)candidates[i].probability;
    while (n < left && (n == 0 || kept < s->top_p * sum)) kept += (double)candidates[n++].probability;
    return n;
}

mep_status mep_sample(const mep_generate_settings *s, int64_t count, const float *logits, int64_t place,
                      mep_candidate *candidates, int32_t *token)
{
    int32_t best = likeliest(count, logits);
    double sum = 0, top = (double)logits[best];
    for (int64_t i = 0; i < count; i++)
        if (isnan(logits[i]) || !isfinite(top))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's logits are not finite; its weights are damaged or its training went wrong");
    *token = best;
    if (s->temperature == 0) return MEP_OK;
    for (int64_t i = 0; i < count; i++)
        candidates[i] = (mep_candidate){(float)exp(((double)logits[i] - top) / s->temperature), (int32_t)i};
    int64_t left = s->top_k > 0 || s->top_p < 1 ? cut_candidates(s, count, candidates) : count;
    for (int64_t i = 0; i < left; i++) sum += (double)candidates[i].probability;
    double draw = mep_random_uniform(s->seed, mep_random_stream("sample"), (uint64_t)place) * sum;
    for (int64_t i = 0; i < left && draw >= 0; i++) {
        if (candidates[i].probability > 0) *token = candidates[i].token;
        draw -= (double)candidates[i].probability;
    }
    return MEP_OK;
}
