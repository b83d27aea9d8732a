/* SPDX-License-Identifier: MIT */
/*
 * What all pictures by gnuplot share: NAME.dat and NAME.gp, which stay beside NAME.png so that a user can restyle the
 * picture and run gnuplot again; colours and marks, the legend, axes; the run of gnuplot, which is started without a
 * shell, in the picture's folder. gnuplot.h draws with it.
 */
#ifndef MEP_CLI_PICTURE_H
#define MEP_CLI_PICTURE_H

#include <stdint.h>
#include <stdio.h>

#include "mep/status.h"

enum { MEP_PICTURE_WIDTH = 1200, MEP_PICTURE_HEIGHT = 750, MEP_PICTURE_STYLES = 16 };

/* The files of one picture. `base` is the name without folder and ".png". */
typedef struct mep_picture {
    char *folder, *base, *data, *script, *script_name;
} mep_picture;

/* Where the legend stands, and how high that makes a picture: the curves keep their room however many there are. */
typedef struct mep_legend {
    int is_below;
    int64_t columns, rows, height;
} mep_legend;

/* The names of the files of `png`, which must end in ".png" (MEP_ERROR_ARGUMENT). MEP_ERROR_IO where a .dat or .gp of
 * that name is not one of this program: it is never overwritten. */
mep_status mep_picture_begin(mep_picture *files, const char *png);
void mep_picture_free(mep_picture *files);

/* Open the data file or the script and write its first line; close what was written. */
mep_status mep_picture_open_data(const mep_picture *files, const char *columns, FILE **file);
mep_status mep_picture_open_script(const mep_picture *files, FILE **file);
mep_status mep_picture_close(FILE *file, const char *path);

/* A string of gnuplot in single quotes; `base` and an ending in such. */
void mep_picture_quote(FILE *file, const char *text);
void mep_picture_name(FILE *file, const mep_picture *files, const char *ending);

/* The legend of `count` labels, the longest of `longest` characters. */
mep_legend mep_legend_find(int64_t count, int64_t longest);

/* Terminal of these pixels, output, border, grid, and the line types 1 to MEP_PICTURE_STYLES. Type n +
 * MEP_PICTURE_STYLES / 2 is type n dashed. */
void mep_picture_frame(FILE *file, const mep_picture *files, int64_t width, int64_t height);

/* Ticks of a logarithmic y axis from low to high, both above 0: no more than `most` (but one), at round numbers. */
void mep_picture_log_ticks(FILE *file, double low, double high, int64_t most);

/* The colour of a line type, "#0072B2". */
const char *mep_picture_colour(int64_t style);

/* Run gnuplot on the script. Its own messages go to stderr. MEP_ERROR_UNSUPPORTED where there is none. */
mep_status mep_picture_run(const mep_picture *files);

#endif
