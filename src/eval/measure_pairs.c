/* SPDX-License-Identifier: MIT */
/*
 * Measures of several models: one number per length, means over runs, and paired differences to a baseline.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "eval/measure_draft.h"

static int same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static int same_point(const mep_measure_value *a, const mep_measure_value *b)
{
    return a->length == b->length && a->layer == b->layer && a->head == b->head && same_number(a->at, b->at) &&
           strcmp(a->name, b->name) == 0;
}

static const mep_measure_value *find_point(const mep_measure *m, const mep_measure_value *point)
{
    for (int64_t i = 0; i < m->count; i++)
        if (same_point(&m->values[i], point)) return &m->values[i];
    return NULL;
}

/* Begin a measure with the name and the axis of another one. */
static void begin(mep_measure *m, const mep_measure *like, const char *axis)
{
    *m = (mep_measure){.count = 0};
    snprintf(m->name, sizeof m->name, "%s", like->name);
    snprintf(m->axis, sizeof m->axis, "%s", axis);
}

static mep_status end(mep_status status, mep_measure *m)
{
    if (status != MEP_OK) mep_measure_free(m);
    return status;
}

/* ---- One number per length ---- */

/* Whether a value is one of those that become the number of its length. */
static int counts(const mep_measure *m, const mep_measure_value *v)
{
    return !mep_measure_is_within_segment(m) || v->at >= (double)v->length;
}

/* Whether an earlier value has the same length and name. */
static int is_repeated(const mep_measure *m, int64_t index)
{
    const mep_measure_value *v = &m->values[index];
    for (int64_t i = 0; i < index; i++)
        if (counts(m, &m->values[i]) && m->values[i].length == v->length && strcmp(m->values[i].name, v->name) == 0)
            return 1;
    return 0;
}

/* Add up the values with the length and name of value `index`, and their samples, samples[value.samples]. Returns their
 * number; *has_samples is whether all of them have the same number of samples. */
static int64_t add_up(const mep_measure *m, int64_t index, double *sum, double *samples, int *has_samples)
{
    const mep_measure_value *first = &m->values[index];
    int64_t count = 0;
    *has_samples = 1;
    *sum = 0;
    for (int64_t i = index; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        if (!counts(m, v) || v->length != first->length || strcmp(v->name, first->name) != 0) continue;
        const double *own = mep_measure_samples(m, v);
        *has_samples &= own != NULL && v->samples == first->samples;
        for (int64_t k = 0; *has_samples && k < v->samples; k++) samples[k] += own[k];
        *sum += v->value;
        count++;
    }
    return count;
}

static mep_status add_length(const mep_measure *m, int64_t index, mep_measure *reduced)
{
    mep_measure_value v = m->values[index];
    double *samples, sum = 0;
    int has_samples = 0;
    MEP_TRY(MEP_ALLOC(&samples, mep_measure_samples(m, &v) != NULL ? v.samples : 1));
    int64_t count = add_up(m, index, &sum, samples, &has_samples);
    v.layer = v.head = -1;
    if (reduced->axis[0] == '\0') v.at = NAN;
    v.value = sum / (double)count;
    if (count > 1) v.standard_error = NAN;
    for (int64_t k = 0; has_samples && k < v.samples; k++) samples[k] /= (double)count;
    if (has_samples && count > 1) v.standard_error = mep_mean_of(samples, v.samples).standard_error;
    mep_status status = mep_measure_append(reduced, &v, has_samples ? samples : NULL);
    mep_free(&samples);
    return status;
}

mep_status mep_measure_by_length(const mep_measure *measure, mep_measure *reduced)
{
    MEP_REQUIRE(measure, reduced);
    mep_measure made;
    mep_status status = MEP_OK;
    begin(&made, measure, strcmp(measure->axis, "gap") == 0 ? measure->axis : "");
    for (int64_t i = 0; i < measure->count && status == MEP_OK; i++)
        if (counts(measure, &measure->values[i]) && !is_repeated(measure, i)) status = add_length(measure, i, &made);
    MEP_TRY(end(status, &made));
    *reduced = made;
    return MEP_OK;
}

/* ---- The mean of runs ---- */

static mep_status add_mean(const mep_measure *runs, int64_t count, const mep_measure_value *point, mep_measure *mean)
{
    mep_measure_value v = *point;
    double sum = 0, squares = 0;
    v.samples = 0;
    for (int64_t i = 0; i < count; i++) {
        const mep_measure_value *one = find_point(&runs[i], point);
        if (one != NULL) sum += one->value, v.samples++;
    }
    v.value = sum / (double)v.samples;
    for (int64_t i = 0; i < count; i++) {
        const mep_measure_value *one = find_point(&runs[i], point);
        if (one != NULL) squares += (one->value - v.value) * (one->value - v.value);
    }
    v.standard_error = v.samples > 1 ? sqrt(squares / (double)(v.samples - 1)) : NAN;
    return mep_measure_append(mean, &v, NULL);
}

