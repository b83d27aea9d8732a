/* SPDX-License-Identifier: MIT */
/*
 * Faults during mep_prepare: another process with the same prefix, a disk that is full for a moment, a small file that
 * decompresses to a very long line, and invalid lines.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <malloc.h>

#include "mep/data.h"
#include "expect.h"
#include "text_files.h"

enum { LINES = 4000 };

static mep_tokenizer *bytes;
static const char *input;
static char input_path[512];
static int failing_write; /* 1: the next write fails */

/* Replaces libc's function: a write that fails once; the next one succeeds. */
ssize_t write(int fd, const void *data, size_t size)
{
    if (!failing_write) return (ssize_t)syscall(SYS_write, fd, data, size);
    failing_write = 0;
    errno = ENOSPC;
    return -1;
}

/* Settings for a dataset of the one input, saved every few batches. The result is valid until the next call. */
static mep_prepare_settings settings_for(const char *given)
{
    static char prefix[512];
    mep_prepare_settings s;
    mep_prepare_defaults(&s);
    snprintf(prefix, sizeof prefix, "%s", given);
    s.inputs = &input, s.input_count = 1, s.prefix = prefix, s.tokenizer = bytes;
    s.save_bytes = 1, s.threads = 1;
    return s;
}

static int set_up(void **state)
{
    if (text_folder_make(state) != 0 || mep_tokenizer_open(&bytes, "bytes") != MEP_OK) return 1;
    snprintf(input_path, sizeof input_path, "%s", in_folder("a.jsonl"));
    input = input_path;
    FILE *file = fopen(input_path, "w");
    for (int i = 0; i < LINES; i++) fprintf(file, "{\"text\": \"line %d %0300d\"}\n", i, i);
    return fclose(file) != 0;
}

static int tear_down(void **state)
{
    mep_tokenizer_destroy(&bytes);
    return text_folder_remove(state);
}

/* ---- Two processes at once ---- */

static void test_locked(void **state)
{
    (void)state;
    char prefix[512], process[64];
    snprintf(prefix, sizeof prefix, "%s", in_folder("shared"));
    snprintf(process, sizeof process, "is being written by process %ld on ", (long)getpid());
    mep_dataset_writer *writer = NULL, *other = NULL;
    const int32_t token = 7;
    expect(mep_dataset_writer_create(&writer, prefix, bytes), MEP_OK);
    mep_prepare_settings s = settings_for(prefix);
    for (s.resume = 0; s.resume < 2; s.resume++) {
        expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_IO);
        expect_message(prefix);
        expect_message(process);
    }
    expect(mep_dataset_writer_create(&other, prefix, bytes), MEP_ERROR_IO);
    assert_null(other);
    assert_true(exists_with(prefix, ".bin.tmp"));
    expect(mep_dataset_writer_add(writer, &token, 1, 0), MEP_OK);
    expect(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_false(exists_with(prefix, ".lock"));
    s.resume = 0;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    assert_false(exists_with(prefix, ".lock"));
}

/* ---- A disk that is full for a moment ---- */

typedef struct moment {
    char journal[600];
    unsigned char *before;
    size_t size;
    int calls;
} moment;

/* When there is a journal, remember it and let the next write fail. */
static int fail_later(void *context, const mep_prepare_progress *progress)
{
    moment *m = context;
    (void)progress;
    if (m->before != NULL || ++m->calls < 3 || access(m->journal, F_OK) != 0) return 0;
    m->before = read_bytes(m->journal, &m->size);
    failing_write = 1;
    return 0;
}

static void test_full_for_a_moment(void **state)
{
    (void)state;
    char prefix[512], straight[512];
    snprintf(straight, sizeof straight, "%s", in_folder("straight"));
    mep_prepare_settings s = settings_for(straight);
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    snprintf(prefix, sizeof prefix, "%s", in_folder("moment"));
    s = settings_for(prefix);
    moment m = {.before = NULL};
    snprintf(m.journal, sizeof m.journal, "%s.journal", prefix);
    expect(mep_prepare(&s, fail_later, &m, NULL), MEP_ERROR_IO);
    expect_message("--resume continues it");
    assert_non_null(m.before);
    size_t size = 0;
    unsigned char *after = read_bytes(m.journal, &size);
    assert_int_equal(size, m.size);
    assert_memory_equal(after, m.before, size);
    free(after);
    free(m.before);
    s.resume = 1;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_OK);
    expect_same_file(prefix, straight, ".bin");
    expect_same_file(prefix, straight, ".idx");
}

/* ---- Memory ---- */

/* Prepare a file in a child process, which must fail; returns its peak memory in KB. */
static long peak_of_failure(const char *path, const char *message)
{
    malloc_trim(0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        mep_prepare_settings s = settings_for(in_folder("bomb"));
        s.inputs = &path;
        _exit(mep_prepare(&s, NULL, NULL, NULL) != MEP_ERROR_FORMAT || strstr(mep_error_message(), message) == NULL);
    }
    int status = -1;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_int_equal(status, 0);
    return usage.ru_maxrss;
}

