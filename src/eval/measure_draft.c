/* SPDX-License-Identifier: MIT */
/*
 * The numbers of a measure: means, the list, and the effective length.
 */
#include "eval/measure_draft.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "eval/evaluate.h"

void mep_measure_defaults(mep_measure_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_measure_settings){.length = 1024,
                                       .batch_tokens = 16384,
                                       .dtype = MEP_FLOAT32,
                                       .seed = 1,
                                       .samples = 256,
                                       .copy_tokens = 32,
                                       .top = 0.05};
}

/* ---- Means ---- */

mep_mean mep_mean_of(const double *samples, int64_t count)
{
    double sum = 0, squares = 0, n = (double)count;
    for (int64_t i = 0; i < count; i++) sum += samples[i];
    double mean = sum / n;
    for (int64_t i = 0; i < count; i++) squares += (samples[i] - mean) * (samples[i] - mean);
    return (mep_mean){.value = mean, .standard_error = count > 1 ? sqrt(squares / (n - 1) / n) : NAN, .samples = count};
}

mep_mean mep_ratio_of(const double *a, const double *b, int64_t count)
{
    double above = 0, below = 0, squares = 0, n = (double)count;
    for (int64_t i = 0; i < count; i++) above += a[i], below += b[i];
    double ratio = above / below;
    for (int64_t i = 0; i < count; i++) squares += (a[i] - ratio * b[i]) * (a[i] - ratio * b[i]);
    return (mep_mean){.value = ratio,
                      .standard_error = count > 1 ? sqrt(squares / (n - 1) / n) / (below / n) : NAN,
                      .samples = count};
}

/* ---- The list ---- */

void mep_measure_free(mep_measure *measure)
{
    if (measure == NULL) return;
    mep_free(&measure->values);
    mep_free(&measure->sample_values);
    *measure = (mep_measure){0};
}

mep_status mep_measure_begin(mep_measure_draft *d, const mep_measure *measure, const char *name, const char *axis,
                             int64_t length)
{
    *d = (mep_measure_draft){.length = length};
    if (measure->count > 0 && strcmp(measure->name, name) != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "the measure holds numbers of %s; use another one for %s", measure->name,
                        name);
    snprintf(d->added.name, sizeof d->added.name, "%s", name);
    snprintf(d->added.axis, sizeof d->added.axis, "%s", axis);
    return MEP_OK;
}

static mep_status reserve(mep_measure *m, int64_t count)
{
    if (count <= m->capacity) return MEP_OK;
    int64_t capacity = max_i64(count, 2 * m->capacity);
    MEP_TRY(MEP_GROW(&m->values, m->capacity, capacity));
    m->capacity = capacity;
    return MEP_OK;
}

static mep_status reserve_samples(mep_measure *m, int64_t count)
{
    if (count <= m->sample_capacity) return MEP_OK;
    int64_t capacity = max_i64(count, 2 * m->sample_capacity);
    MEP_TRY(MEP_GROW(&m->sample_values, m->sample_capacity, capacity));
    m->sample_capacity = capacity;
    return MEP_OK;
}

mep_status mep_measure_append(mep_measure *m, const mep_measure_value *value, const double *samples)
{
    MEP_TRY(reserve(m, max_i64(m->count + 1, 16)));
    if (samples != NULL) MEP_TRY(reserve_samples(m, m->sample_count + value->samples));
    mep_measure_value *added = &m->values[m->count++];
    *added = *value;
    added->first_sample = samples != NULL ? m->sample_count : -1;
    if (samples == NULL) return MEP_OK;
    memcpy(m->sample_values + m->sample_count, samples, (size_t)value->samples * sizeof *samples);
    m->sample_count += value->samples;
    return MEP_OK;
}

const double *mep_measure_samples(const mep_measure *m, const mep_measure_value *value)
{
    int64_t first = value->first_sample;
    if (m->sample_values == NULL || first < 0 || first + value->samples > m->sample_count) return NULL;
    return m->sample_values + first;
}

