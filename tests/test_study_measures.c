/* SPDX-License-Identifier: MIT */
/*
 * Measures of a study: the numbers are those of the measure on the run's model, at any moment a stop loses only the
 * current one, a finished study takes more of them, and studies of versions without measures continue.
 */
#define _XOPEN_SOURCE 700
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "mep/study.h"
#include "scratch.h"
#include "train/study_internal.h"

enum { TOKENS = 3000, STEPS = 2, LENGTH = 16 };

static const char *const ENCODINGS[] = {"alibi", "mep", "learned"};
static const uint64_t SEEDS[] = {7, 8};
static const int64_t LENGTHS[] = {16, 128}, GAPS[] = {4, 80};
static const double DEPTHS[] = {0, 0.5};
static const char *const MEASURES[] = {"by-position", "copy", "context", "mqar:pairs=2,queries=1", "blindness"};

#define assert_ok(call) assert_int_equal(call, MEP_OK)

static void write_dataset(const char *prefix, uint32_t state, int64_t count, int end)
{
    int32_t tokens[TOKENS];
    mep_tokenizer *tokenizer = NULL;
    mep_dataset_writer *writer = NULL;
    for (int i = 0; i < TOKENS; i++) {
        state = state * 1664525u + 1013904223u;
        tokens[i] = (int32_t)(i % 5 * 3 + (int)(state >> 30));
    }
    assert_ok(mep_tokenizer_bytes(&tokenizer));
    assert_ok(mep_dataset_writer_create(&writer, prefix, tokenizer));
    assert_ok(mep_dataset_writer_add(writer, tokens, count, end));
    assert_ok(mep_dataset_writer_finish(&writer));
    mep_tokenizer_destroy(&tokenizer);
}

static int make_data(void **state)
{
    (void)state;
    write_dataset(scratch_path("one.train"), 1, TOKENS, 1);
    write_dataset(scratch_path("one.valid"), 2, TOKENS, 1);
    write_dataset(scratch_path("two.train"), 3, TOKENS, 1);
    write_dataset(scratch_path("two.valid"), 4, TOKENS, 1);
    write_dataset(scratch_path("few.train"), 5, TOKENS, 1);
    write_dataset(scratch_path("few.valid"), 6, 200, 1);
    return 0;
}

static int remove_data(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) == MEP_OK ? 0 : 1;
}

static mep_study_settings small_study(void)
{
    static char one[512];
    static const char *corpora[1] = {one};
    snprintf(one, sizeof one, "%s", scratch_path("one"));
    mep_study_settings s = {.corpora = corpora,
                            .corpus_count = 1,
                            .encodings = ENCODINGS,
                            .encoding_count = 2,
                            .seeds = SEEDS,
                            .seed_count = 2,
                            .lengths = LENGTHS,
                            .length_count = 2,
                            .measures = MEASURES,
                            .measure_count = 5,
                            .gaps = GAPS,
                            .gap_count = 2};
    assert_ok(mep_train_preset("nano", &s.train));
    s.train.model.vocab_size = 257;
    s.train.model.hidden_size = 16;
    s.train.model.num_hidden_layers = 1;
    s.train.model.num_attention_heads = 2;
    s.train.model.intermediate_size = 32;
    s.train.length = s.train.model.max_position_embeddings = LENGTH;
    s.train.batch_size = s.train.micro_batch_size = 4;
    s.train.steps = STEPS;
    s.train.dtype = MEP_FLOAT32;
    mep_eval_defaults(&s.eval);
    s.eval.max_tokens = 800;
    mep_measure_defaults(&s.measure);
    s.measure.samples = 12;
    s.measure.copy_tokens = 6;
    return s;
}

/* What the callback received, and after how many calls it stops the study (0: never). */
typedef struct watch {
    int64_t calls, stop_at, trained, evaluated, points; /* points: measurements that were begun */
    const char *measure;
    int64_t length;
    double at, first_left, last_left;
} watch;

static int look(void *context, const mep_study_progress *p)
{
    watch *w = context;
    if (w->calls++ == 0) w->first_left = p->seconds_left;
    w->last_left = p->seconds_left;
    w->trained += p->phase == MEP_STUDY_TRAINING;
    assert_true((p->phase == MEP_STUDY_TRAINING) == (p->train != NULL));
    assert_true((p->phase == MEP_STUDY_MEASURING) == (p->measure != NULL));
    if (p->train != NULL) assert_true(p->train->step == p->done && p->train->learning_rate > 0);
    w->evaluated += p->phase == MEP_STUDY_EVALUATING && p->done == p->total;
    if (p->phase == MEP_STUDY_MEASURING) {
        int same_at = p->at == w->at || (isnan(p->at) && isnan(w->at));
        w->points += p->measure != w->measure || p->length != w->length || !same_at;
        assert_true(p->done >= 0 && p->done <= p->total && isnan(p->loss));
    }
    w->measure = p->measure, w->length = p->length, w->at = p->at;
    return w->stop_at > 0 && w->calls >= w->stop_at;
}

