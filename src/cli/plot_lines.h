/* SPDX-License-Identifier: MIT */
/*
 * The lines of a picture of mep plot, with the memory that they point to.
 */
#ifndef MEP_CLI_PLOT_LINES_H
#define MEP_CLI_PLOT_LINES_H

#include "cli/args.h"
#include "cli/gnuplot.h"

enum { MEP_PLOT_LINES = MEP_ARGS_LIST };

/* All zero: no line yet. */
typedef struct mep_plot_lines {
    mep_plot_line lines[MEP_PLOT_LINES];
    char *labels[MEP_PLOT_LINES];
    double *x[MEP_PLOT_LINES], *y[MEP_PLOT_LINES], *error[MEP_PLOT_LINES];
    int64_t count;
} mep_plot_lines;

/* Begin a line with room for `points` points and no point yet; it is lines[count - 1]. */
mep_status mep_plot_lines_add(mep_plot_lines *drawing, const char *label, int64_t points);
void mep_plot_lines_free(mep_plot_lines *drawing);

#endif
