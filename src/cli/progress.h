/* SPDX-License-Identifier: MIT */
/*
 * One progress line on stderr: rewritten in place on a terminal, a plain line every ten seconds elsewhere.
 */
#ifndef MEP_CLI_PROGRESS_H
#define MEP_CLI_PROGRESS_H

#include <stdint.h>

/* All zero: no line is ever shown, so that --quiet just leaves out mep_progress_start. */
typedef struct mep_progress {
    const char *label;
    int64_t first, done, total;
    double started, shown; /* seconds of the monotonic clock */
    double left; /* set by who knows better than "as fast as so far": the seconds shown as left; 0: estimate them */
    int running, terminal;
    char text[128];
} mep_progress;

/* Begin at `done` (not 0 when a run is resumed) of `total`; total 0 is unknown. `label` is kept. */
void mep_progress_start(mep_progress *progress, const char *label, int64_t done, int64_t total);

/* Show "label  done/total  12%  TEXT  1:23 left" when it is time. TEXT in printf form: "loss 2.345  41.2k tok/s". */
void mep_progress_update(mep_progress *progress, int64_t done, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Show the last state with the time it took, and end the line. Before any other output that follows. */
void mep_progress_finish(mep_progress *progress);

/* "0:07", "12:34", "1:02:03" */
void mep_duration_text(double seconds, char text[32]);

/* "950", "41.2k", "3.1M": a number in at most four digits. */
void mep_short_number(double number, char text[32]);

#endif
