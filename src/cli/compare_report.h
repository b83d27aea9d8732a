/* SPDX-License-Identifier: MIT */
/*
 * The report of a study: tables as text, Markdown and CSV, pictures, and a page of HTML. Results come from mep/study.h.
 */
#ifndef MEP_CLI_COMPARE_REPORT_H
#define MEP_CLI_COMPARE_REPORT_H

#include "cli/compare_study.h"

/* Write results.csv and results.md of each corpus from the finished runs, and measures.csv and differences.csv where
 * there are measures and a baseline. A corpus without a result gets no files. */
mep_status mep_report_write(const mep_report *report);

/* Draw for each corpus perplexity.png, if a perplexity is finite, differences.png, if there is a baseline, kernels.png,
 * if an encoding is a distance bias, and measure-NAME.png of each measure, and all of them as SVG. All runs of this
 * command are done. MEP_ERROR_UNSUPPORTED if gnuplot is not installed. */
mep_status mep_report_draw(const mep_report *report);

/* Write results.html of each corpus: what results.md has, with the pictures that mep_report_draw made. */
mep_status mep_report_write_html(const mep_report *report);

/* Print the table of each corpus to stdout. */
mep_status mep_report_print(const mep_report *report);

/* Print the names of the files that exist to stdout. */
mep_status mep_report_print_files(const mep_report *report);

#endif
