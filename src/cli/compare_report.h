/* SPDX-License-Identifier: MIT */
/*
 * The report of a study: tables as text, Markdown and CSV, and pictures. Results come from mep/study.h.
 */
#ifndef MEP_CLI_COMPARE_REPORT_H
#define MEP_CLI_COMPARE_REPORT_H

#include "mep/study.h"

typedef struct mep_report {
    const char *folder;
    const mep_study_settings *settings; /* of the study, with the lists of all commands; lengths in ascending order */
    const mep_study_settings *asked;    /* of this command: its encodings have a row even without a result */
    const char *command;                /* the command line, as a shell reads it */
    int so_far;                         /* 1: encodings without a result have no row yet */
} mep_report;

/* Write results.csv and results.md of each corpus from the finished runs. A corpus without a result gets no files. */
mep_status mep_report_write(const mep_report *report);

/* Draw for each corpus perplexity.png, if a perplexity is finite, and kernels.png, if an encoding is a distance bias.
 * All runs of this command are done. MEP_ERROR_UNSUPPORTED if gnuplot is not installed. */
mep_status mep_report_draw(const mep_report *report);

/* Print the table of each corpus to stdout. */
mep_status mep_report_print(const mep_report *report);

/* Print the names of the files that exist to stdout. */
mep_status mep_report_print_files(const mep_report *report);

#endif
