/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the state.json of a checkpoint; then, if it is an object, the same with correct
 * checksums, which must be accepted. The state is read as in resuming; there is no config.json, so no model is loaded.
 */
#define _XOPEN_SOURCE 700
#include <inttypes.h>
#include <jansson.h>

#include "base/checksum.h"
#include "folder.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "train/run.h"

enum { STEP = 7 };
static const char FOLDER[] = "checkpoint-7", SMALL[] = "tokenizer.json", SMALL_DATA[] = "{}";

static void read_state(int must)
{
    static mep_train_settings settings;
    mep_run_state state;
    json_t *root = NULL;
    char path[64];
    file_path(FOLDER, path);
    mep_status status = mep_checkpoint_state(path, &root);
    check_message(status);
    if ((status == MEP_OK) != (root != NULL) || (must && status != MEP_OK)) abort();
    json_decref(root);
    if (settings.steps == 0 && mep_train_preset("nano", &settings) != MEP_OK) abort();
    status = mep_run_load(fuzz_folder, &settings, NULL, NULL, &state);
    if (status == MEP_OK) abort(); /* config.json is missing */
    check_message(status);
    if (state.skipped < 0 || state.skipped > STEP || state.skipped_in_a_row < 0) abort();
}

static void checksum_text(const void *data, size_t size, char text[17])
{
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    mep_checksum_add(&checksum, data, (int64_t)size);
    snprintf(text, 17, "%016" PRIx64, mep_checksum_end(&checksum));
}

/* The object with "files" and "checksum". */
static void put_whole(json_t *state)
{
    char text[17];
    checksum_text(SMALL_DATA, strlen(SMALL_DATA), text);
    json_object_del(state, "checksum");
    json_object_set_new(state, "files", json_pack("{s:s}", SMALL, text));
    char *dump = json_dumps(state, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    if (dump == NULL) abort();
    checksum_text(dump, strlen(dump), text);
    free(dump);
    json_object_set_new(state, "checksum", json_string(text));
    dump = json_dumps(state, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (dump == NULL) abort();
    put_file("checkpoint-7/state.json", dump, strlen(dump));
    free(dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    json_t *state = NULL;
    file_path(FOLDER, path);
    if (mep_make_folder(path, 0) != MEP_OK) abort();
    put_file("checkpoint-7/tokenizer.json", SMALL_DATA, strlen(SMALL_DATA));
    put_file("checkpoint-7/state.json", data, size);
    read_state(0);
    if (mep_json_parse("input", (const char *)data, (int64_t)size, &state) == MEP_OK && json_is_object(state)) {
        put_whole(state);
        read_state(1);
    }
    json_decref(state);
    return 0;
}
