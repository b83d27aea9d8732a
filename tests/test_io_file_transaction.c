/* SPDX-License-Identifier: MIT */
/*
 * File transactions: after a failure and after an interruption at every step the folder is unchanged, and the
 * transaction can be repeated.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/file_transaction.h"
#include "scratch.h"

static void write_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL;
    assert_int_equal(mep_path_join(&path, folder, name), MEP_OK);
    assert_int_equal(mep_file_write_atomic(path, text, (int64_t)strlen(text)), MEP_OK);
    mep_free(&path);
}

/* folder/name has this text; NULL: it does not exist. */
static void expect_text(const char *folder, const char *name, const char *text)
{
    char *path = NULL, *data = NULL;
    int64_t size = 0;
    assert_int_equal(mep_path_join(&path, folder, name), MEP_OK);
    if (text == NULL)
        assert_int_not_equal(access(path, F_OK), 0);
    else {
        assert_int_equal(mep_file_read(path, 1000, &data, &size), MEP_OK);
        assert_string_equal(data, text);
    }
    mep_free(&data);
    mep_free(&path);
}

static const char *const NAMES[] = {"a", "b", "last"};

static mep_file_transaction begin(const char *folder, const char *text)
{
    mep_file_transaction s;
    if (mep_file_transaction_begin(&s, folder) != MEP_OK) fail_msg("%s", mep_error_message());
    for (int i = 0; i < 3; i++) write_text(s.partial, NAMES[i], text);
    return s;
}

static void expect_all(const char *folder, const char *text)
{
    for (int i = 0; i < 3; i++) expect_text(folder, NAMES[i], text);
    expect_text(folder, ".mep-partial", NULL);
}

static void test_commit(void **state)
{
    (void)state;
    const char *folder = scratch_path("one/two");
    mep_file_transaction s = begin(folder, "new");
    assert_true(s.made);
    assert_int_equal(mep_file_transaction_commit(&s, "last"), MEP_OK);
    assert_null(s.folder);
    expect_all(folder, "new");
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* A folder that was created is removed; an existing folder keeps its files. */
static void test_abandon(void **state)
{
    (void)state;
    const char *made = scratch_path("made"), *kept = scratch_path("kept");
    mep_file_transaction s = begin(made, "new");
    assert_int_equal(mep_fail(MEP_ERROR_IO, "the reason"), MEP_ERROR_IO);
    mep_file_transaction_abandon(&s);
    assert_string_equal(mep_error_message(), "the reason");
    assert_false(mep_folder_exists(made));
    mep_file_transaction_abandon(&s); /* a second call does nothing */

    assert_int_equal(mep_make_folder(kept, 1), MEP_OK);
    write_text(kept, "mine", "mine");
    s = begin(kept, "new");
    mep_file_transaction_abandon(&s);
    expect_text(kept, "mine", "mine");
    expect_all(kept, NULL);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* An existing file is never replaced; no file appears then. */
static void test_existing(void **state)
{
    (void)state;
    const char *folder = scratch_path("folder");
    assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
    write_text(folder, "b", "mine");
    mep_file_transaction s = begin(folder, "new");
    assert_int_equal(mep_file_transaction_commit(&s, "last"), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "already contains b"));
    expect_text(folder, "a", NULL);
    expect_text(folder, "b", "mine");
    expect_text(folder, ".mep-partial", NULL);
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

/* The process ended before the list was written, or after `moved` files were moved. Other names in a list are ignored.
 */
static void test_interrupted(void **state)
{
    (void)state;
    for (int moved = -1; moved <= 3; moved++) {
        const char *folder = scratch_path("folder");
        assert_int_equal(mep_make_folder(folder, 1), MEP_OK);
        write_text(folder, "mine", "mine");
        mep_file_transaction s = begin(folder, "old");
        if (moved >= 0) write_text(s.partial, ".moving", "../folder/mine\na\nb\nlast\n");
        for (int i = 0; i < moved; i++) {
            char from[600], to[600];
            snprintf(from, sizeof from, "%s/%s", s.partial, NAMES[i]);
            snprintf(to, sizeof to, "%s/%s", folder, NAMES[i]);
            assert_int_equal(rename(from, to), 0);
        }
        mep_free(&s.folder), mep_free(&s.partial);
        s = begin(folder, "new");
        mep_status status = mep_file_transaction_commit(&s, "last");
        assert_int_equal(status, moved == 3 ? MEP_ERROR_ARGUMENT : MEP_OK); /* 3: the transaction was complete */
        expect_all(folder, moved == 3 ? "old" : "new");
        expect_text(folder, "mine", "mine");
        assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
    }
}

/* Every allocation of either call may fail. */
static void test_short_memory(void **state)
{
    (void)state;
    const char *folder = scratch_path("folder");
    mep_file_transaction s;
    mep_status status = MEP_ERROR_MEMORY;
    int64_t begins = 0, commits = 0;
    for (; status != MEP_OK && begins < 100; begins++) {
        mep_fail_allocation(begins + 1);
        status = mep_file_transaction_begin(&s, folder);
        mep_fail_allocation(0);
        assert_int_equal(mep_folder_exists(folder), status == MEP_OK);
    }
    mep_file_transaction_abandon(&s);
    for (status = MEP_ERROR_MEMORY; status != MEP_OK && commits < 100; commits++) {
        s = begin(folder, "new");
        mep_fail_allocation(commits + 1);
        status = mep_file_transaction_commit(&s, "last");
        mep_fail_allocation(0);
    }
    assert_int_equal(status, MEP_OK);
    assert_true(begins > 3 && commits > 10);
    expect_all(folder, "new");
    assert_int_equal(mep_remove_tree(scratch_path("")), MEP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit),      cmocka_unit_test(test_abandon),      cmocka_unit_test(test_existing),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
