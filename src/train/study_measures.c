/* SPDX-License-Identifier: MIT */
/*
 * The measures of a study: their points, checks, and RUN/measure-NAME.json, which has the numbers of one measure of one
 * run and the samples of each.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/json_keys.h"
#include "base/memory.h"
#include "eval/data_mix.h"
#include "eval/measure_draft.h"
#include "eval/synthetic.h"
#include "io/files.h"
#include "io/json.h"
#include "mep/device.h"
#include "train/json_fields.h"
#include "train/study_internal.h"

/* What the points of a measure are. */
typedef enum point_kind { PER_LENGTH, PER_GAP, PER_DEPTH } point_kind;

enum { USES_BINS = 1, USES_SAMPLES = 2, USES_SEED = 4, USES_COPY = 8, USES_TOP = 16 };

typedef struct measure_kind {
    const char *name; /* NULL: a synthetic task, whose spec begins with its name */
    point_kind points;
    int uses; /* settings that change the numbers */
    mep_status (*take)(const mep_measure_call *call, const mep_study_measurement *m, const mep_study_point *point,
                       mep_measure *measure);
} measure_kind;

static mep_status take_by_position(const mep_measure_call *call, const mep_study_measurement *m,
                                   const mep_study_point *point, mep_measure *measure)
{
    (void)m, (void)point;
    return mep_measure_by_position(call, measure);
}

static mep_status take_context(const mep_measure_call *call, const mep_study_measurement *m,
                               const mep_study_point *point, mep_measure *measure)
{
    (void)m, (void)point;
    return mep_measure_context_gain(call, measure);
}

static mep_status take_copy(const mep_measure_call *call, const mep_study_measurement *m, const mep_study_point *point,
                            mep_measure *measure)
{
    (void)m;
    return mep_measure_copy_gain(call, (int64_t)point->at, measure);
}

static mep_status take_passkey(const mep_measure_call *call, const mep_study_measurement *m,
                               const mep_study_point *point, mep_measure *measure)
{
    (void)m;
    return mep_measure_passkey(call, point->at, measure);
}

static mep_status take_blindness(const mep_measure_call *call, const mep_study_measurement *m,
                                 const mep_study_point *point, mep_measure *measure)
{
    (void)m, (void)point;
    return mep_measure_blindness(call, measure);
}

static mep_status take_task(const mep_measure_call *call, const mep_study_measurement *m, const mep_study_point *point,
                            mep_measure *measure)
{
    (void)point;
    return mep_measure_synthetic(call, m->spec, measure);
}

static const measure_kind KINDS[] = {
    {.name = "by-position", .uses = USES_BINS, .take = take_by_position},
    {.name = "context", .uses = USES_SAMPLES | USES_TOP, .take = take_context},
    {.name = "copy", .points = PER_GAP, .uses = USES_SAMPLES | USES_SEED | USES_COPY, .take = take_copy},
    {.name = "passkey", .points = PER_DEPTH, .uses = USES_SAMPLES | USES_SEED, .take = take_passkey},
    {.name = "blindness", .uses = USES_SAMPLES, .take = take_blindness},
    {.name = NULL, .uses = USES_SAMPLES | USES_SEED, .take = take_task},
};

static const measure_kind *find_kind(const char *spec)
{
    const measure_kind *kind = KINDS;
    while (kind->name != NULL && strcmp(kind->name, spec) != 0) kind++;
    return kind;
}

/* ---- Points ---- */

mep_status mep_study_points(const mep_study_settings *s, const char *measure, mep_study_point **points, int64_t *count)
{
    const measure_kind *kind = find_kind(measure);
    int64_t depths = kind->points == PER_DEPTH ? s->depth_count : 1;
    *count = kind->points == PER_GAP ? s->gap_count : s->length_count * depths;
    MEP_TRY(MEP_ALLOC(points, max_i64(*count, 1)));
    for (int64_t i = 0; i < *count; i++) {
        mep_study_point *p = &(*points)[i];
        if (kind->points == PER_GAP)
            *p = (mep_study_point){3 * s->measure.copy_tokens + s->gaps[i], (double)s->gaps[i]};
        else
            *p = (mep_study_point){s->lengths[i / depths],
                                   kind->points == PER_DEPTH ? s->depths[i % depths] : (double)NAN};
    }
    return MEP_OK;
}

