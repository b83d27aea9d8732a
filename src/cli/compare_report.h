/* SPDX-License-Identifier: MIT */
/*
 * What a study leaves for people: tables as text, Markdown and CSV, and pictures. Results come from mep/study.h.
 */
#ifndef MEP_CLI_COMPARE_REPORT_H
#define MEP_CLI_COMPARE_REPORT_H

#include "mep/study.h"

typedef struct mep_report {
    const char *folder;
    const mep_study_settings *settings; /* all that was ever asked of the study; lengths in ascending order */
    const mep_study_settings *asked;    /* by this command: its encodings have a row even without a result */
    const char *command;                /* the command line, as a shell takes it */
    int so_far;                         /* encodings without a result have no row yet */
} mep_report;

/* Write results.csv and results.md of each corpus from what is done. A corpus without any result gets none. */
mep_status mep_report_write(const mep_report *report);

/* Draw perplexity.png, where there is a finite one, and, where an encoding is a distance bias, kernels.png of each
 * corpus; every run of this command is done. MEP_ERROR_UNSUPPORTED where there is no gnuplot. */
mep_status mep_report_draw(const mep_report *report);

/* Print the table of each corpus on stdout. */
mep_status mep_report_print(const mep_report *report);

/* Print the names of the files that are there on stdout. */
mep_status mep_report_print_files(const mep_report *report);

#endif
