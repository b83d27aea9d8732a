/* SPDX-License-Identifier: MIT */
/*
 * Measures of several models: samples of every number, one number per length, means over runs, and paired differences
 * with their standard errors, against sums made here.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_measures.h"

#include "eval/measure_draft.h"

enum { MOST = 64 };

/* Append a value with up to 4 samples; without samples, value itself. */
static void add(mep_measure *m, const char *name, int64_t length, double at, const double *samples, int64_t count)
{
    mep_measure_value v = {
        .length = length, .at = at, .layer = -1, .head = -1, .samples = count, .first_sample = m->sample_count};
    snprintf(v.name, sizeof v.name, "%s", name);
    for (int64_t i = 0; i < count; i++) {
        m->sample_values[m->sample_count++] = samples[i];
        v.value += samples[i] / (double)count;
    }
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += (samples[i] - v.value) * (samples[i] - v.value);
    v.standard_error = sqrt(squares / (double)(count - 1) / (double)count);
    m->values[m->count++] = v;
}

typedef struct small_measure {
    mep_measure_value values[MOST];
    double samples[4 * MOST];
    mep_measure m;
} small_measure;

static mep_measure *begin(small_measure *s, const char *name, const char *axis)
{
    *s = (small_measure){.m = {.values = s->values, .sample_values = s->samples}};
    snprintf(s->m.name, sizeof s->m.name, "%s", name);
    snprintf(s->m.axis, sizeof s->m.axis, "%s", axis);
    return &s->m;
}

/* ---- Samples of the measures ---- */

/* Every number but those of heads and of the tokens that gain most has samples, whose mean and spread are the value and
 * its standard error. */