double mep_study_measurement_tokens(const mep_study_measurement *m, const mep_study_point *point)
{
    const mep_measure_settings *s = &m->settings;
    double samples = (double)s->samples, length = (double)point->length;
    const char *name = find_kind(m->spec)->name;
    if (name == NULL || strcmp(name, "copy") == 0) return samples * length;
    if (strcmp(name, "by-position") == 0) return (double)s->max_tokens;
    if (strcmp(name, "context") == 0) return samples * length / 8 * 15;
    if (strcmp(name, "passkey") == 0) return 2 * samples * length;
    return samples * length / 16; /* blindness: about 16 queries per segment */
}

/* ---- Measuring ---- */

/* The settings of a measure on the tokens of an evaluation. A target follows the last token. */
static mep_measure_settings measure_settings(const mep_study_settings *s, const mep_eval_settings *eval)
{
    mep_measure_settings m = s->measure;
    m.max_tokens = eval->max_tokens + 1;
    m.batch_tokens = eval->batch_tokens;
    m.dtype = eval->dtype;
    m.tolerance = eval->tolerance;
    m.device = eval->device;
    return m;
}

static mep_status take(mep_study_measurement *m, const mep_study_point *point, mep_measure_call *call)
{
    m->settings.length = point->length;
    call->settings = &m->settings;
    return find_kind(m->spec)->take(call, m, point, &m->measure);
}

mep_status mep_study_measurement_take(mep_study_measurement *m, const mep_study_point *point, mep_model *model,
                                      const mep_data_mix *data, mep_eval_fn progress, void *context)
{
    mep_measure_call call = {.model = model, .progress = progress, .context = context};
    int64_t before = m->measure.count;
    if (find_kind(m->spec)->name != NULL) call.data = mep_data_mix_dataset(data, 0);
    MEP_TRY(take(m, point, &call));
    for (int64_t i = before; i < m->measure.count; i++) {
        mep_measure_value *v = &m->measure.values[i];
        if (v->first_sample < 0) continue;
        double *samples = m->measure.sample_values + v->first_sample;
        v->samples = mep_measure_group_samples(samples, v->samples, MEP_STUDY_SAMPLES);
    }
    return MEP_OK;
}

/* ---- Checks ---- */

static mep_status check_lists(const mep_study_settings *s)
{
    for (int64_t i = 0; i < s->gap_count; i++)
        if (s->gaps[i] < 0) return mep_fail(MEP_ERROR_ARGUMENT, "the gap %lld is negative", (long long)s->gaps[i]);
    for (int64_t i = 0; i < s->depth_count; i++)
        if (!(s->depths[i] >= 0 && s->depths[i] <= 1))
            return mep_fail(MEP_ERROR_ARGUMENT, "the depth %g of a passkey is not from 0 to 1", s->depths[i]);
    return MEP_OK;
}

/* A measure that is none is reported as such, not as an unknown task. */
static mep_status check_name(const char *spec)
{
    size_t length = strcspn(spec, ":");
    if (find_kind(spec)->name != NULL || (length == 4 && strncmp(spec, "mqar", 4) == 0) ||
        (length == 9 && strncmp(spec, "induction", 9) == 0))
        return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "unknown measure \"%.60s\"; it is one of by-position, context, copy, passkey, blindness, mqar, "
                    "induction",
                    spec);
}