static mep_measure_value value_of(const mep_measure_draft *d, const char *name, mep_mean mean)
{
    mep_measure_value v = {.length = d->length,
                           .at = NAN,
                           .layer = -1,
                           .head = -1,
                           .value = mean.value,
                           .standard_error = mean.standard_error,
                           .samples = mean.samples};
    snprintf(v.name, sizeof v.name, "%s", name);
    return v;
}

mep_status mep_measure_add(mep_measure_draft *d, const char *name, double at, mep_mean mean)
{
    mep_measure_value v = value_of(d, name, mean);
    v.at = at;
    return mep_measure_append(&d->added, &v, NULL);
}

mep_status mep_measure_add_samples(mep_measure_draft *d, const char *name, double at, const double *samples,
                                   int64_t count)
{
    mep_measure_value v = value_of(d, name, mep_mean_of(samples, count));
    v.at = at;
    return mep_measure_append(&d->added, &v, samples);
}

mep_status mep_measure_add_ratio(mep_measure_draft *d, const char *name, double at, double scale, const double *a,
                                 const double *b, int64_t count)
{
    mep_mean ratio = mep_ratio_of(a, b, count);
    double below = 0, *samples;
    for (int64_t i = 0; i < count; i++) below += b[i] / (double)count;
    MEP_TRY(MEP_ALLOC(&samples, count));
    for (int64_t i = 0; i < count; i++) samples[i] = scale * (ratio.value + (a[i] - ratio.value * b[i]) / below);
    ratio.value *= scale;
    ratio.standard_error *= scale;
    mep_measure_value v = value_of(d, name, ratio);
    v.at = at;
    mep_status status = mep_measure_append(&d->added, &v, samples);
    mep_free(&samples);
    return status;
}

mep_status mep_measure_add_head(mep_measure_draft *d, const char *name, int64_t layer, int64_t head, mep_mean mean)
{
    mep_measure_value v = value_of(d, name, mean);
    v.layer = layer;
    v.head = head;
    return mep_measure_append(&d->added, &v, NULL);
}

mep_status mep_measure_end(mep_measure_draft *d, mep_status status, mep_measure *measure)
{
    if (status == MEP_OK) status = reserve(measure, measure->count + d->added.count);
    if (status == MEP_OK) status = reserve_samples(measure, measure->sample_count + d->added.sample_count);
    if (status == MEP_OK) {
        memcpy(measure->name, d->added.name, sizeof measure->name);
        memcpy(measure->axis, d->added.axis, sizeof measure->axis);
        for (int64_t i = 0; i < d->added.count; i++) {
            const mep_measure_value *v = &d->added.values[i];
            (void)mep_measure_append(measure, v, mep_measure_samples(&d->added, v)); /* the memory is reserved */
        }
    }
    mep_measure_free(&d->added);
    return status;
}

int64_t mep_measure_group_samples(double *samples, int64_t count, int64_t most)
{
    int64_t size = ceil_div(count, most), groups = size > 0 ? ceil_div(count, size) : 0;
    if (groups == count) return count;
    double mean = mep_mean_of(samples, count).value;
    for (int64_t g = 0; g < groups; g++) {
        int64_t first = g * size, end = min_i64(first + size, count);
        double deviation = 0;
        for (int64_t i = first; i < end; i++) deviation += samples[i] - mean;
        samples[g] = mean + deviation * (double)groups / (double)count;
    }
    return groups;
}

/* ---- What measures have in common ---- */

int64_t mep_measure_tokens(const mep_measure_call *call)
{
    int64_t tokens = mep_dataset_tokens(call->data), most = call->settings->max_tokens;
    return most > 0 ? min_i64(tokens, most) : tokens;
}

