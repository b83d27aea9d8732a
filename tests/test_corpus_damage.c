/* SPDX-License-Identifier: MIT */
/*
 * Damaged compressed files: no flipped bit and no missing end gives different documents, and the message names the file
 * and the damage.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mep/data.h"
#include "text_files.h"

enum { ROOM = 1 << 16 };

/* The documents, each followed by a newline. */
typedef struct documents {
    char text[ROOM];
    int64_t size;
} documents;

static mep_status take(void *context, const char *text, int64_t size, int64_t position, int64_t total)
{
    documents *all = context;
    assert_true(position <= total && all->size + size + 1 < ROOM);
    memcpy(all->text + all->size, text, (size_t)size);
    all->size += size;
    all->text[all->size++] = '\n';
    return MEP_OK;
}

static mep_status read_documents(const char *path, documents *all)
{
    all->size = 0;
    mep_status status = mep_corpus_read(&path, 1, take, all);
    all->text[all->size] = '\0';
    return status;
}

static void expect_documents(const char *path, const char *expected)
{
    static documents all;
    mep_status status = read_documents(path, &all);
    if (status != MEP_OK) fail_msg("%s: %s", path, mep_error_message());
    assert_string_equal(all.text, expected);
}

static void expect_failure(const char *path, mep_status expected, const char *message)
{
    static documents all;
    mep_status status = read_documents(path, &all);
    if (status != expected || strstr(mep_error_message(), message) == NULL ||
        strstr(mep_error_message(), strrchr(path, '/') + 1) == NULL)
        fail_msg("%s: %s: %s, not \"%s\"", path, mep_status_name(status),
                 status == MEP_OK ? all.text : mep_error_message(), message);
}

static const char lines[] = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
static const packed members[] = {{"a.jsonl", lines, sizeof lines - 1}, {"b.txt", "three", 5}};

static const struct {
    const char *name;
    int filter, tar;
} files[] = {{"a.jsonl.gz", ARCHIVE_FILTER_GZIP, 0},
             {"a.tgz", ARCHIVE_FILTER_GZIP, 1},
             {"a.tar.zst", ARCHIVE_FILTER_ZSTD, 1},
             {"a.jsonl.xz", ARCHIVE_FILTER_XZ, 0},
             {"a.tar.xz", ARCHIVE_FILTER_XZ, 1}};

enum { FILES = sizeof files / sizeof *files };

static const char *write_file(int i)
{
    return write_packed(files[i].name, files[i].filter, files[i].tar, members, files[i].tar ? 2 : 1);
}

/* The same documents, or an error that names the file. */
static void expect_same_or_failure(const char *path, const char *expected, const char *what, size_t position)
{
    static documents all;
    mep_status status = read_documents(path, &all);
    if (status == MEP_OK && strcmp(all.text, expected) != 0)
        fail_msg("%s, %s %zu: read as \"%s\"", path, what, position, all.text);
    if (status != MEP_OK && strstr(mep_error_message(), strrchr(path, '/') + 1) == NULL)
        fail_msg("%s, %s %zu: %s", path, what, position, mep_error_message());
}

static void test_flipped_bits(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; ++i) {
        if (files[i].filter == ARCHIVE_FILTER_ZSTD) continue; /* libarchive writes no checksum */
        size_t size;
        unsigned char *bytes = read_bytes(write_file(i), &size);
        for (size_t bit = 0; bit < 8 * size; ++bit) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            expect_same_or_failure(write_bytes(files[i].name, bytes, size),
                                   files[i].tar ? "one\ntwo\nthree\n" : "one\ntwo\n", "bit", bit);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        free(bytes);
    }
}

static void test_missing_end(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; ++i) {
        size_t size;
        unsigned char *bytes = read_bytes(write_file(i), &size);
        for (size_t length = 1; length < size; ++length) {
            const char *path = write_bytes(files[i].name, bytes, length);
            if (files[i].filter == ARCHIVE_FILTER_GZIP)
                expect_failure(path, MEP_ERROR_FORMAT, "");
            else
                expect_same_or_failure(path, files[i].tar ? "one\ntwo\nthree\n" : "one\ntwo\n", "length", length);
        }
        free(bytes);
    }
}

/* The checksum and the length after the data: each has its own message. */
static void test_gzip_trailer(void **state)
{
    (void)state;
    for (int i = 0; i < 2; ++i) {
        size_t size;
        unsigned char *bytes = read_bytes(write_file(i), &size);
        bytes[size - 8] ^= 1;
        expect_failure(write_bytes(files[i].name, bytes, size), MEP_ERROR_FORMAT, "checksum");
        bytes[size - 8] ^= 1;
        bytes[size - 1] ^= 1;
        expect_failure(write_bytes(files[i].name, bytes, size), MEP_ERROR_FORMAT, "length");
        free(bytes);
    }
}

