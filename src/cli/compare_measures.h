/* SPDX-License-Identifier: MIT */
/*
 * The measures of a study in its report: tables of means over seeds, paired differences to a baseline, effective
 * lengths, CSV and pictures. "perplexity" is one of the measures.
 */
#ifndef MEP_CLI_COMPARE_MEASURES_H
#define MEP_CLI_COMPARE_MEASURES_H

#include "cli/compare_study.h"
#include "cli/page.h"
#include "cli/picture.h"

/* Add the sections of a corpus to a page: measures other than the perplexity, differences, effective lengths. */
mep_status mep_compare_write_sections(const mep_report *report, int64_t corpus, mep_page *page);

/* Print their tables to stdout: the differences of the perplexity, and each measure with its differences. */
mep_status mep_compare_print_measures(const mep_report *report, int64_t corpus);

/* Write one number of each run per row, or one paired difference per row, as CSV. */
mep_status mep_compare_write_measures(const mep_report *report, int64_t corpus, FILE *file);
mep_status mep_compare_write_differences(const mep_report *report, int64_t corpus, FILE *file);

/* The name of a measure's picture, without ".png". */
void mep_compare_picture_name(const char *measure, char name[160]);

/* Draw the measure's means into a picture of the kind MEP_PICTURE_MEASURE, which is begun. *drawn is 0 if there is
 * nothing to draw. */
mep_status mep_compare_fill_picture(const mep_report *report, int64_t corpus, const char *measure, mep_picture *picture,
                                    int *drawn);

/* The same for the paired differences of the loss to the baseline, by length. Curves leave the picture at three times
 * the median size of all differences. */
mep_status mep_compare_fill_differences(const mep_report *report, int64_t corpus, mep_picture *picture, int *drawn);

#endif
