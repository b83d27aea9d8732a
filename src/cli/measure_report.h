/* SPDX-License-Identifier: MIT */
/*
 * A measure as a table, as CSV and as JSON: any measure, since all are lists of named numbers.
 */
#ifndef MEP_CLI_MEASURE_REPORT_H
#define MEP_CLI_MEASURE_REPORT_H

#include <stdio.h>

#include "cli/text_table.h"
#include "mep/measure.h"

typedef struct mep_measure_report {
    const mep_measure *measure;
    const char *model, *data; /* as the user named them; data may be NULL */
    int64_t training_length;  /* for effective lengths */
    double within;            /* the fraction of an effective length */
} mep_measure_report;

/* One row for each length and point of the axis, with a column and its standard error for each value. As text or
 * Markdown, a line for each effective length follows. */
mep_status mep_measure_report_table(const mep_measure_report *report, mep_table_format format, FILE *file);

/* One object: what was measured, all numbers, and the effective lengths. */
mep_status mep_measure_report_json(const mep_measure_report *report, FILE *file);

#endif
