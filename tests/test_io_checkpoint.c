/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders: what is kept, what is found, and that interrupted runs do no harm.
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
    assert_int_equal(mep_checkpoint_begin(run, step, &folder), MEP_OK);
    put(folder, "model.safetensors", content);
    put(folder, "state.json", "{}");
    assert_int_equal(mep_checkpoint_commit(run, step, keep), MEP_OK);
    assert_false(mep_folder_exists(folder));
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
    save(run, 1001, 1, "m"); /* keep this one only */
    assert_false(exists(run, "checkpoint-1000"));
    assert_false(exists(run, "checkpoint-30"));
    expect_latest(run, 1001);
}

/* Numbers, not letters, decide: 9 is older than 10. A later step from another run is neither counted nor removed. */
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
    assert_true(exists(run, "checkpoint-60.tmp")); /* latest cleans nothing */
    save(run, 20, 1, "m");
    expect_latest(run, 20);
    assert_false(exists(run, "checkpoint-60.tmp"));
    save(run, 55, 2, "m"); /* neither 50 (incomplete) nor 020 (no name of ours) takes a place of those kept */
    assert_true(exists(run, "checkpoint-20"));
    assert_true(exists(run, "checkpoint-50"));
    assert_true(exists(run, "checkpoint-020"));
}

/* A run that dies between begin and commit, again and again, leaves the checkpoint before it. */
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
    assert_int_equal(mep_checkpoint_commit(run, 13, 1), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "state.json"));
    expect_latest(run, 10);
    expect_content(run, "checkpoint-10/model.safetensors", "good");
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

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep),        cmocka_unit_test(test_order),           cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_same_step_again),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