/* Whether a measure can be taken at a point, as far as settings and data tell: MEP_ERROR_ARGUMENT if not. */
static mep_status check_point(const mep_study_settings *s, const mep_eval_settings *eval, const mep_data_mix *data,
                              const char *spec, const mep_study_point *point)
{
    mep_study_measurement m = {.spec = spec, .settings = measure_settings(s, eval)};
    mep_measure_call call = {.check_only = 1, .data = mep_data_mix_dataset(data, 0)};
    MEP_TRY(take(&m, point, &call));
    if (find_kind(spec)->name != NULL) return MEP_OK;
    return mep_synthetic_check_vocab(spec, s->train.model.vocab_size);
}

static mep_status check_measure(const mep_study_settings *s, const mep_eval_settings *eval, const mep_data_mix *data,
                                const char *spec)
{
    const measure_kind *kind = find_kind(spec);
    mep_study_point *points = NULL;
    int64_t count = 0;
    MEP_TRY(check_name(spec));
    if (kind->name != NULL && data->count > 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "the measure %s reads one dataset, but the corpus is a mix of %lld", spec,
                        (long long)data->count);
    MEP_TRY(mep_study_points(s, spec, &points, &count));
    mep_status status = count > 0 ? MEP_OK
                                  : mep_fail(MEP_ERROR_ARGUMENT, "the measure %s needs %s", spec,
                                             kind->points == PER_GAP ? "gaps" : "depths");
    for (int64_t i = 0; i < count && status == MEP_OK; i++) status = check_point(s, eval, data, spec, &points[i]);
    mep_free(&points);
    return status == MEP_OK ? MEP_OK : mep_fail_in(status, "%s: ", spec);
}

mep_status mep_study_check_measures(const mep_study_settings *s, const mep_eval_settings *eval,
                                    const mep_data_mix *data)
{
    MEP_TRY(check_lists(s));
    for (int64_t i = 0; i < s->measure_count; i++) MEP_TRY(check_measure(s, eval, data, s->measures[i]));
    return MEP_OK;
}

static int same_point(const mep_study_point *a, const mep_study_point *b)
{
    return a->length == b->length && (a->at == b->at || (isnan(a->at) && isnan(b->at)));
}

/* Whether a call asks for a measure at a point. */
static mep_status find_asked(const mep_study_settings *asked, const char *spec, const mep_study_point *point,
                             int *is_asked)
{
    mep_study_point *points = NULL;
    int64_t count = 0, has_measure = 0;
    *is_asked = 0;
    for (int64_t i = 0; i < asked->measure_count; i++) has_measure |= strcmp(asked->measures[i], spec) == 0;
    if (!has_measure) return MEP_OK;
    MEP_TRY(mep_study_points(asked, spec, &points, &count));
    for (int64_t i = 0; i < count; i++) *is_asked |= same_point(&points[i], point);
    mep_free(&points);
    return MEP_OK;
}

mep_status mep_study_plan_measure(const mep_study_settings *all, const mep_study_settings *asked, const char *measure,
                                  const mep_eval_settings *eval, const mep_data_mix *data, mep_study_plan *plan)
{
    int64_t count = 0;
    MEP_TRY(mep_study_points(all, measure, &plan->points, &count));
    plan->count = 0;
    for (int64_t i = 0; i < count; i++) {
        int is_asked = 0;
        const mep_study_point point = plan->points[i];
        mep_status status = check_point(all, eval, data, measure, &point);
        if (status == MEP_ERROR_ARGUMENT) {
            MEP_TRY(find_asked(asked, measure, &point, &is_asked));
            if (!is_asked) continue;
        }
        MEP_TRY(status); /* the message is that of check_point */
        plan->points[plan->count++] = point;
    }
    return MEP_OK;
}

/* ---- The file ---- */

static mep_status file_name(const char *run, const char *spec, char **path)
{
    char name[MEP_STUDY_NAME], file[MEP_STUDY_NAME + 16];
    mep_study_encoding_name(spec, name);
    snprintf(file, sizeof file, "measure-%s.json", name);
    return mep_path_join(path, run, file);
}

