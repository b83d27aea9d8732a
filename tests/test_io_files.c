/* SPDX-License-Identifier: MIT */
/*
 * Files and folders: reading with a limit, atomic writes that fail without damage, removing trees.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/memory.h"
#include "io/files.h"
#include "scratch.h"

static void expect_content(const char *path, const char *expected)
{
    char *data = NULL;
    int64_t size = -1;
    assert_int_equal(mep_file_read(path, 1 << 20, &data, &size), MEP_OK);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(data, expected);
    mep_free(&data);
    assert_null(data);
}

static int entries_in(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) free(entries[i]);
    if (count >= 0) free(entries);
    return count - 2;
}

static void test_read(void **state)
{
    (void)state;
    char *data = NULL;
    int64_t size = 0;
    const char *path = scratch_path("read");
    assert_int_equal(mep_file_read(path, 10, &data, &size), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), path));
    assert_non_null(strstr(mep_error_message(), "No such file"));
    assert_int_equal(mep_file_write_atomic(path, "0123456789", 10), MEP_OK);
    expect_content(path, "0123456789");
    assert_int_equal(mep_file_read(path, 10, &data, &size), MEP_OK);
    mep_free(&data);
    assert_int_equal(mep_file_read(path, 9, &data, &size), MEP_ERROR_FORMAT);
    assert_null(data);
    assert_int_equal(mep_file_read(scratch_path(""), 9, &data, &size), MEP_ERROR_IO);
    assert_int_equal(mep_file_write_atomic(path, "", 0), MEP_OK);
    expect_content(path, "");
}

/* Reading a pipe without a writer must not hang, and writing must not replace it. The pipe represents every device: a
 * test with a real device would destroy it when it fails. */
static void test_read_pipe(void **state)
{
    (void)state;
    char *data = NULL;
    int64_t size = 0;
    const char *path = scratch_path("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(mep_file_read(path, 9, &data, &size), MEP_ERROR_IO);
    assert_int_equal(mep_file_write_atomic(path, "x", 1), MEP_ERROR_IO);
    assert_false(mep_file_exists(path));
}

static void test_write_refuses(void **state)
{
    (void)state;
    assert_int_equal(mep_file_write_atomic(scratch_path(""), "x", 1), MEP_ERROR_IO);
    assert_int_equal(mep_file_write_atomic(scratch_path("missing/file"), "x", 1), MEP_ERROR_IO);
    assert_int_equal(mep_file_write_atomic("", "x", 1), MEP_ERROR_IO);
}

/* With a limit on the size of files, write() fails as on a full disk: the old file remains, and no temporary file. */
static void test_full_disk(void **state)
{
    (void)state;
    enum { BIG = 1 << 20 };
    static char big[BIG];
    const char *folder = scratch_path("full"), *path = scratch_path("full/file");
    assert_int_equal(mep_make_folder(folder, 0), MEP_OK);
    assert_int_equal(mep_file_write_atomic(path, "old", 3), MEP_OK);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    mep_status status = mep_file_write_atomic(path, big, BIG);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), strerror(EFBIG)));
    expect_content(path, "old");
    assert_int_equal(entries_in(folder), 1);
}

static void test_pieces(void **state)
{
    (void)state;
    mep_atomic_file file;
    const char *folder = scratch_path("chunks"), *path = scratch_path("chunks/file");
    assert_int_equal(mep_make_folder(folder, 0), MEP_OK);
    assert_int_equal(mep_atomic_begin(&file, path), MEP_OK);
    assert_int_equal(mep_atomic_write(&file, "ab", 2), MEP_OK);
    assert_int_equal(mep_atomic_write(&file, "c", 1), MEP_OK);
    assert_false(mep_file_exists(path));
    assert_int_equal(mep_atomic_commit(&file), MEP_OK);
    expect_content(path, "abc");
    assert_int_equal(mep_atomic_begin(&file, path), MEP_OK);
    assert_int_equal(mep_atomic_write(&file, "new", 3), MEP_OK);
    mep_atomic_abandon(&file);
    expect_content(path, "abc");
    assert_int_equal(entries_in(folder), 1);
}

