/* SPDX-License-Identifier: MIT */
/*
 * Samples in rounds, and their statistics.
 */
#include "bench/timer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"

static const double SAMPLE_SECONDS = 0.02;

static mep_status watch(const mep_bench_task *task, const mep_bench_control *control)
{
    if (control->watch == NULL || control->watch(control->context, control->done, control->total, task->name) == 0)
        return MEP_OK;
    return mep_fail(MEP_INTERRUPTED, "stopped after %lld of %lld cases", (long long)control->done,
                    (long long)control->total);
}

static mep_status run(const mep_bench_task *task, int64_t times)
{
    for (int64_t i = 0; i < times; i++) MEP_TRY(task->run(task->context));
    return mep_device_wait(task->device);
}

mep_status mep_bench_first(mep_bench_task *task, const mep_bench_control *control)
{
    if (task->first > 0) return MEP_OK;
    MEP_TRY(watch(task, control));
    double start = mep_now();
    MEP_TRY(run(task, 1));
    task->first = mep_now() - start;
    if (task->first <= 0) task->first = 1e-9; /* the resolution of the clock */
    return MEP_OK;
}

static void add(mep_bench_task *task, double seconds, int64_t runs)
{
    task->seconds[task->count++] = seconds / (double)runs;
    task->total += seconds;
}

mep_status mep_bench_sample(mep_bench_task *task, const mep_bench_control *control)
{
    int64_t runs = 0, times = 1;
    double start, seconds = 0;
    if (task->count == MEP_BENCH_REPEATS) return MEP_OK;
    MEP_TRY(watch(task, control));
    for (start = mep_now(); seconds < SAMPLE_SECONDS; runs += times) {
        if (!mep_device_is_host(task->device) && runs > 0) times *= 2;
        MEP_TRY(run(task, times));
        seconds = mep_now() - start;
    }
    add(task, seconds, runs);
    return MEP_OK;
}

static int wants_more(const mep_bench_task *task, const mep_bench_control *control)
{
    if (task->is_ceiling) return 0;
    if (task->count == 0) return 1;
    return task->count < control->repeats && task->total + task->total / (double)task->count <= control->seconds;
}

mep_status mep_bench_measure(mep_bench_task *tasks, int64_t count, const mep_bench_control *control)
{
    for (int64_t i = 0; i < count; i++) {
        MEP_TRY(mep_bench_first(&tasks[i], control));
        if (!tasks[i].is_ceiling && tasks[i].first > control->seconds) add(&tasks[i], tasks[i].first, 1);
    }
    for (int more = 1; more;) {
        more = 0;
        for (int64_t i = 0; i < count; i++) {
            int wants = wants_more(&tasks[i], control);
            if (wants || tasks[i].is_ceiling) MEP_TRY(mep_bench_sample(&tasks[i], control));
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

/* The best and the median of n numbers. The numbers are sorted. */
static mep_bench_pair pair_of(double *numbers, int64_t n)
{
    qsort(numbers, (size_t)n, sizeof *numbers, ascending);
    return (mep_bench_pair){numbers[0], (numbers[(n - 1) / 2] + numbers[n / 2]) / 2};
}

static mep_bench_pair times_of(const mep_bench_task *task)
{
    double seconds[MEP_BENCH_REPEATS];
    memcpy(seconds, task->seconds, (size_t)task->count * sizeof *seconds);
    return pair_of(seconds, task->count);
}

double mep_bench_ratio(const mep_bench_task *task, const mep_bench_task *other)
{
    double ratios[MEP_BENCH_REPEATS];
    int64_t count = min_i64(task->count, other->count);
    for (int64_t i = 0; i < count; i++) ratios[i] = task->seconds[i] / other->seconds[i];
    return pair_of(ratios, count).median;
}

mep_bench_figures mep_bench_figures_of(const mep_bench_task *task, const mep_bench_task *ceiling)
{
    mep_bench_pair t = times_of(task);
    double work = 1e-9 * task->work, top = 1e-9 * ceiling->work / times_of(ceiling).best;
    return (mep_bench_figures){.seconds = t,
                               .rate = {work / t.best, work / t.median},
                               .ceiling = top,
                               .fraction = work / t.best / top,
                               .samples = task->count};
}