mep_status mep_measure_open(mep_measure_call *own, const mep_measure_call *call, mep_measure_data needs_data)
{
    int needs_model = !call->check_only;
    if ((needs_model && call->model == NULL) || call->settings == NULL || (needs_data && call->data == NULL))
        return mep_fail(MEP_ERROR_ARGUMENT, "the call of a measure has no %s",
                        needs_model && call->model == NULL ? "model"
                        : call->settings == NULL           ? "settings"
                                                           : "data");
    if (needs_data == MEP_MEASURE_LOSSES && mep_dataset_has_mask(call->data))
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "the data has a mask: only answers are trained, and this measure reads the losses of all tokens; "
            "evaluate the data, or measure its task");
    *own = *call;
    if (own->group == NULL) own->group = &mep_dist_alone;
    return MEP_OK;
}

mep_status mep_measure_check(const mep_measure_call *call)
{
    const mep_measure_settings *s = call->settings;
    if (s->length < 1 || s->batch_tokens < 1 || s->samples < 1 || s->max_tokens < 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a measure needs a length, batch_tokens and samples of 1 or more, found %lld, %lld and %lld",
                        (long long)s->length, (long long)s->batch_tokens, (long long)s->samples);
    return mep_eval_check_device(call->group, s->device, s->dtype);
}

/* ---- The effective length ---- */

typedef struct length_value {
    double sum;
    int64_t count;
} length_value;

int mep_measure_is_within_segment(const mep_measure *m)
{
    return strcmp(m->axis, "position") == 0 || strcmp(m->axis, "context") == 0;
}

/* The value of a length; NaN if it was not measured. */
static double at_length(const mep_measure *m, const char *name, int64_t length)
{
    length_value sum = {0};
    for (int64_t i = 0; i < m->count; i++) {
        const mep_measure_value *v = &m->values[i];
        if (v->length != length || strcmp(v->name, name) != 0) continue;
        if (mep_measure_is_within_segment(m) && v->at < (double)length) continue;
        sum.sum += v->value;
        sum.count++;
    }
    return sum.count > 0 ? sum.sum / (double)sum.count : NAN;
}

/* The shortest length above `after` that has the value; 0 if there is none. */
static int64_t next_length(const mep_measure *m, const char *name, int64_t after)
{
    int64_t next = 0;
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].length > after &&
            (next == 0 || m->values[i].length < next))
            next = m->values[i].length;
    return next;
}

int mep_measure_direction(const char *name)
{
    if (name == NULL) return 0;
    static const struct {
        const char *name;
        int direction;
    } values[] = {{"loss", -1},    {"perplexity", -1}, {"bits_per_byte", -1}, {"gain", 1},
                  {"top_gain", 1}, {"exact", 1},       {"saved", 1}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (strcmp(name, values[i].name) == 0) return values[i].direction;
    return 0;
}

mep_status mep_measure_effective_length(const mep_measure *measure, const char *name, int64_t training_length,
                                        double within, int64_t *length)
{
    MEP_REQUIRE(measure, name, length);
    if (next_length(measure, name, 0) == 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "the measure %s has no value \"%s\"", measure->name, name);
    if (!(within >= 0 && within < 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "the fraction of an effective length must be from 0 to 1, found %g",
                        within);
    int64_t base = 0;
    for (int64_t l = next_length(measure, name, 0); l > 0 && l <= training_length; l = next_length(measure, name, l))
        base = l;
    double reference = at_length(measure, name, base), slack = within * fabs(reference);
    if (mep_measure_direction(name) == 0 || (mep_measure_direction(name) > 0 && !(reference > 0)))
        base = 0; /* nothing to keep */
    *length = base;
    for (int64_t l = next_length(measure, name, base); base > 0 && l > 0; l = next_length(measure, name, l)) {
        double loss = mep_measure_direction(name) * (reference - at_length(measure, name, l));
        if (!(loss <= slack)) break;
        *length = l;
    }
    return MEP_OK;
}
