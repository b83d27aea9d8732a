/* SPDX-License-Identifier: MIT */
/*
 * Pictures by gnuplot. NAME.dat and NAME.gp are written beside NAME.png, so that a user can restyle the picture and run
 * gnuplot again. gnuplot is started without a shell, in the picture's folder.
 */
#ifndef MEP_CLI_GNUPLOT_H
#define MEP_CLI_GNUPLOT_H

#include <stdint.h>

#include "mep/status.h"

typedef struct mep_plot_line {
    const char *label;
    int64_t count;
    const double *x, *y;
    const double *error; /* half the length of the error bars, or NULL */
} mep_plot_line;

typedef struct mep_plot {
    const char *title;
    const mep_plot_line *lines;
    int64_t count;
    int64_t train_length; /* marked by a vertical line; 0 for none */
    double limit;         /* perplexity: values above it are left out; kernels: the lowest y; 0 for none */
} mep_plot;

/* Perplexity against the length of the test text, one line an encoding. Values that are not finite are left out. The y
 * axis is logarithmic when the largest value is more than three times the smallest. */
mep_status mep_plot_perplexity(const char *png, const mep_plot *plot);

/* Curves of b_h(d), in nats, against the distance d. */
mep_status mep_plot_kernels(const char *png, const mep_plot *plot);

#endif
