/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a run's train.json; then, if it is an object, its members replace those of a valid
 * one, so that small inputs get further. Accepted settings pass the check of a new run, and are equal after writing and
 * reading them.
 */
#define _XOPEN_SOURCE 700
#include <jansson.h>

#include "folder.h"
#include "io/json.h"
#include "train/run.h"

/* What mep_run_write_settings writes, parsed; read only. */
static json_t *good;

static void forget(void)
{
    json_decref(good);
}

static void make_good(void)
{
    const mep_run_checksums checksums = {"0123456789abcdef", "0123456789abcdef"};
    mep_train_settings settings;
    char path[64];
    file_path("train.json", path);
    if (mep_train_preset("nano", &settings) != MEP_OK) abort();
    snprintf(settings.data, sizeof settings.data, "books=0.7,code=0.3");
    snprintf(settings.split, sizeof settings.split, "9,1");
    if (mep_run_write_settings(fuzz_folder, &settings, &checksums) != MEP_OK) abort();
    if (mep_json_load(path, &good) != MEP_OK || atexit(forget) != 0) abort();
}

/* Padding is not compared. */
static void check_settings(const mep_train_settings *s)
{
    json_t *model = json_object_get(good, "model");
    if (mep_train_check(s) != MEP_OK || model == NULL) abort();
    json_t *training = mep_run_training_json(s), *again = mep_run_training_json(s);
    if (training == NULL || !json_equal(training, again)) abort();
    if (mep_run_compare_json("input", training, again) != MEP_OK) abort();
    check_message(mep_run_compare_json("input", good, training));
    json_decref(training);
    json_decref(again);
}

static void check_file(const void *text, size_t size)
{
    static mep_train_settings settings;
    static mep_run_checksums checksums;
    put_file("train.json", text, size);
    mep_status status = mep_run_read_settings(fuzz_folder, &settings, &checksums);
    check_message(status);
    if (status == MEP_OK) check_settings(&settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *input = NULL;
    if (good == NULL) make_good();
    check_file(data, size);
    if (mep_json_parse("input", (const char *)data, (int64_t)size, &input) == MEP_OK && json_is_object(input)) {
        json_t *merged = json_copy(good);
        json_object_update(merged, input);
        char *text = json_dumps(merged, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (text != NULL) check_file(text, strlen(text));
        free(text);
        json_decref(merged);
    }
    json_decref(input);
    return 0;
}
