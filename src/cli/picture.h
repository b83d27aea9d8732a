/* SPDX-License-Identifier: MIT */
/*
 * A picture by gnuplot. This file collects the data and the variables of one picture; what the picture looks like is in
 * the scripts of src/cli/gnuplot. NAME.dat (the data) and NAME.gp (the variables, then the script) stay next to
 * NAME.png: a user can change NAME.gp and run `gnuplot NAME.gp` again.
 */
#ifndef MEP_CLI_PICTURE_H
#define MEP_CLI_PICTURE_H

#include <stdint.h>

#include "mep/status.h"

typedef enum mep_picture_kind {
    MEP_PICTURE_PERPLEXITY, /* rows: length, perplexity, standard deviation (0: no error bar) */
    MEP_PICTURE_KERNELS,    /* rows: distance, bias in nats */
    MEP_PICTURE_TRAINING,   /* panels; rows: x, y, and for a band its lowest and highest y */
    MEP_PICTURE_MEASURE,    /* rows: x, value, standard error (0: unknown) */
    MEP_PICTURE_HEAT        /* one curve; rows: column and row of a cell, from 0, and its value */
} mep_picture_kind;

/* Line types of the scripts. Type n + MEP_PICTURE_COLORS is type n dashed, type n + 2 MEP_PICTURE_COLORS dotted. */
enum { MEP_PICTURE_COLORS = 8, MEP_PICTURE_STYLES = 3 * MEP_PICTURE_COLORS };

typedef struct mep_picture mep_picture;

/* A curve of the picture. */
typedef struct mep_picture_curve {
    const char *label; /* in the legend; NULL: none. Copied */
    int style;         /* line type, from 1; 0: chosen by the number of the curve */
    const char *kind;  /* training: "line", "band", "marks" or "crosses" (gnuplot/training.gp); NULL otherwise. A
                          constant string */
} mep_picture_curve;

/* A panel of MEP_PICTURE_TRAINING: the curves from here to the next panel. */
typedef struct mep_picture_panel {
    const char *heading; /* what is drawn, with its unit; a constant string */
    int is_loss;         /* the panel is tall, and its y axis may end below the highest value (gnuplot/training.gp) */
    int from_zero;       /* the y axis begins at 0 */
} mep_picture_panel;

/* Begin the picture `png`, whose name must end in ".png" (MEP_ERROR_ARGUMENT). Nothing is written until
 * mep_picture_draw. MEP_ERROR_IO where a .dat or .gp of that name exists that this program has not written: it is never
 * overwritten. The caller owns *picture. */
mep_status mep_picture_begin(mep_picture **picture, const char *png, mep_picture_kind kind);
/* NULL is allowed. */
void mep_picture_destroy(mep_picture **picture);

/* Set a variable of the script: the first lines of the scripts list them. */
void mep_picture_set_text(mep_picture *picture, const char *name, const char *text);
void mep_picture_set_number(mep_picture *picture, const char *name, double number);

/* Perplexity: values above `limit` are not drawn. 0: all are. To be called before the first row. */
void mep_picture_set_limit(mep_picture *picture, double limit);

mep_status mep_picture_add_panel(mep_picture *picture, const mep_picture_panel *panel);
mep_status mep_picture_add_curve(mep_picture *picture, const mep_picture_curve *curve);
/* Add a row of `count` numbers, 1 to 4, to the last curve. A row whose second number is not finite interrupts the
 * curve. */
void mep_picture_add_row(mep_picture *picture, const double *row, int count);

/* Write the files and run gnuplot, whose messages go to stderr. MEP_ERROR_FORMAT where no value is finite and within
 * the limit; MEP_ERROR_UNSUPPORTED where gnuplot is not installed. */
mep_status mep_picture_draw(mep_picture *picture);

/* The same, and then NAME.svg by the same script. */
mep_status mep_picture_draw_both(mep_picture *picture);

#endif
