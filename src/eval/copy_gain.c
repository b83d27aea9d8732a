/* SPDX-License-Identifier: MIT */
/*
 * The copy gain: segments made of [other text] [a text] [gap of other text] [the same text], and the loss on the two
 * copies. The other text of a trial is everything in the data after the copied range, and, past the end, before it.
 */
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "eval/scorer.h"

typedef struct copy_gain {
    const mep_measure_call *call;
    int64_t tokens, copy, gap, length; /* of the data; per copy; between the copies; of a segment and its last target */
    int32_t *text;                     /* [length + 1] */
    double *first, *second, *gain;     /* [samples] */
} copy_gain;

/* Where a trial takes its text from. `lead` and `gap` are offsets in the other text. */
typedef struct trial {
    int64_t copy, lead, gap;
} trial;

static int64_t draw(const copy_gain *c, const char *name, int64_t index, int64_t count)
{
    uint64_t bits = mep_random_bits(c->call->settings->seed, mep_random_stream(name), (uint64_t)index);
    return (int64_t)(bits % (uint64_t)count);
}

/* The copy and the lead are the same for every gap. */
static trial draw_trial(const copy_gain *c, int64_t index)
{
    int64_t others = c->tokens - c->copy;
    return (trial){.copy = draw(c, "copy", index, c->tokens - c->copy + 1),
                   .lead = draw(c, "lead", index, others - c->copy + 1),
                   .gap = draw(c, "gap", index, others - c->gap + 1)};
}

/* Read `count` tokens of the other text. */
static mep_status read_other(const copy_gain *c, const trial *t, int64_t start, int64_t count, int32_t *tokens)
{
    int64_t from = (t->copy + c->copy + start) % c->tokens, some = c->tokens - from < count ? c->tokens - from : count;
    MEP_TRY(mep_dataset_read(c->call->data, from, some, tokens));
    return mep_dataset_read(c->call->data, 0, count - some, tokens + some);
}

/* Compose segment number `segment` (a mep_scorer.read). */
static mep_status read(void *context, int64_t segment, int32_t *inputs, int32_t *targets, int64_t *answers)
{
    const copy_gain *c = context;
    trial t = draw_trial(c, segment);
    int32_t *at = c->text;
    (void)answers;
    MEP_TRY(read_other(c, &t, t.lead, c->copy, at));
    at += c->copy;
    MEP_TRY(mep_dataset_read(c->call->data, t.copy, c->copy, at));
    at += c->copy;
    MEP_TRY(read_other(c, &t, t.gap, c->gap, at));
    at += c->gap;
    MEP_TRY(mep_dataset_read(c->call->data, t.copy, c->copy, at));
    for (int64_t i = 0; i < c->length; i++) {
        inputs[i] = c->text[i];
        targets[i] = c->text[i + 1];
    }
    return MEP_OK;
}

/* The mean loss on a copy that begins at token `start`, without its first token. */
static double copy_loss(const copy_gain *c, const float *losses, int64_t start)
{
    double sum = 0;
    for (int64_t i = 1; i < c->copy; i++) sum += (double)losses[start + i - 1];
    return sum / (double)(c->copy - 1);
}

static void take(void *context, int64_t segment, const float *losses, const int32_t *likeliest)
{
    copy_gain *c = context;
    (void)likeliest;
    c->first[segment] = copy_loss(c, losses, c->copy);
    c->second[segment] = copy_loss(c, losses, 2 * c->copy + c->gap);
    c->gain[segment] = c->first[segment] - c->second[segment];
}

static mep_status check(int64_t gap, int64_t copy)
{
    if (gap >= 0 && gap <= 1 << 30 && copy >= 2 && copy <= 1 << 20) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "the copy gain needs a gap of 0 to 2^30 and copies of 2 to 2^20 tokens, found %lld and %lld",
                    (long long)gap, (long long)copy);
}

static mep_status open_measure(copy_gain *c)
{
    const mep_measure_settings *s = c->call->settings;
    MEP_TRY(mep_measure_check(c->call));
    c->tokens = mep_measure_tokens(c->call);
    if (c->tokens - c->copy < c->gap || c->tokens < 2 * c->copy)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens, too few for a gap of %lld between copies of %lld tokens; use "
                        "shorter gaps or more text",
                        (long long)c->tokens, (long long)c->gap, (long long)c->copy);
    MEP_TRY(MEP_ALLOC(&c->text, c->length + 1));
    MEP_TRY(MEP_ALLOC(&c->first, s->samples));
    MEP_TRY(MEP_ALLOC(&c->second, s->samples));
    return MEP_ALLOC(&c->gain, s->samples);
}

static mep_status add_values(const copy_gain *c, mep_measure_draft *draft)
{
    int64_t count = c->call->settings->samples;
    double gap = (double)c->gap;
    MEP_TRY(mep_measure_add_samples(draft, "first", gap, c->first, count));
    MEP_TRY(mep_measure_add_samples(draft, "second", gap, c->second, count));
    return mep_measure_add_samples(draft, "gain", gap, c->gain, count);
}

mep_status mep_measure_copy_gain(const mep_measure_call *call, int64_t gap, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_LOSSES));
    int64_t copy = own.settings->copy_tokens;
    MEP_TRY(check(gap, copy));
    copy_gain c = {.call = &own, .copy = copy, .gap = gap, .length = 3 * copy + gap - 1};
    mep_measure_draft draft;
    MEP_TRY(mep_measure_begin(&draft, measure, "copy", "gap", c.length + 1));
    mep_status status = mep_dist_agree(own.group, open_measure(&c));
    if (status == MEP_OK && !own.check_only) {
        const mep_scorer scorer = {.call = &own,
                                   .what = "the copy gain",
                                   .length = c.length,
                                   .segments = own.settings->samples,
                                   .read = read,
                                   .take = take,
                                   .context = &c};
        status = mep_scorer_run(&scorer);
    }
    if (status == MEP_OK && !own.check_only) status = add_values(&c, &draft);
    mep_free(&c.text);
    mep_free(&c.first);
    mep_free(&c.second);
    mep_free(&c.gain);
    return mep_measure_end(&draft, status, measure);
}