static void test_samples(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep_param");
    mep_dataset *data = open_data();
    mep_measure_settings s = small_settings();
    int64_t seen = 0;
    for (int k = 0; k < MEASURE_COUNT; k++) {
        mep_measure m = {0};
        assert_int_equal(measure_with(MEASURES[k], model, data, &s, &m), MEP_OK);
        assert_int_equal(measure_with(MEASURES[k], model, data, &s, &m), MEP_OK); /* appended after the first */
        for (int64_t i = 0; i < m.count; i++) {
            const mep_measure_value *v = &m.values[i];
            double mean = 0, squares = 0, n = (double)v->samples;
            if (v->layer >= 0 || strcmp(v->name, "top_gain") == 0) {
                assert_int_equal(v->first_sample, -1);
                continue;
            }
            assert_true(v->first_sample >= 0 && v->first_sample + v->samples <= m.sample_count);
            const double *samples = m.sample_values + v->first_sample;
            for (int64_t j = 0; j < v->samples; j++) mean += samples[j] / n;
            for (int64_t j = 0; j < v->samples; j++) squares += (samples[j] - mean) * (samples[j] - mean);
            assert_near(mean, v->value, 1e-12, v->name);
            assert_near(sqrt(squares / (n - 1) / n), v->standard_error, 1e-12, v->name);
            seen++;
        }
        mep_measure_free(&m);
    }
    assert_true(seen > 20);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* The samples of an evaluation: with a stride, and of a mix, the standard error is that of the result. */
static void test_eval_samples(void **state)
{
    (void)state;
    mep_model *model = lively_model("alibi");
    mep_eval_settings s;
    char spec[2 * 700];
    write_data(run_path("second"), 900, 5);
    snprintf(spec, sizeof spec, "%s=3,%s=1", data_path, run_path("second"));
    mep_eval_defaults(&s);
    s.length = 32, s.max_tokens = 1600;
    for (int mixed = 0; mixed < 2; mixed++) {
        mep_data_mix *mix = NULL;
        mep_eval_result r;
        double *samples = NULL, mean = 0, squares = 0;
        assert_int_equal(mep_data_mix_open(&mix, mixed ? spec : data_path, NULL, MEP_SPLIT_TRAIN), MEP_OK);
        const mep_eval_call call = {.model = model, .settings = &s, .samples = &samples};
        assert_int_equal(mep_evaluate_mix(&call, mix, &r, NULL), MEP_OK);
        double n = (double)r.segments;
        for (int64_t i = 0; i < r.segments; i++) mean += samples[i] / n;
        for (int64_t i = 0; i < r.segments; i++) squares += (samples[i] - mean) * (samples[i] - mean);
        assert_near(mean, r.loss, 1e-12, "the mean of the samples");
        assert_near(sqrt(squares / (n - 1) / n), r.standard_error / r.perplexity, 1e-9, "their standard error");
        mep_eval_samples_free(&samples);
        assert_null(samples);
        mep_data_mix_close(&mix);
    }
    mep_model_destroy(&model);
}

/* Groups of consecutive samples have the mean of all. */
static void test_groups(void **state)
{
    (void)state;
    double few[] = {1, 2, 4}, many[] = {1, 2, 4, 5, 9, 3, 7}, mean = 0;
    assert_int_equal(mep_measure_group_samples(few, 3, 3), 3);
    assert_true(few[0] == 1 && few[1] == 2 && few[2] == 4);
    assert_int_equal(mep_measure_group_samples(many, 7, 3), 3); /* 1 2 4, 5 9 3, 7 */
    for (int i = 0; i < 3; i++) mean += many[i] / 3;
    assert_near(mean, 31.0 / 7, 1e-14, "the mean of the groups");
    assert_near(many[0] - mean, (7 - 3 * mean) * 3 / 7, 1e-14, "a group of 3");
    assert_near(many[2] - mean, (7 - mean) * 3 / 7, 1e-14, "a group of 1");
}

/* A check refuses what the measure refuses, without a model. */
static void test_check_only(void **state)
{
    (void)state;
    mep_dataset *data = open_data();
    mep_measure_settings s = small_settings();
    mep_measure_call call = {.data = data, .settings = &s, .check_only = 1};
    mep_measure m = {0};
    for (int k = 0; k < MEASURE_COUNT; k++) assert_int_equal(MEASURES[k](&call, &m), MEP_OK);
    s.length = 144;
    assert_int_equal(mep_measure_passkey(&call, 0.5, &m), MEP_OK);
    assert_int_equal(mep_measure_synthetic(&call, "mqar", &m), MEP_OK);
    assert_int_equal(m.count, 0);
    s.length = 20;
    refuse(MEP_ERROR_ARGUMENT, "shorter than the passkey", mep_measure_passkey(&call, 0.5, &m));
    refuse(MEP_ERROR_ARGUMENT, "multiple of 8", mep_measure_context_gain(&call, &m));
    s.length = 900;
    refuse(MEP_ERROR_ARGUMENT, "too few", mep_measure_by_position(&call, &m));
    refuse(MEP_ERROR_ARGUMENT, "too few", mep_measure_blindness(&call, &m));
    call.check_only = 0;
    refuse(MEP_ERROR_ARGUMENT, "no model", mep_measure_by_position(&call, &m));
    mep_dataset_close(&data);
}

/* ---- One number per length ---- */

static void test_by_length(void **state)
{
    (void)state;
    static small_measure s;
    mep_measure reduced;
    /* depths: the mean, with the standard error of the trials' means */
    mep_measure *m = begin(&s, "passkey", "depth");
    add(m, "exact", 64, 0, (double[]){1, 0, 0, 1}, 4);
    add(m, "exact", 64, 1, (double[]){1, 0, 1, 0}, 4);
    add(m, "exact", 128, 0, (double[]){1, 1, 1, 1}, 4);
    assert_int_equal(mep_measure_by_length(m, &reduced), MEP_OK);
    assert_int_equal(reduced.count, 2);
    assert_string_equal(reduced.axis, "");
    const mep_measure_value *v = find(&reduced, "exact", 64, NAN);
    assert_near(v->value, 0.5, 1e-15, "mean over depths");
    assert_near(v->standard_error, sqrt(0.5 / 3 / 4), 1e-15, "of 1, 0, 0.5, 0.5");
    assert_int_equal(v->samples, 4);
    mep_measure_free(&reduced);
    /* positions: the end of the segment */
    m = begin(&s, "by-position", "position");
    add(m, "loss", 64, 32, (double[]){5, 5}, 2);
    add(m, "loss", 64, 64, (double[]){3, 2}, 2);
    assert_int_equal(mep_measure_by_length(m, &reduced), MEP_OK);
    assert_int_equal(reduced.count, 1);
    assert_near(find(&reduced, "loss", 64, NAN)->value, 2.5, 1e-15, "the last bin");
    mep_measure_free(&reduced);
    /* gaps stay; heads become their mean */
    m = begin(&s, "copy", "gap");
    add(m, "gain", 100, 4, (double[]){1, 2}, 2);
    add(m, "gain", 200, 104, (double[]){0, 1}, 2);
    assert_int_equal(mep_measure_by_length(m, &reduced), MEP_OK);
    assert_near(find(&reduced, "gain", 200, 104)->value, 0.5, 1e-15, "a gap");
    mep_measure_free(&reduced);
    m = begin(&s, "blindness", "");
    add(m, "zero", 64, NAN, (double[]){1, 2}, 2);
    add(m, "zero", 64, NAN, (double[]){3, 3}, 2);
    for (int i = 0; i < 2; i++) m->values[i].layer = 0, m->values[i].head = i, m->values[i].first_sample = -1;
    assert_int_equal(mep_measure_by_length(m, &reduced), MEP_OK);
    assert_int_equal(reduced.count, 1);
    assert_near(reduced.values[0].value, 2.25, 1e-15, "mean over heads");
    assert_true(reduced.values[0].layer == -1 && isnan(reduced.values[0].standard_error));
    mep_measure_free(&reduced);
}

/* ---- Several runs ---- */

static void test_mean(void **state)
{
    (void)state;
    static small_measure s[3];
    mep_measure runs[3], mean;
    for (int i = 0; i < 3; i++) add(begin(&s[i], "a", ""), "loss", 64, NAN, (double[]){1 + 2 * i, 1 + 2 * i}, 2);
    add(&s[1].m, "loss", 128, NAN, (double[]){7, 7}, 2);
    for (int i = 0; i < 3; i++) runs[i] = s[i].m;
    assert_int_equal(mep_measure_mean(runs, 3, &mean), MEP_OK);
    assert_int_equal(mean.count, 2);
    assert_near(mean.values[0].value, 3, 1e-15, "mean of 1, 3, 5");
    assert_near(mean.values[0].standard_error, 2, 1e-15, "their deviation");
    assert_int_equal(mean.values[0].samples, 3);
    assert_true(mean.values[1].value == 7 && mean.values[1].samples == 1 && isnan(mean.values[1].standard_error));
    mep_measure_free(&mean);
    runs[0].count = 0; /* nothing measured yet */
    assert_int_equal(mep_measure_mean(runs, 1, &mean), MEP_OK);
    assert_int_equal(mean.count, 0);
}

static void test_one_pair(void **state)
{
    (void)state;
    static small_measure a, b;
    mep_measure_difference *d = NULL;
    int64_t count = 0;
    begin(&a, "a", ""), begin(&b, "a", "");
    /* the difference is constant up to 0.1, though the samples differ by 10: paired, it is certain */
    add(&a.m, "loss", 64, NAN, (double[]){1.0, 11.1, 2.0, 5.1}, 4);
    add(&b.m, "loss", 64, NAN, (double[]){1.5, 11.5, 2.4, 5.5}, 4); /* -0.5 -0.4 -0.4 -0.4 */
    add(&a.m, "exact", 64, NAN, (double[]){1, 0, 0, 1}, 4);
    add(&b.m, "exact", 64, NAN, (double[]){0, 1, 1, 1}, 4);
    add(&a.m, "first", 64, NAN, (double[]){1, 1, 1, 1}, 4); /* neither better nor worse */
    add(&b.m, "first", 64, NAN, (double[]){2, 2, 2, 2.1}, 4);
    add(&a.m, "loss", 128, NAN, (double[]){1, 1}, 2); /* the baseline does not have it */
    assert_int_equal(mep_measure_compare(&a.m, &b.m, 1, &d, &count), MEP_OK);
    assert_int_equal(count, 3);
    assert_true(strcmp(d[0].name, "loss") == 0 && d[0].length == 64 && d[0].pairs == 1 && d[0].samples == 4);
    assert_near(d[0].value, -0.425, 1e-12, "difference");
    assert_near(d[0].error_samples, sqrt((0.075 * 0.075 + 3 * 0.025 * 0.025) / 3 / 4), 1e-12, "its standard error");
    assert_true(isnan(d[0].error_runs) && d[0].standard_error == d[0].error_samples);
    assert_int_equal(d[0].verdict, 1);
    assert_int_equal(d[1].verdict, 0); /* -0.25 with a standard error of 0.48 */
    assert_int_equal(d[2].verdict, 0);
    mep_measure_differences_free(&d);
    assert_null(d);
    /* the other way round: worse. Without samples nothing is judged. */
    assert_int_equal(mep_measure_compare(&b.m, &a.m, 1, &d, &count), MEP_OK);
    assert_int_equal(d[0].verdict, -1);
    mep_measure_differences_free(&d);
    a.m.values[0].first_sample = -1;
    assert_int_equal(mep_measure_compare(&a.m, &b.m, 1, &d, &count), MEP_OK);
    assert_true(d[0].samples == 0 && isnan(d[0].standard_error) && d[0].verdict == 0);
    mep_measure_differences_free(&d);
}

static void test_several_pairs(void **state)
{
    (void)state;
    enum { SEEDS = 3 };
    static const double change[SEEDS] = {0.30, 0.20, 0.25};
    static small_measure s[2][SEEDS];
    mep_measure runs[SEEDS], baselines[SEEDS];
    mep_measure_difference *d = NULL;
    int64_t count = 0;
    for (int i = 0; i < SEEDS; i++) {
        double base[4] = {1 + i, 2, 5, 9 - i}, other[4];
        for (int j = 0; j < 4; j++) other[j] = base[j] + change[i] + (j == 0 ? 0.4 : 0) * (i == 0);
        add(begin(&s[0][i], "a", ""), "saved", 64, NAN, other, 4);
        add(begin(&s[1][i], "a", ""), "saved", 64, NAN, base, 4);
        runs[i] = s[0][i].m, baselines[i] = s[1][i].m;
    }
    assert_int_equal(mep_measure_compare(runs, baselines, SEEDS, &d, &count), MEP_OK);
    assert_int_equal(count, 1);
    /* of the seeds: 0.4, 0.2, 0.25; of the segments, averaged over the seeds: 0.25 + 0.4 / 3, 0.25, 0.25, 0.25 */
    double mean = 0.85 / 3, by_seed[3] = {0.4, 0.2, 0.25}, squares = 0;
    for (int i = 0; i < SEEDS; i++) squares += (by_seed[i] - mean) * (by_seed[i] - mean);
    double over_seeds = sqrt(squares / 2 / 3), spread = 0.4 / 3, over_segments = sqrt(spread * spread * 0.75 / 3 / 4);
    assert_near(d[0].value, mean, 1e-12, "mean over the seeds");
    assert_near(d[0].error_runs, over_seeds, 1e-12, "over the seeds");
    assert_near(d[0].error_samples, over_segments, 1e-12, "over the segments");
    assert_near(d[0].standard_error, sqrt(over_seeds * over_seeds + over_segments * over_segments), 1e-12, "both");
    assert_int_equal(d[0].pairs, SEEDS);
    assert_int_equal(d[0].verdict, 1);
    mep_measure_differences_free(&d);
    /* a seed without the point is left out; without samples of one, the seeds alone count */
    runs[1].count = 0;
    runs[2].values[0].first_sample = -1;
    assert_int_equal(mep_measure_compare(runs, baselines, SEEDS, &d, &count), MEP_OK);
    assert_true(d[0].pairs == 2 && d[0].samples == 0 && d[0].standard_error == d[0].error_runs);
    mep_measure_differences_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),  cmocka_unit_test(test_eval_samples),  cmocka_unit_test(test_check_only),
        cmocka_unit_test(test_groups),   cmocka_unit_test(test_by_length),     cmocka_unit_test(test_mean),
        cmocka_unit_test(test_one_pair), cmocka_unit_test(test_several_pairs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
