/* SPDX-License-Identifier: MIT */
/*
 * Rounds of samples.
 */
#include "bench/timer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

static const double SAMPLE_SECONDS = 0.02;

static mep_status watch(const mep_bench_lane *lane, const mep_bench_control *control)
{
    if (control->watch == NULL || control->watch(control->context, control->done, control->total, lane->name) == 0)
        return MEP_OK;
    return mep_fail(MEP_INTERRUPTED, "stopped after %lld of %lld cases", (long long)control->done,
                    (long long)control->total);
}

static mep_status run(const mep_bench_lane *lane, int64_t times)
{
    for (int64_t i = 0; i < times; i++) MEP_TRY(lane->run(lane->context));
    return mep_device_wait(lane->device);
}

mep_status mep_bench_first(mep_bench_lane *lane, const mep_bench_control *control)
{
    if (lane->first > 0) return MEP_OK;
    MEP_TRY(watch(lane, control));
    double start = mep_now();
    MEP_TRY(run(lane, 1));
    lane->first = mep_now() - start;
    if (lane->first <= 0) lane->first = 1e-9; /* the clock's grain */
    return MEP_OK;
}

static void add(mep_bench_lane *lane, double seconds, int64_t runs)
{
    lane->seconds[lane->count++] = seconds / (double)runs;
    lane->total += seconds;
}

mep_status mep_bench_sample(mep_bench_lane *lane, const mep_bench_control *control)
{
    int64_t runs = 0, times = 1;
    double start, seconds = 0;
    if (lane->count == MEP_BENCH_REPEATS) return MEP_OK;
    MEP_TRY(watch(lane, control));
    for (start = mep_now(); seconds < SAMPLE_SECONDS; runs += times) {
        if (lane->device != MEP_DEVICE_CPU && runs > 0) times *= 2;
        MEP_TRY(run(lane, times));
        seconds = mep_now() - start;
    }
    add(lane, seconds, runs);
    return MEP_OK;
}

static int wants_more(const mep_bench_lane *lane, const mep_bench_control *control)
{
    if (lane->is_ceiling) return 0;
    if (lane->count == 0) return 1;
    return lane->count < control->repeats && lane->total + lane->total / (double)lane->count <= control->seconds;
}

mep_status mep_bench_measure(mep_bench_lane *lanes, int64_t count, const mep_bench_control *control)
{
    for (int64_t i = 0; i < count; i++) {
        MEP_TRY(mep_bench_first(&lanes[i], control));
        if (!lanes[i].is_ceiling && lanes[i].first > control->seconds) add(&lanes[i], lanes[i].first, 1);
    }
    for (int more = 1; more;) {
        more = 0;
        for (int64_t i = 0; i < count; i++) {
            int wants = wants_more(&lanes[i], control);
            if (wants || lanes[i].is_ceiling) MEP_TRY(mep_bench_sample(&lanes[i], control));
            more |= wants;
        }
    }
    return MEP_OK;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The best and the median of n numbers, which are sorted. */
static mep_bench_pair pair_of(double *numbers, int64_t n)
{
    qsort(numbers, (size_t)n, sizeof *numbers, ascending);
    return (mep_bench_pair){numbers[0], (numbers[(n - 1) / 2] + numbers[n / 2]) / 2};
}

static mep_bench_pair times_of(const mep_bench_lane *lane)
{
    double seconds[MEP_BENCH_REPEATS];
    memcpy(seconds, lane->seconds, (size_t)lane->count * sizeof *seconds);
    return pair_of(seconds, lane->count);
}

double mep_bench_ratio(const mep_bench_lane *lane, const mep_bench_lane *other)
{
    double ratios[MEP_BENCH_REPEATS];
    int64_t count = lane->count < other->count ? lane->count : other->count;
    for (int64_t i = 0; i < count; i++) ratios[i] = lane->seconds[i] / other->seconds[i];
    return pair_of(ratios, count).median;
}

mep_bench_figures mep_bench_figures_of(const mep_bench_lane *lane, const mep_bench_lane *ceiling)
{
    mep_bench_pair t = times_of(lane);
    double work = 1e-9 * lane->work, top = 1e-9 * ceiling->work / times_of(ceiling).best;
    return (mep_bench_figures){.seconds = t,
                               .rate = {work / t.best, work / t.median},
                               .ceiling = top,
                               .share = work / t.best / top,
                               .samples = lane->count};
}
