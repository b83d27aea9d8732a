/* SPDX-License-Identifier: MIT */
/*
 * One progress line on stderr: rewritten in place on a terminal, a plain line every ten seconds elsewhere.
 */
#ifndef MEP_CLI_PROGRESS_H
#define MEP_CLI_PROGRESS_H

#include <stdint.h>

/* All zero: no line is shown. With --quiet mep_progress_start is not called. */
typedef struct mep_progress {
    const char *label;
    int64_t first, done, total;
    double started, shown; /* seconds of the monotonic clock */
    double left; /* the seconds shown as left, set by callers that know them; 0: estimated from the speed so far */
    int running, terminal;
    char text[128];
} mep_progress;

/* Begin at `done` (not 0 if a run is resumed) of `total`; a total of 0 is unknown. `label` must stay valid. */
void mep_progress_start(mep_progress *progress, const char *label, int64_t done, int64_t total);

/* Show "label  done/total  12%  TEXT  1:23 left" if the last line is old enough. TEXT is in printf form: "loss 2.345
 * 41.2k tok/s". */
void mep_progress_update(mep_progress *progress, int64_t done, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Show the last state with the time it took, and end the line; nothing if no line is visible and nothing was done. To
 * be called before other output, also after a failure. */
void mep_progress_finish(mep_progress *progress);

/* "0:07", "12:34", "1:02:03" */
void mep_duration_text(double seconds, char text[32]);

/* "950", "41.2k", "3.1M": a number with at most four digits. */
void mep_short_number(double number, char text[32]);

#endif