static void test_append(void **state)
{
    (void)state;
    const char *path = scratch_path("lines");
    mep_lines lines;
    assert_int_equal(mep_lines_open(&lines, path), MEP_OK);
    assert_int_equal(mep_lines_append(&lines, "{\"a\": 1}"), MEP_OK);
    assert_int_equal(mep_lines_append(&lines, ""), MEP_OK);
    assert_int_equal(mep_lines_close(&lines), MEP_OK);
    assert_int_equal(mep_lines_open(&lines, path), MEP_OK);
    assert_int_equal(mep_lines_append(&lines, "b"), MEP_OK);
    assert_int_equal(mep_lines_close(&lines), MEP_OK);
    assert_int_equal(mep_lines_close(&lines), MEP_OK);
    expect_content(path, "{\"a\": 1}\n\nb\n");
    assert_int_equal(mep_lines_open(&lines, scratch_path("")), MEP_ERROR_IO);
    assert_int_equal(mep_file_truncate(path, 10), MEP_OK);
    expect_content(path, "{\"a\": 1}\n\n");
    assert_int_equal(mep_file_truncate(scratch_path("nothing"), 0), MEP_ERROR_IO);
}

static void test_join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}, {"a/b", "c/d", "a/b/c/d"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = NULL;
        assert_int_equal(mep_path_join(&path, cases[i][0], cases[i][1]), MEP_OK);
        assert_string_equal(path, cases[i][2]);
        mep_free(&path);
    }
}

static void test_folders(void **state)
{
    (void)state;
    assert_int_equal(mep_make_folder(scratch_path("x/y/z"), 0), MEP_ERROR_IO);
    assert_int_equal(mep_make_folder(scratch_path("x/y/z/"), 1), MEP_OK);
    assert_int_equal(mep_make_folder(scratch_path("x/y/z"), 1), MEP_OK);
    assert_true(mep_folder_exists(scratch_path("x/y/z")));
    assert_false(mep_file_exists(scratch_path("x/y/z")));
    assert_int_equal(mep_file_write_atomic(scratch_path("x/file"), "f", 1), MEP_OK);
    assert_true(mep_file_exists(scratch_path("x/file")));
    assert_int_equal(mep_make_folder(scratch_path("x/file"), 1), MEP_ERROR_IO);
    assert_int_equal(mep_make_folder(scratch_path("x/file/deeper"), 1), MEP_ERROR_IO);
    assert_int_equal(mep_make_folder("", 1), MEP_ERROR_IO);
    assert_int_equal(mep_sync_folder(scratch_path("x")), MEP_OK);
    assert_int_equal(mep_sync_folder(scratch_path("nowhere")), MEP_ERROR_IO);
}

static void test_remove_tree(void **state)
{
    (void)state;
    assert_int_equal(mep_make_folder(scratch_path("tree/a/b"), 1), MEP_OK);
    assert_int_equal(mep_make_folder(scratch_path("outside"), 1), MEP_OK);
    assert_int_equal(mep_file_write_atomic(scratch_path("tree/a/b/file"), "f", 1), MEP_OK);
    assert_int_equal(mep_file_write_atomic(scratch_path("outside/file"), "f", 1), MEP_OK);
    assert_int_equal(symlink(scratch_path("outside"), scratch_path("tree/link")), 0);
    assert_int_equal(mep_remove_tree(scratch_path("tree")), MEP_OK);
    assert_false(mep_folder_exists(scratch_path("tree")));
    assert_true(mep_file_exists(scratch_path("outside/file")));
    assert_int_equal(mep_remove_tree(scratch_path("tree")), MEP_OK);
}

static void test_rename(void **state)
{
    (void)state;
    assert_int_equal(mep_make_folder(scratch_path("from"), 0), MEP_OK);
    assert_int_equal(mep_file_write_atomic(scratch_path("from/new"), "n", 1), MEP_OK);
    assert_int_equal(mep_rename_folder_atomic(scratch_path("from"), scratch_path("to")), MEP_OK);
    assert_true(mep_file_exists(scratch_path("to/new")));
    assert_false(mep_folder_exists(scratch_path("from")));
    assert_int_equal(mep_rename_folder_atomic(scratch_path("from"), scratch_path("to")), MEP_ERROR_IO);
    assert_true(mep_file_exists(scratch_path("to/new")));
    assert_int_equal(mep_make_folder(scratch_path("from"), 0), MEP_OK);
    assert_int_equal(mep_rename_folder_atomic(scratch_path("from"), scratch_path("to")), MEP_OK);
    assert_true(mep_file_exists(scratch_path("from/new")));
    assert_false(mep_file_exists(scratch_path("to/new")));
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),      cmocka_unit_test(test_read_pipe), cmocka_unit_test(test_write_refuses),
        cmocka_unit_test(test_full_disk), cmocka_unit_test(test_pieces),    cmocka_unit_test(test_append),
        cmocka_unit_test(test_join),      cmocka_unit_test(test_folders),   cmocka_unit_test(test_remove_tree),
        cmocka_unit_test(test_rename),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
