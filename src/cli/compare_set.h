/* SPDX-License-Identifier: MIT */
/*
 * One measure of a study as its report reads it: the numbers of all runs and their means over the seeds. Files of the
 * report include it; nothing else does.
 */
#ifndef MEP_CLI_COMPARE_SET_H
#define MEP_CLI_COMPARE_SET_H

#include "cli/compare_study.h"

enum { MEP_COMPARE_SHOWN = 4 };

/* What the report shows of a measure. The first name of `shown` is drawn. */
typedef struct mep_compare_description {
    const char *measure, *title, *text;
    const char *shown[MEP_COMPARE_SHOWN];     /* values of the tables */
    const char *effective[MEP_COMPARE_SHOWN]; /* values with an effective length */
    const char *compared[MEP_COMPARE_SHOWN];  /* values with paired differences */
    const char *x_heading, *y_heading;
    int draws_axis; /* the curve is over the axis, at the longest length; otherwise over the lengths or gaps */
} mep_compare_description;

typedef struct mep_compare_set {
    const mep_report *report;
    const char *measure;
    const mep_compare_description *about;
    int64_t encodings, seeds;
    mep_measure *runs;    /* [encodings, seeds] */
    mep_measure *reduced; /* the same, by length */
    mep_measure *means;   /* [encodings] of `reduced` over the seeds */
} mep_compare_set;

/* The measures of the report: "perplexity" is the first, then those of the settings. */
int64_t mep_compare_set_count(const mep_report *report);
const char *mep_compare_set_name(const mep_report *report, int64_t index);

/* Read a measure of a corpus. The caller closes *set, which is empty on failure. */
mep_status mep_compare_set_open(mep_compare_set *set, const mep_report *report, int64_t corpus, const char *measure);
void mep_compare_set_close(mep_compare_set *set);

/* The longest length at which an encoding has the value `name`; 0 if there is none. */
int64_t mep_compare_longest_length(const mep_compare_set *set, const char *name);

/* The paired differences of an encoding to the baseline, of `runs` (set->runs or set->reduced). */
mep_status mep_compare_to_baseline(const mep_compare_set *set, const mep_measure *runs, int64_t encoding,
                                   mep_measure_difference **differences, int64_t *count);

#endif
