/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the study.json, the eval.json and the measure-copy.json of a study of one run; then,
 * if it is an object, the last two with the settings of this study, whose results are accepted. Results are numbers
 * that a table can hold.
 */
#define _XOPEN_SOURCE 700
#include <jansson.h>
#include <math.h>

#include "base/memory.h"
#include "folder.h"
#include "train/study_internal.h"

enum { LENGTHS = 3 };

static mep_study_settings settings;
static json_t *empty;    /* an eval.json without results; read only */
static json_t *measured; /* a measure-copy.json without numbers; read only */

static void forget(void)
{
    json_decref(empty);
    json_decref(measured);
}

/* Make `measured`. */
static void measure_nothing(void)
{
    mep_study_measurement m;
    put_file("measure-copy.json", (const uint8_t *)"{}", 2);
    if (mep_study_measurement_open(&m, fuzz_folder, &settings, &settings.eval, "copy") != MEP_OK) abort();
    measured = json_pack("{s:O}", "settings", m.key);
    if (measured == NULL) abort();
    mep_study_measurement_close(&m);
}

static void begin(void)
{
    static const char *const CORPORA[] = {"books"}, *const ENCODINGS[] = {"alibi"};
    static const uint64_t SEEDS[] = {1};
    static const int64_t LENGTH_LIST[LENGTHS] = {128, 512, 1 << 20};
    char path[64];
    settings = (mep_study_settings){.corpora = CORPORA,
                                    .corpus_count = 1,
                                    .encodings = ENCODINGS,
                                    .encoding_count = 1,
                                    .seeds = SEEDS,
                                    .seed_count = 1,
                                    .lengths = LENGTH_LIST,
                                    .length_count = LENGTHS};
    if (mep_train_preset("nano", &settings.train) != MEP_OK) abort();
    settings.eval.dtype = MEP_FLOAT32;
    file_path("", path);
    mep_measure_defaults(&settings.measure);
    measure_nothing();
    if (mep_study_eval_read(fuzz_folder, &settings.eval, 10, &empty) != MEP_OK || atexit(forget) != 0) abort();
}

static void read_results(void)
{
    json_t *eval = NULL;
    mep_eval_result results[LENGTHS];
    mep_study_cell cells[LENGTHS];
    mep_status status = mep_study_eval_read(fuzz_folder, &settings.eval, 10, &eval);
    check_message(status);
    if (status != MEP_OK) return;
    for (int i = 0; i < LENGTHS; i++) {
        double *samples = NULL;
        int64_t count = 0;
        check_message(mep_study_eval_samples(eval, fuzz_folder, settings.lengths[i], &samples, &count));
        if (samples != NULL && count < 1) abort();
        mep_free(&samples);
        status = mep_study_eval_find(eval, fuzz_folder, settings.lengths[i], &results[i]);
        check_message(status);
        if (status != MEP_OK) results[i] = (mep_eval_result){0};
        if (results[i].segments < 0 || results[i].tokens < 0) abort();
        if (results[i].segments > 0 && (results[i].length != settings.lengths[i] || results[i].perplexity < 1)) abort();
    }
    mep_study_summarize(&settings, results, 0, cells);
    for (int i = 0; i < LENGTHS; i++)
        if (cells[i].seeds != (results[i].segments > 0) || (cells[i].best && !isfinite(cells[i].mean))) abort();
    json_decref(eval);
}

static void read_measure(void)
{
    mep_study_measurement m;
    mep_measure reduced, mean;
    mep_measure_difference *differences = NULL;
    int64_t count = 0;
    mep_status status = mep_study_measurement_open(&m, fuzz_folder, &settings, &settings.eval, "copy");
    check_message(status);
    if (status != MEP_OK) return;
    for (int64_t i = 0; i < m.measure.count; i++) {
        const mep_measure_value *v = &m.measure.values[i];
        if (v->length < 1 || v->samples < 1 || v->layer < -1 || v->head < -1) abort();
        if (v->first_sample >= 0 && v->first_sample + v->samples > m.measure.sample_count) abort();
    }
    if (mep_measure_by_length(&m.measure, &reduced) != MEP_OK) abort();
    if (mep_measure_mean(&m.measure, 1, &mean) != MEP_OK) abort();
    if (mep_measure_compare(&m.measure, &m.measure, 1, &differences, &count) != MEP_OK) abort();
    for (int64_t i = 0; i < count; i++)
        if (differences[i].pairs != 1 || differences[i].verdict != 0) abort();
    mep_measure_free(&reduced);
    mep_measure_free(&mean);
    mep_measure_differences_free(&differences);
    mep_study_measurement_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const mep_study_corpus corpus = {{"0123456789abcdef", "0123456789abcdef"}};
    if (empty == NULL) begin();
    put_file("study.json", data, size);
    mep_run_folder folder = {0};
    check_message(mep_study_open_folder(fuzz_folder, &settings, &corpus, &folder));
    mep_run_folder_close(&folder);
    put_file("eval.json", data, size);
    read_results();
    put_file("measure-copy.json", data, size);
    read_measure();
    json_t *input = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_object_set(input, "settings", json_object_get(empty, "settings"));
    char *text = json_is_object(input) ? json_dumps(input, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (text != NULL) {
        put_file("eval.json", text, strlen(text));
        read_results();
    }
    free(text);
    json_object_set(input, "settings", json_object_get(measured, "settings"));
    text = json_is_object(input) ? json_dumps(input, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (text != NULL) {
        put_file("measure-copy.json", text, strlen(text));
        read_measure();
    }
    free(text);
    json_decref(input);
    return 0;
}
