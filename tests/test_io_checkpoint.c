/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders: which ones are kept and found, and that interrupted runs do no damage.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/memory.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "scratch.h"

/* Write scratch/RUN/FOLDER/FILE. */
static void put(const char *folder, const char *file, const char *content)
{
    char *path = NULL;
    assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
    assert_int_equal(mep_path_join(&path, folder, file), MEP_OK);
    assert_int_equal(mep_file_write_atomic(path, content, (int64_t)strlen(content)), MEP_OK);
    mep_free(&path);
}

static void save(const char *run, int64_t step, int64_t keep, const char *content)
{
    char *folder = NULL;
    assert_int_equal(mep_make_folder(run, 1), MEP_OK);
    assert_int_equal(mep_checkpoint_begin(run, step, &folder), MEP_OK);
    json_t *state = json_pack("{s:I, s:f}", "step", (json_int_t)step, "rate", 0.5);
    put(folder, "model.safetensors", content);
    put(folder, "config.json", content);
    assert_int_equal(mep_checkpoint_commit(run, step, state, keep), MEP_OK);
    assert_false(mep_folder_exists(folder));
    json_decref(state);
    mep_free(&folder);
}

static int exists(const char *run, const char *name)
{
    char *path = NULL;
    assert_int_equal(mep_path_join(&path, run, name), MEP_OK);
    int found = mep_folder_exists(path) || mep_file_exists(path);
    mep_free(&path);
    return found;
}

static void expect_latest(const char *run, int64_t expected)
{
    char *path = NULL, *wanted = NULL;
    int64_t step = 77;
    assert_int_equal(mep_checkpoint_latest(run, &path, &step), MEP_OK);
    assert_int_equal(step, expected);
    if (expected < 0) {
        assert_null(path);
        return;
    }
    assert_int_equal(mep_format(&wanted, "%s/checkpoint-%lld", run, (long long)expected), MEP_OK);
    assert_string_equal(path, wanted);
    mep_free(&wanted);
    mep_free(&path);
}

static void expect_content(const char *run, const char *name, const char *expected)
{
    char *path = NULL, *data = NULL;
    int64_t size = 0;
    assert_int_equal(mep_path_join(&path, run, name), MEP_OK);
    assert_int_equal(mep_file_read(path, 1000, &data, &size), MEP_OK);
    assert_string_equal(data, expected);
    mep_free(&data);
    mep_free(&path);
}

static void test_keep(void **state)
{
    (void)state;
    const char *run = scratch_path("keep/deeper");
    for (int64_t step = 0; step <= 40; step += 10) save(run, step, 2, "m");
    assert_false(exists(run, "checkpoint-0"));
    assert_false(exists(run, "checkpoint-20"));
    assert_true(exists(run, "checkpoint-30/model.safetensors"));
    assert_true(exists(run, "checkpoint-40/model.safetensors"));
    expect_latest(run, 40);
    save(run, 100, 0, "m"); /* keep all */
    save(run, 1000, 4, "m");
    assert_true(exists(run, "checkpoint-30"));
    save(run, 1001, 1, "m"); /* keep only this one */
    assert_false(exists(run, "checkpoint-1000"));
    assert_false(exists(run, "checkpoint-30"));
    expect_latest(run, 1001);
}

/* Steps are compared as numbers: 9 is older than 10. A later step of another run is neither counted nor removed. */
static void test_order(void **state)
{
    (void)state;
    const char *run = scratch_path("order");
    save(run, 9, 5, "m");
    save(run, 10, 5, "m");
    expect_latest(run, 10);
    save(run, 8, 1, "m");
    assert_true(exists(run, "checkpoint-8"));
    assert_true(exists(run, "checkpoint-9"));
    assert_true(exists(run, "checkpoint-10"));
}

