/* SPDX-License-Identifier: MIT */
/*
 * The gain from context: the same tokens, each predicted from exactly 1/8, 1/4, 1/2 and all of the length before it.
 * One segment per token and context, of which only the last loss is computed.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "eval/scorer.h"

enum { CONTEXTS = 4 };

typedef struct context_gain {
    const mep_measure_call *call;
    int64_t tokens, samples; /* of the data; scored tokens */
    int64_t context;         /* the current number of tokens before each scored one */
    double *current;         /* [samples] losses of the current context */
    double *losses[CONTEXTS];
    double *gains;  /* [samples] in the order of the samples, then of the largest gains */
    int64_t *order; /* [samples] the samples by their gain at the full length */
    int64_t top;    /* of `order`, the samples that gain most */
} context_gain;

/* The scored token of a sample: evenly spaced over the tokens that have `length` tokens before them. */
static int64_t scored_token(const context_gain *g, int64_t sample)
{
    int64_t length = g->call->settings->length, possible = g->tokens - length;
    double step = (double)possible / (double)g->samples;
    return length + min_i64((int64_t)(step * ((double)sample + 0.5)), possible - 1);
}

static mep_status read(void *context, int64_t segment, int32_t *inputs, int32_t *targets, int64_t *answers)
{
    const context_gain *g = context;
    int64_t first = scored_token(g, segment) - g->context;
    answers[0] = g->context - 1;
    MEP_TRY(mep_dataset_read(g->call->data, first, g->context, inputs));
    return mep_dataset_read(g->call->data, first + 1, g->context, targets);
}

static void take(void *context, int64_t segment, const float *losses, const int32_t *likeliest)
{
    context_gain *g = context;
    (void)likeliest;
    g->current[segment] = (double)losses[0];
}

static mep_status open_measure(context_gain *g)
{
    const mep_measure_settings *s = g->call->settings;
    MEP_TRY(mep_measure_check(g->call));
    if (s->length % 8 != 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the length %lld is not a multiple of 8; the gain from context needs lengths that are",
                        (long long)s->length);
    if (!(s->top > 0 && s->top <= 1))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the fraction of tokens that gain most must be above 0 and at most 1, found %g", s->top);
    g->tokens = mep_measure_tokens(g->call);
    if (g->tokens <= s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens, too few for a token with a context of %lld; use a shorter length or "
                        "more text",
                        (long long)g->tokens, (long long)s->length);
    g->samples = min_i64(s->samples, g->tokens - s->length);
    g->top = max_i64((int64_t)(s->top * (double)g->samples + 0.5), 1);
    for (int i = 0; i < CONTEXTS; i++) MEP_TRY(MEP_ALLOC(&g->losses[i], g->samples));
    MEP_TRY(MEP_ALLOC(&g->gains, g->samples));
    return MEP_ALLOC(&g->order, g->samples);
}

/* Score the same tokens with each context, from the shortest to the longest. */
static mep_status score(context_gain *g)
{
    int64_t length = g->call->settings->length, all = g->samples * length / 8 * 15, done = 0;
    for (int i = 0; i < CONTEXTS; i++) {
        g->context = length / 8 << i;
        g->current = g->losses[i];
        int64_t own = g->samples * g->context;
        const mep_scorer scorer = {.call = g->call,
                                   .what = "the gain from context",
                                   .length = g->context,
                                   .segments = g->samples,
                                   .answers = 1,
                                   .before = done,
                                   .after = all - done - own,
                                   .read = read,
                                   .take = take,
                                   .context = g};
        MEP_TRY(mep_scorer_run(&scorer));
        done += own;
    }
    return MEP_OK;
}

/* ---- The tokens that gain most ---- */

typedef struct ranked {
    double gain;
    int64_t sample;
} ranked;

static int compare(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    return x->sample < y->sample ? -1 : 1;
}

static mep_status rank(context_gain *g)
{
    ranked *all;
    MEP_TRY(MEP_ALLOC(&all, g->samples));
    for (int64_t i = 0; i < g->samples; i++) all[i] = (ranked){g->losses[0][i] - g->losses[CONTEXTS - 1][i], i};
    qsort(all, (size_t)g->samples, sizeof *all, compare);
    for (int64_t i = 0; i < g->samples; i++) g->order[i] = all[i].sample;
    mep_free(&all);
    return MEP_OK;
}

static mep_status add_values(context_gain *g, mep_measure_draft *draft)
{
    MEP_TRY(rank(g));
    for (int c = 0; c < CONTEXTS; c++) {
        double context = (double)(g->call->settings->length / 8 << c);
        MEP_TRY(mep_measure_add_samples(draft, "loss", context, g->losses[c], g->samples));
        if (c == 0) continue;
        for (int64_t i = 0; i < g->samples; i++) g->gains[i] = g->losses[0][i] - g->losses[c][i];
        MEP_TRY(mep_measure_add_samples(draft, "gain", context, g->gains, g->samples));
        /* the tokens that gain most differ between models: they are not samples that could be paired */
        for (int64_t i = 0; i < g->top; i++) g->gains[i] = g->losses[0][g->order[i]] - g->losses[c][g->order[i]];
        MEP_TRY(mep_measure_add(draft, "top_gain", context, mep_mean_of(g->gains, g->top)));
    }
    return MEP_OK;
}

mep_status mep_measure_context_gain(const mep_measure_call *call, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_LOSSES));
    context_gain g = {.call = &own};
    mep_measure_draft draft;
    MEP_TRY(mep_measure_begin(&draft, measure, "context", "context", own.settings->length));
    mep_status status = mep_dist_agree(own.group, open_measure(&g));
    if (status == MEP_OK && !own.check_only) status = score(&g);
    if (status == MEP_OK && !own.check_only) status = add_values(&g, &draft);
    for (int i = 0; i < CONTEXTS; i++) mep_free(&g.losses[i]);
    mep_free(&g.gains);
    mep_free(&g.order);
    return mep_measure_end(&draft, status, measure);
}