/* Several members, as written by `cat` and bgzip, and what may follow them. */
static void test_gzip_members(void **state)
{
    (void)state;
    size_t size;
    unsigned char *one = read_bytes(write_file(0), &size);
    unsigned char *many = calloc(1, 3 * size + 600);
    for (int i = 0; i < 3; ++i) memcpy(many + (size_t)i * size, one, size);
    expect_documents(write_bytes("m.jsonl.gz", many, 3 * size), "one\ntwo\none\ntwo\none\ntwo\n");
    expect_documents(write_bytes("m.jsonl.gz", many, 3 * size + 600), "one\ntwo\none\ntwo\none\ntwo\n");
    many[2 * size - 8] ^= 1; /* the checksum of the second */
    expect_failure(write_bytes("m.jsonl.gz", many, 3 * size), MEP_ERROR_FORMAT, "checksum");
    many[2 * size - 8] ^= 1;
    many[2 * size] ^= 0x80; /* the magic of the third */
    expect_failure(write_bytes("m.jsonl.gz", many, 3 * size), MEP_ERROR_FORMAT, "not gzip");
    memset(many + 2 * size, 0, size);
    many[3 * size - 1] = 'x';
    expect_failure(write_bytes("m.jsonl.gz", many, 3 * size), MEP_ERROR_FORMAT, "not gzip");
    const packed inner = {"inner.jsonl.gz", one, size - 1};
    expect_failure(write_packed("outer.tar", ARCHIVE_FILTER_NONE, 1, &inner, 1), MEP_ERROR_FORMAT,
                   "outer.tar:inner.jsonl.gz: the gzip data ends");
    free(one);
    free(many);
}

/* An uncompressed tar has checksums of its headers only: no flipped bit in a header loses a member. */
static void test_tar_headers(void **state)
{
    (void)state;
    enum { BLOCK = 512 };
    static documents all;
    const packed three[] = {{"a.txt", "one", 3}, {"b.txt", "two", 3}, {"c.txt", "three", 5}};
    size_t size;
    unsigned char *bytes = read_bytes(write_packed("h.tar", ARCHIVE_FILTER_NONE, 1, three, 3), &size);
    expect_documents(in_folder("h.tar"), "one\ntwo\nthree\n");
    for (size_t block = 0; block <= 4; block += 2) { /* header, data, header, data, header */
        for (size_t bit = block * BLOCK * 8; bit < (block + 1) * BLOCK * 8; ++bit) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            if (read_documents(write_bytes("h.tar", bytes, size), &all) == MEP_OK)
                assert_string_equal(all.text, "one\ntwo\nthree\n");
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        unsigned char saved[BLOCK];
        memcpy(saved, bytes + block * BLOCK, BLOCK);
        bytes[block * BLOCK + 4] ^= 1;
        expect_failure(write_bytes("h.tar", bytes, size), MEP_ERROR_FORMAT, "damaged");
        memset(bytes + block * BLOCK, 0, BLOCK); /* a range of zeros looks like the end of the tar */
        expect_failure(write_bytes("h.tar", bytes, size), MEP_ERROR_FORMAT, "damaged");
        memcpy(bytes + block * BLOCK, saved, BLOCK);
    }
    unsigned char *two = malloc(2 * size);
    memcpy(two, bytes, size);
    memcpy(two + size, bytes, size);
    expect_documents(write_bytes("two.tar", two, 2 * size), "one\ntwo\nthree\none\ntwo\nthree\n");
    free(bytes);
    free(two);
}

/* A handmade zstd frame with a window of 2^log bytes and uncompressed text. */
static const char *write_window(const char *name, int log, const char *text)
{
    unsigned char bytes[256] = {0x28, 0xB5, 0x2F, 0xFD, 0, (unsigned char)((log - 10) << 3)};
    size_t size = strlen(text), head = (size << 3) | 1;
    for (int i = 0; i < 3; ++i) bytes[6 + i] = (unsigned char)(head >> 8 * i);
    memcpy(bytes + 9, text, size);
    return write_bytes(name, bytes, 9 + size);
}

static void test_zstd_window(void **state)
{
    (void)state;
    expect_documents(write_window("w27.jsonl.zst", 27, lines), "one\ntwo\n");
    expect_failure(write_window("w28.jsonl.zst", 28, lines), MEP_ERROR_UNSUPPORTED, "zstd -d --long=31");
    expect_failure(write_window("w31.txt.zst", 31, lines), MEP_ERROR_UNSUPPORTED, "zstd -d --long=31");
    size_t size;
    unsigned char *frame = read_bytes(in_folder("w28.jsonl.zst"), &size);
    const packed member = {"w28.jsonl.zst", frame, size};
    expect_failure(write_packed("w.tar", ARCHIVE_FILTER_NONE, 1, &member, 1), MEP_ERROR_UNSUPPORTED,
                   "w.tar:w28.jsonl.zst: it was compressed with a window");
    free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flipped_bits), cmocka_unit_test(test_missing_end), cmocka_unit_test(test_gzip_trailer),
        cmocka_unit_test(test_gzip_members), cmocka_unit_test(test_tar_headers), cmocka_unit_test(test_zstd_window),
    };
    return cmocka_run_group_tests_name("corpus damage", tests, text_folder_make, text_folder_remove);
}
