/* SPDX-License-Identifier: MIT */
/*
 * Temperature, top-k and top-p.
 */
#include "model/sample.h"

#include <math.h>

#include "base/error.h"
#include "base/random.h"

/* Whether a precedes b: it is likelier, or equally likely with a lower token. */
static int before(const mep_candidate *a, const mep_candidate *b)
{
    return a->probability != b->probability ? a->probability > b->probability : a->token < b->token;
}

static void swap(mep_candidate *a, mep_candidate *b)
{
    mep_candidate kept = *a;
    *a = *b, *b = kept;
}

/* Restore the order of a heap of `count` elements, in which parents precede their children, below element `at`. */
static void sink(mep_candidate *heap, int64_t count, int64_t at)
{
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &heap[at])) return;
        swap(&heap[child], &heap[at]);
    }
}

static int32_t likeliest(int64_t count, const float *logits)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* Move the first element of a heap of `count` to the end, after the others. */
static void pop(mep_candidate *heap, int64_t count)
{
    swap(&heap[0], &heap[count - 1]);
    sink(heap, count - 1, 0);
}

/* Keep the k likeliest candidates, and of these the fewest that reach top_p, likeliest first; returns their number. A
 * heap yields them one by one, from the end of the array backwards, so that only those that are needed are sorted. */
static int64_t keep_candidates(const mep_generate_settings *s, int64_t count, mep_candidate *candidates)
{
    int64_t k = s->top_k > 0 && s->top_k < count ? s->top_k : count, n = 0;
    const mep_candidate *last = candidates + count - 1;
    double sum = 0, kept = 0;
    for (int64_t i = 0; i < count && k == count; i++) sum += (double)candidates[i].probability;
    for (int64_t i = count / 2 - 1; i >= 0; i--) sink(candidates, count, i);
    for (int64_t i = 0; i < k && k < count; i++) {
        pop(candidates, count - i);
        sum += (double)last[-i].probability;
    }
    for (; n < k && (n == 0 || s->top_p == 1 || kept < s->top_p * sum); n++) {
        if (k == count) pop(candidates, count - n);
        kept += (double)last[-n].probability;
    }
    for (int64_t i = 0; i < n && i < count / 2; i++) swap(&candidates[i], &candidates[count - 1 - i]);
    return n;
}

mep_status mep_sample(const mep_generate_settings *s, int64_t count, const float *logits, int64_t number,
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
    int64_t left = s->top_k > 0 || s->top_p < 1 ? keep_candidates(s, count, candidates) : count;
    for (int64_t i = 0; i < left; i++) sum += (double)candidates[i].probability;
    double draw = mep_random_uniform(s->seed, mep_random_stream("sample"), (uint64_t)number) * sum;
    for (int64_t i = 0; i < left && draw >= 0; i++) {
        if (candidates[i].probability > 0) *token = candidates[i].token;
        draw -= (double)candidates[i].probability;
    }
    return MEP_OK;
}
