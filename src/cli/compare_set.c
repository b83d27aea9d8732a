/* SPDX-License-Identifier: MIT */
/*
 * Reading the measures of a study for its report, and what the report shows of each.
 */
#include "cli/compare_set.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static const mep_compare_description DESCRIPTIONS[] = {
    {.measure = "perplexity",
     .title = "Perplexity",
     .text = "",
     .shown = {"perplexity"},
     .effective = {"perplexity"},
     .compared = {"loss"}},
    {.measure = "by-position",
     .title = "Loss by position",
     .text = "The loss, in nats per token, at the end of a segment: of the tokens in the last bin of positions, which "
             "have the most context.",
     .shown = {"loss", "bits_per_byte"},
     .effective = {"loss"},
     .compared = {"loss"},
     .x_heading = "tokens before the predicted one",
     .y_heading = "loss (nats)",
     .draws_axis = 1},
    {.measure = "context",
     .title = "Gain from context",
     .text = "How much lower the loss of the same tokens is, in nats, with all of the length as context than with an "
             "eighth of it: the mean, and that of the tokens that gain most.",
     .shown = {"gain", "top_gain"},
     .effective = {"gain"},
     .compared = {"gain"},
     .x_heading = "tokens of context",
     .y_heading = "gain over an eighth of it (nats)",
     .draws_axis = 1},
    {.measure = "copy",
     .title = "Copy gain",
     .text = "How much lower the loss is, in nats per token, on a text that is read again after a gap of other tokens. "
             "The effective length counts both copies and all text around them.",
     .shown = {"gain"},
     .effective = {"gain"},
     .compared = {"gain"},
     .x_heading = "tokens between the copies",
     .y_heading = "copy gain (nats per token)"},
    {.measure = "passkey",
     .title = "Passkey",
     .text = "Five digits hidden in text and asked for at its end, mean over the depths: exact is the fraction of the "
             "trials in which greedy decoding writes them; saved is the nats by which they are likelier than others.",
     .shown = {"exact", "saved"},
     .effective = {"exact", "saved"},
     .compared = {"exact", "saved"},
     .x_heading = "length",
     .y_heading = "passkeys found"},
    {.measure = "blindness",
     .title = "Blindness",
     .text = "Means over all layers and heads: zero is the fraction of the keys with a weight of exactly 0; d50, d90 "
             "and d99 are the number of the nearest keys that hold 50, 90 and 99 % of the weight.",
     .shown = {"zero", "d50", "d90", "d99"},
     .x_heading = "length",
     .y_heading = "keys with weight 0"},
    {.measure = NULL, /* a synthetic task */
     .title = "Task",
     .text = "New sequences of the task: exact is the fraction of the answers that are the likeliest token; loss is in "
             "nats per answer.",
     .shown = {"exact", "loss"},
     .effective = {"exact"},
     .compared = {"exact", "loss"},
     .x_heading = "length",
     .y_heading = "answers found"},
};

static const mep_compare_description *describe(const char *measure)
{
    const mep_compare_description *d = DESCRIPTIONS;
    while (d->measure != NULL && strcmp(d->measure, measure) != 0) d++;
    return d;
}

const char *mep_compare_set_name(const mep_report *report, int64_t index)
{
    return index == 0 ? "perplexity" : report->settings->measures[index - 1];
}

int64_t mep_compare_set_count(const mep_report *report)
{
    return report->settings->measure_count + 1;
}

/* ---- The numbers of a measure ---- */

static void free_all(mep_measure **measures, int64_t count)
{
    for (int64_t i = 0; *measures != NULL && i < count; i++) mep_measure_free(&(*measures)[i]);
    mep_free(measures);
}

void mep_compare_set_close(mep_compare_set *set)
{
    free_all(&set->runs, set->encodings * set->seeds);
    free_all(&set->reduced, set->encodings * set->seeds);
    free_all(&set->means, set->encodings);
}

static mep_status read_runs(mep_compare_set *set, int64_t corpus, int64_t encoding)
{
    const mep_report *report = set->report;
    int64_t first = encoding * set->seeds;
    for (int64_t seed = 0; seed < set->seeds; seed++) {
        mep_measure *run = &set->runs[first + seed];
        MEP_TRY(mep_study_measure(report->folder, report->settings, corpus, encoding, seed, set->measure, run));
        MEP_TRY(mep_measure_by_length(run, &set->reduced[first + seed]));
    }
    return mep_measure_mean(set->reduced + first, set->seeds, &set->means[encoding]);
}

mep_status mep_compare_set_open(mep_compare_set *set, const mep_report *report, int64_t corpus, const char *measure)
{
    const mep_study_settings *s = report->settings;
    *set = (mep_compare_set){.report = report,
                             .measure = measure,
                             .about = describe(measure),
                             .encodings = s->encoding_count,
                             .seeds = s->seed_count};
    mep_status status = MEP_ALLOC(&set->runs, set->encodings * set->seeds);
    if (status == MEP_OK) status = MEP_ALLOC(&set->reduced, set->encodings * set->seeds);
    if (status == MEP_OK) status = MEP_ALLOC(&set->means, set->encodings);
    for (int64_t e = 0; e < set->encodings && status == MEP_OK; e++) status = read_runs(set, corpus, e);
    if (status != MEP_OK) mep_compare_set_close(set);
    return status;
}

int64_t mep_compare_longest_length(const mep_compare_set *set, const char *name)
{
    int64_t longest = 0;
    for (int64_t e = 0; e < set->encodings; e++)
        for (int64_t i = 0; i < set->means[e].count; i++)
            if (strcmp(set->means[e].values[i].name, name) == 0 && set->means[e].values[i].length > longest)
                longest = set->means[e].values[i].length;
    return longest;
}

mep_status mep_compare_to_baseline(const mep_compare_set *set, const mep_measure *runs, int64_t encoding,
                                   mep_measure_difference **differences, int64_t *count)
{
    return mep_measure_compare(runs + encoding * set->seeds, runs + set->report->baseline * set->seeds, set->seeds,
                               differences, count);
}