/* All settings that change the numbers; NULL if memory is short. The CPU is not named, as in eval.json. */
static json_t *key_json(const mep_study_measurement *m, int64_t steps)
{
    const mep_measure_settings *s = &m->settings;
    int uses = find_kind(m->spec)->uses;
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_text(&f, "measure", m->spec);
    mep_json_add_integer(&f, "steps", steps);
    mep_json_add_integer(&f, "max_tokens", s->max_tokens);
    mep_json_add_text(&f, "dtype", mep_dtype_name(s->dtype));
    mep_json_add_number(&f, "tolerance", s->tolerance);
    if (s->device != MEP_DEVICE_CPU) mep_json_add_text(&f, "device", mep_device_name(s->device));
    if (uses & USES_BINS) mep_json_add_integer(&f, "bins", s->bins);
    if (uses & USES_SAMPLES) mep_json_add_integer(&f, "samples", s->samples);
    if (uses & USES_SEED) mep_json_add_integer(&f, "seed", (int64_t)s->seed);
    if (uses & USES_COPY) mep_json_add_integer(&f, "copy_tokens", s->copy_tokens);
    if (uses & USES_TOP) mep_json_add_number(&f, "top", s->top);
    return mep_json_fields_end(&f);
}

static json_t *samples_json(const double *samples, int64_t count)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < count; i++)
        if (json_array_append_new(array, json_real(samples[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *value_json(const mep_measure *m, const mep_measure_value *v)
{
    const double *samples = mep_measure_samples(m, v);
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_text(&f, "name", v->name);
    mep_json_add_integer(&f, "length", v->length);
    if (!isnan(v->at)) mep_json_add_number(&f, "at", v->at);
    if (v->layer >= 0) mep_json_add_integer(&f, "layer", v->layer);
    if (v->head >= 0) mep_json_add_integer(&f, "head", v->head);
    mep_json_add_finite(&f, "value", v->value);
    mep_json_add_finite(&f, "standard_error", v->standard_error);
    mep_json_add_integer(&f, "samples", v->samples);
    if (samples != NULL) mep_json_add(&f, "sample_values", samples_json(samples, v->samples));
    return mep_json_fields_end(&f);
}

mep_status mep_study_measurement_save(const mep_study_measurement *m, const char *run)
{
    char *path = NULL;
    json_t *values = json_array();
    mep_json_fields f = mep_json_fields_begin();
    for (int64_t i = 0; i < m->measure.count; i++)
        f.failed |= json_array_append_new(values, value_json(&m->measure, &m->measure.values[i])) != 0;
    mep_json_add(&f, "settings", json_incref(m->key));
    mep_json_add_text(&f, "mep_version", mep_version());
    mep_json_add_text(&f, "cpu_level", mep_cpu_level_name());
    mep_json_add_text(&f, "name", m->measure.name);
    mep_json_add_text(&f, "axis", m->measure.axis);
    mep_json_add(&f, "values", values);
    json_t *root = mep_json_fields_end(&f);
    if (root == NULL) return mep_json_out_of_memory();
    mep_status status = file_name(run, m->spec, &path);
    if (status == MEP_OK) status = mep_json_save(path, root);
    json_decref(root);
    mep_free(&path);
    return status;
}

static mep_status read_samples(const json_t *row, const char *file, int64_t count, double **samples)
{
    const json_t *array = json_object_get(row, "sample_values"), *value = NULL;
    size_t index = 0;
    if (array == NULL) return MEP_OK;
    if ((int64_t)json_array_size(array) != count)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"sample_values\" must be an array of %lld numbers", file,
                        (long long)count);
    MEP_TRY(MEP_ALLOC(samples, count));
    json_array_foreach(array, index, value)
    {
        if (!json_is_number(value))
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"sample_values\" must be an array of %lld numbers", file,
                            (long long)count);
        (*samples)[index] = json_number_value(value);
    }
    return MEP_OK;
}

static mep_status read_value(mep_measure *m, json_t *row, const char *file)
{
    static const char *const keys[] = {"name",  "length",         "at",      "layer",         "head",
                                       "value", "standard_error", "samples", "sample_values", NULL};
    mep_measure_value v = {.length = 0};
    const char *name = NULL;
    double *samples = NULL;
    MEP_TRY(mep_json_check_keys(row, file, keys));
    MEP_TRY(mep_json_get_string(row, file, "name", &name));
    MEP_TRY(mep_json_get_int(row, file, "length", 1, INT64_MAX, &v.length));
    MEP_TRY(mep_json_get_number_or(row, file, "at", 0, 1e300, NAN, &v.at));
    MEP_TRY(mep_json_get_int_or(row, file, "layer", 0, INT64_MAX, -1, &v.layer));
    MEP_TRY(mep_json_get_int_or(row, file, "head", 0, INT64_MAX, -1, &v.head));
    MEP_TRY(mep_json_get_number_or(row, file, "value", -1e300, 1e300, NAN, &v.value));
    MEP_TRY(mep_json_get_number_or(row, file, "standard_error", 0, 1e300, NAN, &v.standard_error));
    MEP_TRY(mep_json_get_int(row, file, "samples", 1, INT64_MAX, &v.samples));
    snprintf(v.name, sizeof v.name, "%s", name);
    mep_status status = read_samples(row, file, v.samples, &samples);
    if (status == MEP_OK) status = mep_measure_append(m, &v, samples);
    mep_free(&samples);
    return status;
}

static mep_status read_file(mep_study_measurement *m, json_t *root, const char *file)
{
    static const char *const keys[] = {"settings", "mep_version", "cpu_level", "name", "axis", "values", NULL};
    const char *name = NULL, *axis = NULL;
    json_t *row = NULL, *values = json_object_get(root, "values");
    size_t index = 0;
    MEP_TRY(mep_json_check_keys(root, file, keys));
    if (!json_equal(json_object_get(root, "settings"), m->key)) return MEP_OK;
    MEP_TRY(mep_json_get_string(root, file, "name", &name));
    MEP_TRY(mep_json_get_string(root, file, "axis", &axis));
    if (!json_is_array(values))
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"values\" must be an array; remove the file to measure again", file);
    snprintf(m->measure.name, sizeof m->measure.name, "%s", name);
    snprintf(m->measure.axis, sizeof m->measure.axis, "%s", axis);
    json_array_foreach(values, index, row) MEP_TRY(read_value(&m->measure, row, file));
    return MEP_OK;
}

mep_status mep_study_measurement_open(mep_study_measurement *m, const char *run, const mep_study_settings *s,
                                      const mep_eval_settings *eval, const char *measure)
{
    char *path = NULL;
    json_t *root = NULL;
    *m = (mep_study_measurement){.spec = measure, .settings = measure_settings(s, eval)};
    m->key = key_json(m, s->train.steps);
    mep_status status = m->key != NULL ? file_name(run, measure, &path) : mep_json_out_of_memory();
    if (status == MEP_OK && mep_file_exists(path)) status = mep_json_load(path, &root);
    if (status == MEP_OK && root != NULL) status = read_file(m, root, path);
    if (status != MEP_OK) mep_study_measurement_close(m);
    json_decref(root);
    mep_free(&path);
    return status;
}

void mep_study_measurement_close(mep_study_measurement *m)
{
    json_decref(m->key);
    m->key = NULL;
    mep_measure_free(&m->measure);
}

int mep_study_measurement_has(const mep_study_measurement *m, const mep_study_point *point)
{
    int has_axis = find_kind(m->spec)->points != PER_LENGTH;
    for (int64_t i = 0; i < m->measure.count; i++) {
        const mep_measure_value *v = &m->measure.values[i];
        if (v->length == point->length && (!has_axis || v->at == point->at)) return 1;
    }
    return 0;
}

/* ---- Reading ---- */

/* The perplexities of a run, as a measure. */
static mep_status read_perplexity(const mep_study_settings *s, const char *run, const mep_eval_settings *settings,
                                  mep_measure *m)
{
    json_t *eval = NULL;
    snprintf(m->name, sizeof m->name, "perplexity");
    MEP_TRY(mep_study_eval_read(run, settings, s->train.steps, &eval));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->length_count && status == MEP_OK; i++) {
        mep_eval_result r = {0};
        double *samples = NULL;
        int64_t sample_count = 0;
        status = mep_study_eval_find(eval, run, s->lengths[i], &r);
        if (status != MEP_OK || r.segments == 0) continue;
        status = mep_study_eval_samples(eval, run, r.length, &samples, &sample_count);
        mep_measure_value v = {.name = "perplexity",
                               .length = r.length,
                               .at = NAN,
                               .layer = -1,
                               .head = -1,
                               .value = r.perplexity,
                               .standard_error = r.standard_error,
                               .samples = r.segments};
        if (status == MEP_OK) status = mep_measure_append(m, &v, NULL);
        snprintf(v.name, sizeof v.name, "loss");
        v.value = r.loss;
        v.standard_error = r.standard_error / r.perplexity;
        if (samples != NULL) v.samples = sample_count;
        if (status == MEP_OK) status = mep_measure_append(m, &v, samples);
        mep_free(&samples);
    }
    json_decref(eval);
    return status;
}