static watch run_study(const char *folder, const mep_study_settings *s)
{
    watch w = {0};
    mep_status status = mep_study_run(scratch_path(folder), s, look, &w);
    if (status != MEP_OK) fail_msg("%s", mep_error_message());
    return w;
}

static void expect_failure(const char *folder, const mep_study_settings *s, const char *text)
{
    assert_int_not_equal(mep_study_run(scratch_path(folder), s, NULL, NULL), MEP_OK);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("no \"%s\" in: %s", text, mep_error_message());
    assert_false(mep_folder_exists(scratch_path(folder)));
}

static mep_measure measure_of(const char *folder, const mep_study_settings *s, int64_t encoding, int64_t seed,
                              const char *name)
{
    mep_measure m = {0};
    mep_status status = mep_study_measure(scratch_path(folder), s, 0, encoding, seed, name, &m);
    if (status != MEP_OK) fail_msg("%s", mep_error_message());
    return m;
}

static int same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* Values and samples, to the bit. */
static void assert_same(const mep_measure *found, const mep_measure *wanted)
{
    assert_string_equal(found->name, wanted->name);
    assert_string_equal(found->axis, wanted->axis);
    assert_true(found->count == wanted->count && wanted->count > 0);
    for (int64_t i = 0; i < wanted->count; i++) {
        const mep_measure_value *f = &found->values[i], *w = &wanted->values[i];
        assert_string_equal(f->name, w->name);
        assert_true(f->length == w->length && same(f->at, w->at) && f->layer == w->layer && f->head == w->head);
        assert_true(f->value == w->value && same(f->standard_error, w->standard_error) && f->samples == w->samples);
        assert_int_equal(f->first_sample >= 0, w->first_sample >= 0);
        for (int64_t k = 0; w->first_sample >= 0 && k < w->samples; k++)
            assert_true(found->sample_values[f->first_sample + k] == wanted->sample_values[w->first_sample + k]);
    }
}

