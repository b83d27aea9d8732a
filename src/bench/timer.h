/* SPDX-License-Identifier: MIT */
/*
 * The timing of all benchmarks. Computations that are compared are tasks. They run in turn, one sample each, round
 * after round, so that a machine that slows down or is shared affects all of them alike. Ceilings are tasks among them.
 *
 * Every task runs once before anything is counted. A sample consists of as many runs as take 20 ms. A task ends after
 * `repeats` samples, or when the next sample would exceed `seconds`; if its first run is longer than that, this run is
 * its only sample. A ceiling gets a sample in every round.
 *
 * A sample on a GPU waits for the work that its runs have queued: after 1, 2, 4, ... runs, so that the wait, which
 * takes as long as a small run, has little effect.
 */
#ifndef MEP_BENCH_TIMER_H
#define MEP_BENCH_TIMER_H

#include <stdint.h>

#include "mep/device.h"

enum { MEP_BENCH_REPEATS = 1000, MEP_BENCH_NAME = 160 };

/* How long to measure, and a function that watches. */
typedef struct mep_bench_control {
    int64_t repeats; /* 1 .. MEP_BENCH_REPEATS */
    double seconds;  /* per task */
    /* Called before each run with the task's name; may be NULL. A result other than 0 ends with MEP_INTERRUPTED. */
    int (*watch)(void *context, int64_t done, int64_t total, const char *name);
    void *context;
    int64_t done, total; /* cases, set by the benchmark */
} mep_bench_control;

typedef struct mep_bench_task {
    mep_status (*run)(void *context);
    void *context;
    char name[MEP_BENCH_NAME]; /* for the progress line */
    int is_ceiling;
    mep_device device; /* that computes; 0: the CPU */
    double work;       /* operations or bytes per run */
    double first;      /* seconds of the first run; 0 before it */
    double total;      /* seconds of all samples */
    int64_t count;     /* samples */
    double seconds[MEP_BENCH_REPEATS];
} mep_bench_task;

/* The best and the median of the samples. */
typedef struct mep_bench_pair {
    double best, median;
} mep_bench_pair;

/* The result of a task, compared with a task that is the ceiling. */
typedef struct mep_bench_figures {
    mep_bench_pair seconds; /* per run */
    mep_bench_pair rate;    /* 1e9 operations or bytes per second */
    double ceiling;         /* the best rate of the ceiling in the same rounds */
    double fraction;        /* best rate / ceiling */
    int64_t samples;
} mep_bench_figures;

/* Make the first run of a task, unless it was made before. mep_bench_measure does this for tasks without one. */
mep_status mep_bench_first(mep_bench_task *task, const mep_bench_control *control);

/* Take one more sample of a task that has had its first run; for ceilings while long cases are prepared. */
mep_status mep_bench_sample(mep_bench_task *task, const mep_bench_control *control);

/* Measure `count` tasks in turn. */
mep_status mep_bench_measure(mep_bench_task *tasks, int64_t count, const mep_bench_control *control);

/* The time of a task divided by that of another task of the same measurement: the median of the ratios of samples of
 * the same round, which a machine that drifts or stalls hardly changes. */
double mep_bench_ratio(const mep_bench_task *task, const mep_bench_task *other);

mep_bench_figures mep_bench_figures_of(const mep_bench_task *task, const mep_bench_task *ceiling);

#endif
