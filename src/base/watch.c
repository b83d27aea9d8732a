/* SPDX-License-Identifier: MIT */
/*
 * Reports of a long call, and stopping it.
 */
#include "base/watch.h"

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"

static const int64_t OPERATIONS = (int64_t)1 << 36;
static const double SECONDS = 0.1; /* seconds between reports */

void mep_watch_begin(mep_watch *w, const char *what, int (*report)(void *context, double fraction), void *context)
{
    *w = (mep_watch){.what = what,
                     .report = report,
                     .context = context,
                     .width = 1,
                     .operations = OPERATIONS,
                     .next = mep_now() + SECONDS};
}

mep_watch_section mep_watch_enter(mep_watch *w, double from, double to)
{
    if (w == NULL) return (mep_watch_section){0, 1};
    mep_watch_section before = {w->first, w->width};
    w->first += from * w->width;
    w->width *= to - from;
    return before;
}

void mep_watch_leave(mep_watch *w, mep_watch_section part)
{
    if (w == NULL) return;
    w->first = part.first;
    w->width = part.width;
}

int mep_watch_ask(mep_watch *w, double fraction)
{
    if (w == NULL) return 0;
    if (w->stopped) return 1;
    double now = mep_now();
    if (now < w->next) return 0;
    w->next = now + SECONDS;
    if (w->report(w->context, w->first + fraction * w->width) == 0) return 0;
    __atomic_store_n(&w->stopped, 1, __ATOMIC_RELAXED);
    return 1;
}

int mep_watch_stopped(const mep_watch *w)
{
    return w != NULL && __atomic_load_n(&w->stopped, __ATOMIC_RELAXED);
}

mep_status mep_watch_status(const mep_watch *w)
{
    return mep_watch_stopped(w) ? mep_fail(MEP_INTERRUPTED, "%s was stopped", w->what) : MEP_OK;
}
