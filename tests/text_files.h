/* SPDX-License-Identifier: MIT */
/*
 * Files for the tests of the text rooms: a folder that is removed at the end, with plain and compressed files in it.
 * Define _XOPEN_SOURCE 700 and include cmocka.h first.
 */
#ifndef MEP_TESTS_TEXT_FILES_H
#define MEP_TESTS_TEXT_FILES_H

#include <archive.h>
#include <archive_entry.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char text_folder[256];

static inline int text_folder_make(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(text_folder, sizeof text_folder, "%s/mep-text-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
    return mkdtemp(text_folder) == NULL;
}

static inline int text_remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static inline void text_remove(const char *path)
{
    nftw(path, text_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int text_folder_remove(void **state)
{
    (void)state;
    text_remove(text_folder);
    return 0;
}

/* The path of `name` in the folder, in one of eight static buffers. */
static inline const char *in_folder(const char *name)
{
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", text_folder, name);
    return path;
}

/* Write a file and return its path. */
static inline const char *write_bytes(const char *name, const void *data, size_t size)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *write_text(const char *name, const char *text)
{
    return write_bytes(name, text, strlen(text));
}

/* Read a complete file; *size is its length. The caller frees the result. */
static inline unsigned char *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

/* 1 if PREFIX + suffix exists. */
static inline int exists_with(const char *prefix, const char *suffix)
{
    char path[1200];
    snprintf(path, sizeof path, "%s%s", prefix, suffix);
    return access(path, F_OK) == 0;
}

/* The files a + suffix and b + suffix have the same bytes. */
static inline void expect_same_file(const char *a, const char *b, const char *suffix)
{
    char paths[2][1200];
    size_t sizes[2];
    snprintf(paths[0], sizeof paths[0], "%s%s", a, suffix);
    snprintf(paths[1], sizeof paths[1], "%s%s", b, suffix);
    unsigned char *data[2] = {read_bytes(paths[0], &sizes[0]), read_bytes(paths[1], &sizes[1])};
    if (sizes[0] != sizes[1] || memcmp(data[0], data[1], sizes[0]) != 0) fail_msg("%s differs", paths[0]);
    free(data[0]);
    free(data[1]);
}

/* A member of a tar, or the content of a compressed file. */
typedef struct packed {
    const char *name;
    const void *data;
    size_t size;
} packed;

/* Write members with ARCHIVE_FILTER_* `filter` as a tar, or one member without a tar. Returns the path. */
static inline const char *write_packed(const char *name, int filter, int tar, const packed *members, int count)
{
    const char *path = in_folder(name);
    struct archive *archive = archive_write_new();
    assert_non_null(archive);
    assert_int_equal(archive_write_add_filter(archive, filter), ARCHIVE_OK);
    assert_int_equal(tar ? archive_write_set_format_pax_restricted(archive) : archive_write_set_format_raw(archive),
                     ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    for (int i = 0; i < count; ++i) {
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, members[i].name);
        archive_entry_set_size(entry, (la_int64_t)members[i].size);
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_perm(entry, 0644);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        assert_int_equal(archive_write_data(archive, members[i].data, members[i].size), members[i].size);
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_write_free(archive);
    return path;
}

#endif
