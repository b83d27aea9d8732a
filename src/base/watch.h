/* SPDX-License-Identifier: MIT */
/*
 * A watch reports the progress of a long call and can stop it. The caller provides a function. Code that computes calls
 * mep_watch_ask between steps of a fraction of a second, on the thread that made the call, and where that returns 1 it
 * stops with mep_watch_status. NULL is allowed everywhere and means that the call is not watched.
 */
#ifndef MEP_BASE_WATCH_H
#define MEP_BASE_WATCH_H

#include <stdint.h>

#include "mep/status.h"

typedef struct mep_watch {
    const char *what; /* for the message: "the evaluation" */
    int (*report)(void *context,
                  double fraction); /* with the fraction of the call that is done, 0 to 1; returns 1 to stop it */
    void *context;
    double first,
        width; /* the section of the call that is computed now, as fractions of the call: width 1 for all of it */
    int64_t operations; /* floating-point operations between two reports, roughly: a tenth of a second to a few */
    double next;        /* time of the next report (mep_now) */
    int stopped;        /* set by a report; other threads of the team read it */
} mep_watch;

/* Begin a call. The first report comes after a tenth of a second. `what` must stay valid. */
void mep_watch_begin(mep_watch *watch, const char *what, int (*report)(void *context, double fraction), void *context);

/* Enter a section of the current section, from one fraction of it to another. Returns the argument of mep_watch_leave.
 */
typedef struct mep_watch_section {
    double first, width;
} mep_watch_section;
mep_watch_section mep_watch_enter(mep_watch *watch, double from, double to);
void mep_watch_leave(mep_watch *watch, mep_watch_section part);

/* Report that a fraction of the current section is done, at most ten times per second. Returns 1 where the call must
 * stop. Only on the calling thread. */
int mep_watch_ask(mep_watch *watch, double fraction);

/* Whether a report has stopped the call. From any thread. */
int mep_watch_stopped(const mep_watch *watch);

/* MEP_INTERRUPTED where a report has stopped the call, else MEP_OK. */
mep_status mep_watch_status(const mep_watch *watch);

#endif