static void test_incomplete(void **state)
{
    (void)state;
    const char *run = scratch_path("incomplete");
    char *path = NULL;
    int64_t step = 0;
    assert_int_equal(mep_checkpoint_latest(run, &path, &step), MEP_ERROR_IO);
    assert_int_equal(mep_make_folder(run, 0), MEP_OK);
    expect_latest(run, -1);
    put(scratch_path("incomplete/checkpoint-50"), "model.safetensors", "half");
    put(scratch_path("incomplete/checkpoint-60.tmp"), "state.json", "{}");
    put(scratch_path("incomplete/checkpoint-020"), "state.json", "{}");
    put(scratch_path("incomplete/checkpoint-"), "state.json", "{}");
    put(scratch_path("incomplete/checkpoint-9999999999999999999999"), "state.json", "{}");
    expect_latest(run, -1);
    assert_true(exists(run, "checkpoint-60.tmp")); /* mep_checkpoint_latest removes nothing */
    save(run, 20, 1, "m");
    expect_latest(run, 20);
    assert_false(exists(run, "checkpoint-60.tmp"));
    save(run, 55, 2, "m"); /* neither 50 (incomplete) nor 020 (an invalid name) counts as a kept checkpoint */
    assert_true(exists(run, "checkpoint-20"));
    assert_true(exists(run, "checkpoint-50"));
    assert_true(exists(run, "checkpoint-020"));
}

/* A run that repeatedly dies between begin and commit leaves the last checkpoint unchanged. */
static void test_interrupted(void **state)
{
    (void)state;
    const char *run = scratch_path("interrupted");
    save(run, 10, 1, "good");
    char *folder = NULL;
    for (int64_t step = 11; step < 14; step++) {
        assert_int_equal(mep_checkpoint_begin(run, step, &folder), MEP_OK);
        put(folder, "model.safetensors", "half");
        mep_free(&folder);
        expect_latest(run, 10);
    }
    assert_false(exists(run, "checkpoint-12.tmp"));
    assert_int_equal(mep_checkpoint_abandon(run, 13), MEP_OK);
    assert_false(exists(run, "checkpoint-13.tmp"));
    expect_latest(run, 10);
    expect_content(run, "checkpoint-10/model.safetensors", "good");
    assert_int_equal(mep_checkpoint_begin(scratch_path("moved-away"), 1, &folder), MEP_ERROR_IO);
    assert_false(mep_folder_exists(scratch_path("moved-away")));
    assert_int_equal(mep_checkpoint_begin(run, -1, &folder), MEP_ERROR_ARGUMENT);
    assert_null(folder);
}

static void test_same_step_again(void **state)
{
    (void)state;
    const char *run = scratch_path("again");
    save(run, 10, 3, "first");
    put(scratch_path("again/checkpoint-10"), "extra", "x");
    save(run, 10, 3, "second");
    expect_content(run, "checkpoint-10/model.safetensors", "second");
    assert_false(exists(run, "checkpoint-10/extra"));
    assert_false(exists(run, "checkpoint-10.tmp"));
}

/* mep_checkpoint_state of run/checkpoint-7 fails with a message that contains `text`; NULL: it succeeds. */
static void expect_damage(const char *run, const char *text)
{
    char *path = NULL;
    json_t *state = NULL;
    assert_int_equal(mep_checkpoint_path(&path, run, 7), MEP_OK);
    mep_status status = mep_checkpoint_state(path, &state);
    if (text == NULL) {
        if (status != MEP_OK) fail_msg("%s", mep_error_message());
        assert_int_equal(json_integer_value(json_object_get(state, "step")), 7);
    } else {
        assert_true(status == MEP_ERROR_FORMAT || status == MEP_ERROR_IO);
        assert_null(state);
        if (strstr(mep_error_message(), text) == NULL) fail_msg("no \"%s\" in: %s", text, mep_error_message());
    }
    json_decref(state);
    mep_free(&path);
}

/* A change of any byte of state.json or of a small file is detected, except for white space of the JSON, and so is a
 * missing file. */