mep_status mep_measure_mean(const mep_measure *runs, int64_t count, mep_measure *mean)
{
    MEP_REQUIRE(runs, mean);
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "there are no %lld runs", (long long)count);
    mep_measure made = {.count = 0};
    mep_status status = MEP_OK;
    for (int64_t r = 0; r < count && status == MEP_OK; r++) {
        if (runs[r].count > 0 && made.count == 0) begin(&made, &runs[r], runs[r].axis);
        for (int64_t i = 0; i < runs[r].count && status == MEP_OK; i++)
            if (find_point(&made, &runs[r].values[i]) == NULL)
                status = add_mean(runs, count, &runs[r].values[i], &made);
    }
    MEP_TRY(end(status, &made));
    *mean = made;
    return MEP_OK;
}

/* ---- Paired differences ---- */

typedef struct pairing {
    const mep_measure *runs, *baselines;
    int64_t count;
    mep_measure_difference *made;
    int64_t made_count, capacity;
    double *values;  /* [count] the differences of the pairs at the current point */
    double *samples; /* [capacity of samples] sums over the pairs */
} pairing;

/* Add the samples of a pair. Returns 0 if the two have none, or not the same number as the pairs before. */
static int add_samples(const pairing *p, int64_t pair, const mep_measure_value *a, const mep_measure_value *b,
                       int64_t expected)
{
    const double *x = mep_measure_samples(&p->runs[pair], a), *y = mep_measure_samples(&p->baselines[pair], b);
    if (x == NULL || y == NULL || a->samples != b->samples || a->samples != expected) return 0;
    for (int64_t i = 0; i < expected; i++) p->samples[i] += x[i] - y[i];
    return 1;
}

/* The standard errors and the verdict of a difference whose values and samples are collected. */
static void judge(const pairing *p, mep_measure_difference *d)
{
    mep_mean over_runs = mep_mean_of(p->values, d->pairs);
    d->value = over_runs.value;
    d->error_runs = over_runs.standard_error;
    d->error_samples = NAN;
    for (int64_t i = 0; i < d->samples; i++) p->samples[i] /= (double)d->pairs;
    if (d->samples > 1) d->error_samples = mep_mean_of(p->samples, d->samples).standard_error;
    d->standard_error = d->pairs == 1             ? d->error_samples
                        : isnan(d->error_samples) ? d->error_runs
                                                  : hypot(d->error_runs, d->error_samples);
    double better = mep_measure_direction(d->name) * d->value;
    d->verdict = better > 2 * d->standard_error ? 1 : -better > 2 * d->standard_error ? -1 : 0;
}

static mep_status add_difference(pairing *p, int64_t run, const mep_measure_value *point)
{
    mep_measure_difference d = {.length = point->length, .at = point->at};
    if (mep_measure_samples(&p->runs[run], point) != NULL) d.samples = point->samples;
    snprintf(d.name, sizeof d.name, "%s", point->name);
    MEP_TRY(MEP_ALLOC(&p->samples, max_i64(d.samples, 1)));
    for (int64_t i = 0; i < p->count; i++) {
        const mep_measure_value *a = find_point(&p->runs[i], point), *b = find_point(&p->baselines[i], point);
        if (a == NULL || b == NULL) continue;
        if (d.samples > 0 && !add_samples(p, i, a, b, d.samples)) d.samples = 0;
        p->values[d.pairs++] = a->value - b->value;
    }
    if (d.pairs > 0) judge(p, &d);
    mep_free(&p->samples);
    if (d.pairs == 0) return MEP_OK;
    if (p->made_count == p->capacity) {
        int64_t capacity = max_i64(16, 2 * p->capacity);
        MEP_TRY(MEP_GROW(&p->made, p->capacity, capacity));
        p->capacity = capacity;
    }
    p->made[p->made_count++] = d;
    return MEP_OK;
}

/* Whether an earlier run has the point too, which then has its difference. */
static int is_known(const mep_measure *runs, int64_t run, const mep_measure_value *point)
{
    for (int64_t i = 0; i < run; i++)
        if (find_point(&runs[i], point) != NULL) return 1;
    return 0;
}

mep_status mep_measure_compare(const mep_measure *runs, const mep_measure *baselines, int64_t count,
                               mep_measure_difference **differences, int64_t *difference_count)
{
    MEP_REQUIRE(runs, baselines, differences, difference_count);
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "there are no %lld runs", (long long)count);
    pairing p = {.runs = runs, .baselines = baselines, .count = count};
    MEP_TRY(MEP_ALLOC(&p.values, max_i64(count, 1)));
    mep_status status = MEP_OK;
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < runs[r].count && status == MEP_OK; i++) {
            const mep_measure_value *point = &runs[r].values[i];
            if (point->layer < 0 && !is_known(runs, r, point)) status = add_difference(&p, r, point);
        }
    mep_free(&p.values);
    if (status != MEP_OK) {
        mep_free(&p.made);
        return status;
    }
    *differences = p.made;
    *difference_count = p.made_count;
    return MEP_OK;
}

void mep_measure_differences_free(mep_measure_difference **differences)
{
    if (differences != NULL) mep_free(differences);
}
