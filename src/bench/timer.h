/* SPDX-License-Identifier: MIT */
/*
 * The one way in which everything is timed. What is to be compared are lanes: they run in turn, one sample each, round
 * after round, so that a machine that slows down or is shared hits all of them alike. Ceilings are lanes among them.
 *
 * Every lane runs once before anything counts. A sample is as many runs as take 20 ms. A lane ends after `repeats`
 * samples, or when the next would take it past `seconds`; a lane whose first run is longer than that has this run for
 * its only sample. A ceiling has a sample in every round.
 *
 * What runs have started on a GPU is waited for within the sample: after 1, 2, 4, .. runs, so that waiting itself,
 * which takes as long as a small run, counts little.
 */
#ifndef MEP_BENCH_TIMER_H
#define MEP_BENCH_TIMER_H

#include <stdint.h>

#include "mep/device.h"

enum { MEP_BENCH_REPEATS = 1000, MEP_BENCH_NAME = 160 };

/* How long to measure, and who watches. */
typedef struct mep_bench_control {
    int64_t repeats; /* 1 .. MEP_BENCH_REPEATS */
    double seconds;  /* a lane */
    /* Called before each run with the lane's name, NULL for nobody; not 0 ends with MEP_INTERRUPTED. */
    int (*watch)(void *context, int64_t done, int64_t total, const char *name);
    void *context;
    int64_t done, total; /* cases, set by who measures */
} mep_bench_control;

typedef struct mep_bench_lane {
    mep_status (*run)(void *context);
    void *context;
    char name[MEP_BENCH_NAME]; /* for the progress line */
    int is_ceiling;
    mep_device device; /* where it works; 0: the processor */
    double work;       /* of a run: operations or bytes */
    double first;      /* seconds of the first run; 0 before it */
    double total;      /* seconds of the samples */
    int64_t count;     /* samples */
    double seconds[MEP_BENCH_REPEATS];
} mep_bench_lane;

/* The best and the median of the samples. */
typedef struct mep_bench_pair {
    double best, median;
} mep_bench_pair;

/* What a lane has come to, beside a lane that is the ceiling. */
typedef struct mep_bench_figures {
    mep_bench_pair seconds; /* a run */
    mep_bench_pair rate;    /* 1e9 operations or bytes a second */
    double ceiling;         /* the best rate of the ceiling in the same rounds */
    double share;           /* best rate / ceiling */
    int64_t samples;
} mep_bench_figures;

/* The lane's first run, where it has not been yet; mep_bench_measure does it otherwise. */
mep_status mep_bench_first(mep_bench_lane *lane, const mep_bench_control *control);

/* One more sample of a lane that has had its first run; for ceilings while long cases are being opened. */
mep_status mep_bench_sample(mep_bench_lane *lane, const mep_bench_control *control);

/* Measure `count` lanes in turn. */
mep_status mep_bench_measure(mep_bench_lane *lanes, int64_t count, const mep_bench_control *control);

/* Time of a lane over that of another that was measured with it: the median of the ratios of the samples of the same
 * round, which a machine that drifts or stutters hardly moves. */
double mep_bench_ratio(const mep_bench_lane *lane, const mep_bench_lane *other);

mep_bench_figures mep_bench_figures_of(const mep_bench_lane *lane, const mep_bench_lane *ceiling);

#endif
