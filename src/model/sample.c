/* SPDX-License-Identifier: MIT */
/*
 * Temperature, top-k and top-p.
 */
#include "model/sample.h"

#include <math.h>
#include <stdlib.h>

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

int32_t mep_sample(const mep_generate_settings *s, int64_t count, const float *logits, int64_t place,
                   mep_candidate *candidates)
{
    int32_t best = likeliest(count, logits);
    if (s->temperature == 0) return best;
    double sum = 0, kept = 0;
    for (int64_t i = 0; i < count; i++) {
        double p = exp(((double)logits[i] - (double)logits[best]) / s->temperature);
        candidates[i] = (mep_candidate){(float)p, (int32_t)i};
        sum += p;
    }
    int64_t left = count;
    if (s->top_k > 0 || s->top_p < 1) {
        qsort(candidates, (size_t)count, sizeof *candidates, by_probability);
        if (s->top_k > 0 && s->top_k < left) left = s->top_k;
        sum = 0;
        for (int64_t i = 0; i < left; i++) sum += (double)candidates[i].probability;
        int64_t n = 0;
        while (n < left && (n == 0 || kept < s->top_p * sum)) kept += (double)candidates[n++].probability;
        left = n;
        sum = kept;
    }
    double draw = mep_random_uniform(s->seed, mep_random_stream("sample"), (uint64_t)place) * sum;
    for (int64_t i = 0; i < left; i++) {
        draw -= (double)candidates[i].probability;
        if (draw < 0) return candidates[i].token;
    }
    return candidates[left - 1].token;
}