/* The numbers of a run are those of its model, measured by hand. */
static void test_numbers(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    watch w = run_study("plain", &s);
    assert_int_equal(w.trained, 4 * STEPS);
    assert_int_equal(w.points, 4 * 10);
    assert_true(w.first_left > 0 && w.last_left < 1e-3);
    mep_model *model = NULL;
    mep_dataset *data = NULL;
    mep_measure_settings settings = s.measure;
    mep_measure wanted = {0}, found;
    settings.max_tokens = 769; /* the largest multiple of 128 up to 800, and the last target */
    settings.batch_tokens = s.eval.batch_tokens;
    assert_ok(mep_model_load(&model, scratch_path("plain/mep-seed8")));
    assert_ok(mep_dataset_open(&data, scratch_path("one.valid")));
    const mep_measure_call call = {.model = model, .data = data, .settings = &settings};
    for (int i = 0; i < 2; i++) assert_ok(mep_measure_copy_gain(&call, GAPS[i], &wanted));
    found = measure_of("plain", &s, 1, 1, "copy");
    assert_same(&found, &wanted);
    mep_measure_free(&found);
    mep_measure_free(&wanted);
    for (int i = 0; i < 2; i++) {
        settings.length = LENGTHS[i];
        assert_ok(mep_measure_by_position(&call, &wanted));
    }
    found = measure_of("plain", &s, 1, 1, "by-position");
    assert_same(&found, &wanted);
    mep_measure_free(&found);
    mep_measure_free(&wanted);
    /* the perplexity is a measure too, whose samples are the segments' losses */
    mep_eval_result results[16];
    assert_ok(mep_study_results(scratch_path("plain"), &s, results));
    found = measure_of("plain", &s, 1, 1, "perplexity");
    const mep_eval_result *r = &results[mep_study_index(&s, 0, 1, 1, 1)];
    assert_int_equal(found.count, 4);
    assert_true(found.values[2].value == r->perplexity && found.values[3].value == r->loss);
    assert_true(found.values[3].length == 128 && found.values[3].samples == 6 && found.values[3].first_sample >= 0);
    mep_measure_free(&found);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Stopped again and again: the same numbers, and only the current point is measured again. */
static void test_continue(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    s.seed_count = 1;
    int64_t tries = 0, points = 0;
    mep_status status = MEP_INTERRUPTED;
    for (; status == MEP_INTERRUPTED && tries < 1000; tries++) {
        watch w = {.stop_at = 3 + tries % 19};
        status = mep_study_run(scratch_path("pieces"), &s, look, &w);
        points += w.points;
    }
    assert_ok(status);
    assert_true(tries > 4 && points >= 20 && points < 20 + tries);
    for (int i = 0; i < 5; i++) {
        mep_measure wanted = measure_of("plain", &s, 1, 0, MEASURES[i]);
        mep_measure found = measure_of("pieces", &s, 1, 0, MEASURES[i]);
        assert_same(&found, &wanted);
        mep_measure_free(&found);
        mep_measure_free(&wanted);
    }
    watch again = run_study("pieces", &s);
    assert_int_equal(again.trained + again.evaluated + again.points, 0);
}

/* Measures, gaps, lengths and encodings are added later; other settings of a measure replace its numbers alone. */
static void test_grow(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    s.seed_count = s.encoding_count = 1;
    s.measure_count = s.gap_count = 0;
    run_study("grow", &s);
    s.measure_count = 1;
    watch w = run_study("grow", &s);
    assert_true(w.trained == 0 && w.evaluated == 0 && w.points == 2);
    s.measures = MEASURES + 1; /* the copy gain at one gap, then at the other */
    s.gap_count = 1;
    assert_int_equal(run_study("grow", &s).points, 1);
    s.gaps = GAPS + 1;
    assert_int_equal(run_study("grow", &s).points, 1);
    s.measure_count = 0; /* another encoding gets all measures, and is measured up to its last position */
    s.encodings = ENCODINGS + 2;
    w = run_study("grow", &s);
    assert_true(w.trained == STEPS && w.evaluated == 1 && w.points == 1);
    s.measure.samples = 8; /* a call without measures keeps their settings */
    assert_int_equal(run_study("grow", &s).points, 0);
    s.measure_count = 1; /* of the copy gain alone; a study asked for both encodings has both again */
    assert_int_equal(run_study("grow", &s).points, 2);
    s.measure_count = 0;
    s.measure.samples = 12;
    mep_study_lists *lists = NULL;
    assert_ok(mep_study_lists_read(&lists, scratch_path("grow"), &s));
    const mep_study_settings *all = mep_study_lists_settings(lists);
    assert_true(all->measure_count == 2 && all->gap_count == 2 && all->gaps[1] == 80 && all->depth_count == 0);
    mep_measure found = measure_of("grow", all, 0, 0, "copy");
    assert_true(found.count == 6 && found.values[0].samples == 8);
    mep_measure_free(&found);
    mep_study_lists_free(&lists);
}

/* The points of a measure that are measured. */
static int64_t points_of(const char *folder, const char *name)
{
    mep_study_settings s = small_study();
    mep_study_lists *lists = NULL;
    int64_t points = 0, last = 0;
    s.encoding_count = s.seed_count = s.length_count = 1;
    s.measure_count = s.gap_count = 0;
    assert_ok(mep_study_lists_read(&lists, scratch_path(folder), &s));
    mep_measure m = measure_of(folder, mep_study_lists_settings(lists), 0, 0, name);
    for (int64_t i = 0; i < m.count; i++) {
        points += m.values[i].length != last;
        last = m.values[i].length;
    }
    mep_measure_free(&m);
    mep_study_lists_free(&lists);
    return points;
}

/* A length of one call need not go with a measure of another: the study takes what it can, and stays usable. What a
 * call asks for itself is refused, and nothing of it is written. */
static void test_combined(void **state)
{
    (void)state;
    static const int64_t lengths[] = {16, 20}, longer[] = {128}, odd[] = {12, 200};
    static const char *const context[] = {"context"}, *const passkey[] = {"passkey"};
    mep_study_settings s = small_study();
    s.encoding_count = s.seed_count = 1;
    s.measure_count = s.gap_count = 0;
    s.lengths = lengths;
    run_study("combined", &s); /* 20 is no multiple of 8 */
    mep_study_settings t = s;
    t.lengths = longer, t.length_count = 1;
    t.measures = context, t.measure_count = 1;
    assert_int_equal(run_study("combined", &t).points, 2);
    assert_int_equal(points_of("combined", "context"), 2);
    assert_int_equal(run_study("combined", &s).points, 0);
    t.measures = passkey; /* at 128, not at 16 and 20; and odd lengths after the measures */
    t.depths = DEPTHS, t.depth_count = 1;
    assert_int_equal(run_study("combined", &t).points, 1);
    s.lengths = odd;
    watch w = run_study("combined", &s);
    assert_true(w.evaluated >= 2 && points_of("combined", "passkey") == 2 && points_of("combined", "context") == 3);
    t.lengths = lengths;
    char *before = NULL, *after = NULL, file[600];
    int64_t size = 0;
    snprintf(file, sizeof file, "%s/study.json", scratch_path("combined"));
    assert_ok(mep_file_read(file, 1 << 20, &before, &size));
    assert_int_equal(mep_study_run(scratch_path("combined"), &t, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "passkey: the length 16 is shorter than"));
    assert_ok(mep_file_read(file, 1 << 20, &after, &size));
    assert_string_equal(before, after);
    mep_free(&before);
    mep_free(&after);
    run_study("combined", &s);
}

static void remove_text(const char *file, const char *start, const char *end)
{
    char *text = NULL;
    int64_t size = 0;
    assert_ok(mep_file_read(file, 1 << 20, &text, &size));
    for (char *at; (at = strstr(text, start)) != NULL;) {
        char *after = strstr(at + strlen(start), end);
        assert_non_null(after);
        after += strlen(end);
        memmove(at, after, strlen(after) + 1);
    }
    assert_ok(mep_file_write_atomic(file, text, (int64_t)strlen(text)));
    mep_free(&text);
}

static int has_text(const char *file, const char *wanted)
{
    char *text = NULL;
    int64_t size = 0;
    assert_ok(mep_file_read(file, 1 << 20, &text, &size));
    int found = strstr(text, wanted) != NULL;
    mep_free(&text);
    return found;
}

/* A study of a version without measures and samples continues as it is; need_samples evaluates it again, once. */
static void test_old(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    s.seed_count = s.encoding_count = 1;
    s.measure_count = s.gap_count = 0;
    run_study("old", &s);
    assert_false(has_text(scratch_path("old/study.json"), "measures")); /* which that version would refuse */
    remove_text(scratch_path("old/alibi-seed7/eval.json"), ",\n      \"samples\": [", "]");
    watch w = run_study("old", &s);
    assert_int_equal(w.trained + w.evaluated, 0);
    mep_measure m = measure_of("old", &s, 0, 0, "perplexity");
    assert_true(m.count == 4 && m.values[3].first_sample == -1);
    mep_measure_free(&m);
    s.need_samples = 1;
    w = run_study("old", &s);
    assert_true(w.trained == 0 && w.evaluated == 2);
    assert_int_equal(run_study("old", &s).evaluated, 0);
    m = measure_of("old", &s, 0, 0, "perplexity");
    assert_true(m.count == 4 && m.values[3].first_sample >= 0);
    mep_measure_free(&m);
}

/* More samples than are kept, as files of older versions have, are grouped when they are read. */
static void test_groups(void **state)
{
    (void)state;
    enum { SAMPLES = 600, SIZE = 3 };
    json_t *array = json_array(), *eval = NULL;
    for (int i = 0; i < SAMPLES; i++) assert_int_equal(json_array_append_new(array, json_integer(i % SIZE * i)), 0);
    eval = json_pack("{s: [{s: i, s: i, s: o}]}", "results", "length", LENGTH, "segments", SAMPLES, "samples", array);
    assert_non_null(eval);
    double *samples = NULL;
    int64_t count = 0;
    assert_ok(mep_study_eval_samples(eval, "run", LENGTH, &samples, &count));
    assert_int_equal(count, SAMPLES / SIZE);
    for (int g = 0; g < count; g++) {
        int first = SIZE * g;
        assert_float_equal(samples[g], (double)(first + 1 + 2 * (first + 2)) / SIZE, 1e-9);
    }
    mep_free(&samples);
    json_decref(eval);
}

static void damage(const char *from, const char *to)
{
    char *text = NULL, *at = NULL;
    int64_t size = 0;
    const char *file = scratch_path("old/alibi-seed7/measure-by-position.json");
    assert_ok(mep_file_read(file, 1 << 20, &text, &size));
    assert_non_null(at = strstr(text, from));
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    assert_ok(mep_file_write_atomic(file, text, (int64_t)strlen(text)));
    mep_free(&text);
}

/* Everything that cannot be measured is refused before anything is written; damaged files are named. */
/* A data mix of which a corpus has one segment at a length has no samples there, and is not evaluated again. */
static void test_one_segment(void **state)
{
    (void)state;
    char mix[1100];
    const char *corpora[] = {mix};
    mep_study_settings s = small_study();
    snprintf(mix, sizeof mix, "%s=1,%s=1", scratch_path("one"), scratch_path("few"));
    s.corpora = corpora;
    s.encoding_count = s.seed_count = 1;
    s.measure_count = s.gap_count = 0;
    s.need_samples = 1;
    assert_int_equal(run_study("segment", &s).evaluated, 2);
    mep_measure m = measure_of("segment", &s, 0, 0, "perplexity");
    for (int64_t i = 0; i < m.count; i++)
        if (strcmp(m.values[i].name, "loss") == 0)
            assert_int_equal(m.values[i].first_sample >= 0, m.values[i].length == 16);
    mep_measure_free(&m);
    assert_int_equal(run_study("segment", &s).evaluated, 0);
}

static void test_refused(void **state)
{
    (void)state;
    mep_study_settings s = small_study();
    static const char *const wrong[] = {"perplex", "passkey", "mqar:pairs=99", "copy", "context"};
    static const int64_t odd[] = {20};
    s.measure_count = 1;
    s.measures = wrong;
    expect_failure("none", &s, "unknown measure \"perplex\"");
    s.measures = wrong + 1;
    expect_failure("none", &s, "the measure passkey needs depths");
    s.depths = DEPTHS;
    s.depth_count = 2;
    expect_failure("none", &s, "passkey: the length 16 is shorter than the passkey's own text");
    static const double deep[] = {1.5};
    s.depths = deep;
    s.depth_count = 1;
    expect_failure("none", &s, "the depth 1.5");
    s.depth_count = 0;
    s.measures = wrong + 2;
    expect_failure("none", &s, "pairs");
    char plain[512]; /* tokens without a tokenizer, as of Megatron's files */
    const char *tokens[] = {plain};
    mep_study_settings t = s;
    snprintf(plain, sizeof plain, "%s", scratch_path("plain"));
    for (int part = 0; part < 2; part++) {
        char path[600];
        snprintf(path, sizeof path, "%s.%s", plain, part == 0 ? "train" : "valid");
        write_dataset(path, 7, TOKENS, 0);
        snprintf(path, sizeof path, "%s.%s.json", plain, part == 0 ? "train" : "valid");
        assert_int_equal(remove(path), 0);
    }
    t.corpora = tokens;
    t.train.model.vocab_size = 64;
    t.measures = MEASURES + 3;
    expect_failure("none", &t, "the model has 64 tokens, but the task mqar:pairs=2,queries=1 needs 127");
    s.measures = wrong + 3;
    static const int64_t far[] = {5000};
    s.gaps = far;
    s.gap_count = 1;
    expect_failure("none", &s, "copy: the data has 769 tokens, too few for a gap of 5000");
    s.measures = wrong + 4;
    s.lengths = odd;
    s.length_count = 1;
    expect_failure("none", &s, "multiple of 8");
    /* a mix */
    char mix[1100];
    const char *corpora[] = {mix};
    s = small_study();
    snprintf(mix, sizeof mix, "%s=1,%s=1", scratch_path("one"), scratch_path("two"));
    s.corpora = corpora;
    expect_failure("none", &s, "the measure by-position reads one dataset");
    /* damage */
    s = small_study();
    s.encoding_count = s.seed_count = s.measure_count = 1;
    s.need_samples = 1;
    run_study("old", &s);
    damage("\"samples\": 48", "\"samplez\": 48");
    assert_int_not_equal(mep_study_run(scratch_path("old"), &s, NULL, NULL), MEP_OK);
    assert_non_null(strstr(mep_error_message(), "measure-by-position.json"));
    assert_non_null(strstr(mep_error_message(), "samplez"));
    damage("\"samplez\": 48", "\"samples\": 47");
    assert_int_not_equal(mep_study_run(scratch_path("old"), &s, NULL, NULL), MEP_OK);
    assert_non_null(strstr(mep_error_message(), "must be an array of 47 numbers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),  cmocka_unit_test(test_continue),    cmocka_unit_test(test_grow),
        cmocka_unit_test(test_old),      cmocka_unit_test(test_groups),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_combined), cmocka_unit_test(test_one_segment),
    };
    return cmocka_run_group_tests(tests, make_data, remove_data);
}