/* 40 KB that decompress to a line of one gigabyte. */
static void test_bomb(void **state)
{
    (void)state;
    enum { BLOCK = 1 << 24, BLOCKS = 64, MAX_KB = 400000 };
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* it keeps freed memory */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    char *letters = malloc(BLOCK);
    assert_non_null(letters);
    memset(letters, 'a', BLOCK);
    struct archive *archive = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_write_add_filter_zstd(archive);
    archive_write_set_format_raw(archive);
    const char *path = in_folder("bomb.jsonl.zst");
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_pathname(entry, "data");
    assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(archive, "{\"text\": \"", 10), 10);
    for (int i = 0; i < BLOCKS; i++) assert_int_equal(archive_write_data(archive, letters, BLOCK), BLOCK);
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_write_free(archive);
    archive_entry_free(entry);
    free(letters);
    long peak = peak_of_failure(path, "bomb.jsonl.zst:1: the line is longer than the limit of 134217728 bytes");
    if (!(peak < MAX_KB)) fail_msg("%ld KB", peak);
}

/* ---- Invalid lines ---- */

static const char *const bad_lines[] = {"{\"text\": \"\\ud800\"}", /* half of a surrogate pair */
                                        "{\"text\": \"\xff\"}",    "{\"text\": 7}", "{\"other\": \"text\"}",
                                        "{\"text\": \"open",       "[\"text\"]",    "text"};
enum { BAD = sizeof bad_lines / sizeof *bad_lines };

/* Write valid lines; with `with_bad` one invalid line for every `every` valid ones, and two long ones. */
static const char *write_lines(const char *name, int with_bad, int every)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < LINES; i++) {
        fprintf(file, "{\"text\": \"line %d %0200d\"}\n", i, i);
        if (!with_bad || i % every != 1) continue;
        if (i == every + 1) fprintf(file, "{\"more\": \"%03000000d\", \"text\": \"\\ud800\"}\n", i);
        if (i == 2 * every + 1) fprintf(file, "{\"more\": \"%03000000d\"}\n", i);
        fprintf(file, "%s\n", bad_lines[i / every % BAD]);
    }
    assert_int_equal(fclose(file), 0);
    return path;
}

/* Stops a preparation several times, at most 10 times, because a slow machine calls it more often. */
static int stop_later(void *context, const mep_prepare_progress *progress)
{
    (void)progress;
    int calls = ++*(int *)context;
    return calls % 3 == 0 && calls <= 30;
}

static void test_bad_lines(void **state)
{
    (void)state;
    enum { EVERY = 10, COUNT = LINES / EVERY + 2 };
    char prefix[512], straight[512], bad[512], expected[600];
    const char *good = write_lines("good.jsonl", 0, EVERY), *const given = bad;
    snprintf(bad, sizeof bad, "%s", write_lines("bad.jsonl", 1, EVERY));
    snprintf(straight, sizeof straight, "%s", in_folder("good"));
    snprintf(prefix, sizeof prefix, "%s", in_folder("bad"));
    snprintf(expected, sizeof expected, "%s:3: ", bad);
    mep_prepare_progress result;
    mep_prepare_settings s = settings_for(straight);
    s.inputs = &good;
    s.skip_bad_lines = 1;
    expect(mep_prepare(&s, NULL, NULL, &result), MEP_OK);
    assert_int_equal(result.skipped_lines, 0);
    assert_string_equal(result.first_skipped, "");

    s = settings_for(prefix);
    s.inputs = &given;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_FORMAT);
    expect_message(expected);
    s.skip_bad_lines = 1;
    for (s.threads = 1; s.threads < 4; s.threads++) {
        expect(mep_prepare(&s, NULL, NULL, &result), MEP_OK);
        assert_int_equal(result.skipped_lines, COUNT);
        assert_int_equal(strncmp(result.first_skipped, expected, strlen(expected)), 0);
        expect_same_file(prefix, straight, ".bin");
        expect_same_file(prefix, straight, ".idx");
    }
    int calls = 0, stops = 0;
    while (mep_prepare(&s, stop_later, &calls, &result) == MEP_INTERRUPTED) {
        stops++;
        s.resume = 1;
        s.skip_bad_lines = 0; /* work that was begun with it must be resumed with it */
        if (exists_with(prefix, ".journal")) {
            expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
            expect_message("--skip-bad-lines");
        }
        s.skip_bad_lines = 1;
    }
    assert_in_range(stops, 2, 10);
    assert_int_equal(result.skipped_lines, COUNT);
    assert_int_equal(strncmp(result.first_skipped, expected, strlen(expected)), 0);
    expect_same_file(prefix, straight, ".bin");
    expect_same_file(prefix, straight, ".idx");
}

/* If all lines are invalid, it is an error, as for a file without text. */
static void test_only_bad_lines(void **state)
{
    (void)state;
    const char *path = write_text("none.jsonl", "nothing\n[]\n");
    mep_prepare_settings s = settings_for(in_folder("none"));
    s.inputs = &path;
    s.skip_bad_lines = 1;
    expect(mep_prepare(&s, NULL, NULL, NULL), MEP_ERROR_FORMAT);
    expect_message("none.jsonl");
    assert_false(exists_with(in_folder("none"), ".bin"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locked),    cmocka_unit_test(test_full_for_a_moment), cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_only_bad_lines),
    };
    return cmocka_run_group_tests_name("prepare faults", tests, set_up, tear_down);
}
