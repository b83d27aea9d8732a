/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the study.json and the eval.json of a study of one run; then, if it is an object, an
 * eval.json with the settings of this study, whose results are accepted. Results are numbers that a table can hold.
 */
#define _XOPEN_SOURCE 700
#include <jansson.h>
#include <math.h>

#include "folder.h"
#include "train/study_internal.h"

enum { LENGTHS = 3 };

static mep_study_settings settings;
static json_t *empty; /* an eval.json without results; read only */

static void forget(void)
{
    json_decref(empty);
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
    json_t *input = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_object_set(input, "settings", json_object_get(empty, "settings"));
    char *text = json_is_object(input) ? json_dumps(input, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    if (text != NULL) {
        put_file("eval.json", text, strlen(text));
        read_results();
    }
    free(text);
    json_decref(input);
    return 0;
}
