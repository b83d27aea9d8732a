/* SPDX-License-Identifier: MIT */
/*
 * The kinds of pictures. NAME.dat and NAME.gp are written beside NAME.png, so that a user can restyle the picture and
 * run gnuplot again (picture.h).
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
    int style;           /* line type of picture.h; 0: by its place */
} mep_plot_line;

typedef struct mep_plot {
    const char *title;
    const mep_plot_line *lines;
    int64_t count;
    const char *unit;     /* of lengths: "bytes"; NULL: tokens */
    int64_t train_length; /* marked by a vertical line; 0 for none */
    double limit;         /* perplexity: values above it are left out; kernels: the lowest y; 0 for none */
} mep_plot;

/* Perplexity against the length of the test text, one line an encoding. Values that are not finite are left out. The y
 * axis is logarithmic when the largest value is more than three times the smallest. */
mep_status mep_plot_perplexity(const char *png, const mep_plot *plot);

/* Curves of b_h(d), in nats, against the distance d. */
mep_status mep_plot_kernels(const char *png, const mep_plot *plot);

/* ---- Panels above each other, with one x axis ---- */

typedef enum mep_curve_kind {
    MEP_CURVE_LINE,
    MEP_CURVE_MARKED, /* a line with a mark at each point */
    MEP_CURVE_RUG     /* crosses at the bottom of the panel; y is not looked at */
} mep_curve_kind;

typedef struct mep_plot_curve {
    const char *label; /* in the legend; NULL: none */
    mep_curve_kind kind;
    int style; /* line type of picture.h */
    int64_t count;
    const double *x, *y;      /* where y is not finite the line is broken */
    const double *low, *high; /* of a band behind the line, or NULL */
} mep_plot_curve;

typedef struct mep_plot_panel {
    const char *title; /* what is drawn, with its unit */
    int is_tall;
    int from_zero; /* the y axis begins at 0; else where the curves do, and is logarithmic where the largest value is
                      more than ten times the smallest */
    double top;    /* the y axis ends there; 0: where the curves do */
    const mep_plot_curve *curves;
    int64_t count;
} mep_plot_panel;

typedef struct mep_plot_panels {
    const char *title, *x_title;
    const mep_plot_panel *panels;
    int64_t count;
} mep_plot_panels;

/* The picture grows with its panels and its legend. MEP_ERROR_FORMAT where no panel has a finite value. */
mep_status mep_plot_stacked(const char *png, const mep_plot_panels *plot);

#endif