/* Values of the lists of `s` alone: a file may have more. */
static mep_status read_measure(const mep_study_settings *s, const char *run, const mep_eval_settings *eval,
                               const char *measure, mep_measure *result)
{
    mep_study_measurement m;
    mep_study_point *points = NULL;
    int64_t count = 0;
    MEP_TRY(mep_study_measurement_open(&m, run, s, eval, measure));
    mep_status status = mep_study_points(s, measure, &points, &count);
    snprintf(result->name, sizeof result->name, "%s", m.measure.name);
    snprintf(result->axis, sizeof result->axis, "%s", m.measure.axis);
    int has_axis = find_kind(measure)->points != PER_LENGTH;
    for (int64_t p = 0; p < count; p++)
        for (int64_t i = 0; i < m.measure.count && status == MEP_OK; i++) {
            const mep_measure_value *v = &m.measure.values[i];
            if (v->length != points[p].length || (has_axis && v->at != points[p].at)) continue;
            status = mep_measure_append(result, v, mep_measure_samples(&m.measure, v));
        }
    mep_free(&points);
    mep_study_measurement_close(&m);
    return status;
}

mep_status mep_study_measure(const char *folder, const mep_study_settings *settings, int64_t corpus, int64_t encoding,
                             int64_t seed, const char *measure, mep_measure *result)
{
    MEP_REQUIRE(folder, settings, measure, result);
    MEP_TRY(mep_study_check_lists(__func__, settings));
    char run[MEP_PATH_SIZE];
    mep_eval_settings eval;
    mep_measure found = {.count = 0};
    mep_study_lists *all = NULL;
    mep_study_settings spelled = *settings;
    MEP_TRY(mep_study_lists_read(&all, folder, settings));
    spelled.encodings = mep_study_lists_asked(all);
    mep_status status = mep_study_run_folder(folder, &spelled, corpus, encoding, seed, run);
    if (status == MEP_OK) status = mep_study_eval_settings(mep_study_lists_settings(all), corpus, &eval);
    if (status == MEP_OK && strcmp(measure, "perplexity") == 0)
        status = read_perplexity(settings, run, &eval, &found);
    else if (status == MEP_OK)
        status = read_measure(settings, run, &eval, measure, &found);
    mep_study_lists_free(&all);
    if (status != MEP_OK) {
        mep_measure_free(&found);
        return status;
    }
    *result = found;
    return MEP_OK;
}
