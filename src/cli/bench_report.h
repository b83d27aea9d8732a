/* SPDX-License-Identifier: MIT */
/*
 * The page of a benchmark: its conditions, and its cases as a table or as JSON. A list of columns describes a case;
 * both forms are made from it.
 */
#ifndef MEP_CLI_BENCH_REPORT_H
#define MEP_CLI_BENCH_REPORT_H

#include <jansson.h>

#include "bench/timer.h"
#include "cli/text_table.h"

typedef enum mep_bench_kind {
    MEP_BENCH_TEXT,    /* const char * */
    MEP_BENCH_INTEGER, /* int64_t */
    MEP_BENCH_REAL,    /* double; NaN is an empty cell, null in JSON */
    MEP_BENCH_PAIR     /* mep_bench_pair: "best (median)"; KEY and KEY_median in JSON */
} mep_bench_kind;

typedef struct mep_bench_column {
    const char *heading; /* NULL: in JSON only */
    const char *key;     /* in JSON */
    mep_bench_kind kind;
    size_t offset; /* of the member in a case */
    int digits;    /* after the decimal point, in the table */
    double factor; /* multiplies the number in the table: 1e-6 for megabytes */
} mep_bench_column;

typedef struct mep_bench_report {
    const char *name; /* "attention" */
    const mep_bench_column *columns;
    int64_t column_count;
    size_t case_size;
    char *cases; /* count of case_size bytes each */
    int64_t count, capacity;
    json_t *conditions; /* strings and numbers; the file of a benchmark adds its settings */
} mep_bench_report;

/* Note the conditions of the machine and the build. */
mep_status mep_bench_report_begin(mep_bench_report *report, int64_t repeats, double seconds);

/* Add a condition. */
mep_status mep_bench_report_condition(mep_bench_report *report, const char *key, json_t *value);

/* A mep_bench_case_fn: the context is the report. */
mep_status mep_bench_report_add(void *report, const void *finished);

/* Print all cases. */
mep_status mep_bench_report_table(const mep_bench_report *report, mep_table_format format);
mep_status mep_bench_report_json(const mep_bench_report *report);

void mep_bench_report_free(mep_bench_report *report);

#endif