/* model.safetensors with a header of 8 bytes. */
static void put_tensors(const char *folder, const char *header, const char *data)
{
    char *path = NULL, bytes[64] = {8};
    assert_int_equal(strlen(header), 8);
    int size = 8 + snprintf(bytes + 8, sizeof bytes - 8, "%s%s", header, data);
    assert_int_equal(mep_path_join(&path, folder, "model.safetensors"), MEP_OK);
    assert_int_equal(mep_file_write_atomic(path, bytes, size), MEP_OK);
    mep_free(&path);
}

static void test_checksums(void **unused)
{
    (void)unused;
    const char *run = scratch_path("checksums"), *folder = scratch_path("checksums/checkpoint-7");
    char *text = NULL, *path = NULL;
    int64_t size = 0, found = 0;
    save(run, 7, 0, "content");
    expect_damage(run, NULL);
    put(folder, "config.json", "contend");
    expect_damage(run, "config.json is damaged");
    assert_int_equal(mep_path_join(&path, folder, "config.json"), MEP_OK);
    assert_int_equal(mep_remove_tree(path), MEP_OK);
    mep_free(&path);
    expect_damage(run, "config.json");
    put(folder, "config.json", "content");
    put(folder, "model.safetensors", "contend");
    expect_damage(run, "model.safetensors is damaged");
    /* of a safetensors file the header, which has the checksums of the tensors */
    json_t *state = NULL;
    put(folder, "model.safetensors", "content");
    assert_int_equal(mep_checkpoint_state(folder, &state), MEP_OK);
    put_tensors(folder, "{\"a\": 1}", "data");
    assert_int_equal(mep_checkpoint_write_state(folder, state), MEP_OK);
    json_decref(state);
    expect_damage(run, NULL);
    put_tensors(folder, "{\"a\": 1}", "more");
    expect_damage(run, NULL);
    put_tensors(folder, "{\"a\": 2}", "data");
    expect_damage(run, "model.safetensors is damaged");
    assert_int_equal(mep_path_join(&path, folder, "model.safetensors"), MEP_OK);
    assert_int_equal(mep_remove_tree(path), MEP_OK);
    mep_free(&path);
    expect_damage(run, NULL); /* as after the moments were removed to share a model */
    put_tensors(folder, "{\"a\": 1}", "data");
    assert_int_equal(mep_path_join(&path, folder, "state.json"), MEP_OK);
    assert_int_equal(mep_file_read(path, 1000, &text, &size), MEP_OK);
    for (int64_t i = 0; i < size; i++) {
        char old = text[i];
        if (old == ' ' || old == '\n') continue;
        text[i] ^= 1;
        assert_int_equal(mep_file_write_atomic(path, text, size), MEP_OK);
        expect_damage(run, "state.json");
        text[i] = old;
        found++;
    }
    assert_true(found > 60);
    put(folder, "state.json", "{\"step\": 7}"); /* in the form of version 0.1 */
    expect_damage(run, NULL);
    put(folder, "state.json", "7");
    expect_damage(run, "JSON object");
    mep_free(&text);
    mep_free(&path);
}

static void test_set_aside(void **unused)
{
    (void)unused;
    const char *run = scratch_path("aside");
    save(run, 7, 0, "m");
    save(run, 8, 0, "first");
    assert_int_equal(mep_checkpoint_set_aside(run, 8), MEP_OK);
    expect_latest(run, 7);
    save(run, 8, 0, "second");
    assert_int_equal(mep_checkpoint_set_aside(run, 8), MEP_OK);
    save(run, 9, 2, "m");
    expect_content(run, "checkpoint-8.damaged/model.safetensors", "first");
    expect_content(run, "checkpoint-8.damaged-2/model.safetensors", "second");
    int64_t *steps = NULL, count = 0;
    assert_int_equal(mep_checkpoint_list(run, &steps, &count), MEP_OK);
    assert_int_equal(count, 2);
    assert_true(steps[0] == 7 && steps[1] == 9);
    mep_free(&steps);
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep),        cmocka_unit_test(test_order),           cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_same_step_again), cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_set_aside),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
