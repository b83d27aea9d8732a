/* SPDX-License-Identifier: MIT */
/*
 * A long call that reports how far it is and can be stopped. The caller gives a function; what computes calls
 * mep_watch_ask between pieces of work of a fraction of a second, on the thread that made the call, and gives up with
 * mep_watch_status where it returns 1. A NULL watch is allowed everywhere: nobody watches.
 */
#ifndef MEP_BASE_WATCH_H
#define MEP_BASE_WATCH_H

#include <stdint.h>

#include "mep/status.h"

typedef struct mep_watch {
    const char *what;                              /* for the message: "the evaluation" */
    int (*report)(void *context, double fraction); /* of the call that is done, 0 to 1; returns 1 to stop it */
    void *context;
    double first, width; /* the part of the call that is under way: width 1 for all of it */
    int64_t operations;  /* floating-point operations of a piece of work, about: a tenth of a second or a few */
    double next;         /* time of the next report (mep_now) */
    int stopped;         /* by a report; other threads of a team read it */
} mep_watch;

/* Begin a call: the first report comes after a tenth of a second. `what` is kept. */
void mep_watch_begin(mep_watch *watch, const char *what, int (*report)(void *context, double fraction), void *context);

/* Enter a part of the part under way, from one fraction of it to another. Returns what mep_watch_leave takes. */
typedef struct mep_watch_part {
    double first, width;
} mep_watch_part;
mep_watch_part mep_watch_enter(mep_watch *watch, double from, double to);
void mep_watch_leave(mep_watch *watch, mep_watch_part part);

/* A fraction of the part under way is done: report it, ten times a second at most. Returns 1 where the call is to stop.
 * On the calling thread only. */
int mep_watch_ask(mep_watch *watch, double fraction);

/* Whether a report has stopped the call. From any thread. */
int mep_watch_stopped(const mep_watch *watch);

/* MEP_INTERRUPTED where a report has stopped the call, else MEP_OK. */
mep_status mep_watch_status(const mep_watch *watch);

#endif
