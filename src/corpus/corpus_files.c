/* SPDX-License-Identifier: MIT */
/*
 * Finds the files of a corpus and lists them with their sizes, so that the total is known before reading begins.
 */
#define _POSIX_C_SOURCE 200809L
#include "corpus/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"

/* A growing list of strings. */
typedef struct names {
    char **items;
    int64_t count, capacity;
} names;

static mep_status fail_read(const char *path)
{
    return mep_fail(MEP_ERROR_IO, "cannot read %s: %s; check the name and the permissions", path, strerror(errno));
}

static void names_free(names *list)
{
    for (int64_t i = 0; i < list->count; ++i) mep_free(&list->items[i]);
    mep_free(&list->items);
}

static mep_status names_add(names *list, const char *name)
{
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        MEP_TRY(MEP_GROW(&list->items, list->capacity, capacity));
        list->capacity = capacity;
    }
    MEP_TRY(mep_copy_string(&list->items[list->count], name));
    ++list->count;
    return MEP_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* List the names in a folder that are not hidden, sorted. */
static mep_status list_folder(names *list, const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL) return fail_read(path);
    mep_status status = MEP_OK;
    struct dirent *entry;
    while (status == MEP_OK && (errno = 0, entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') status = names_add(list, entry->d_name);
    }
    if (status == MEP_OK && errno != 0) status = fail_read(path);
    closedir(folder);
    if (list->count > 0) qsort(list->items, (size_t)list->count, sizeof *list->items, compare_names);
    return status;
}

static mep_status add_file(mep_corpus_files *files, const char *path, const struct stat *info)
{
    if (files->count == files->capacity) {
        int64_t capacity = files->capacity == 0 ? 16 : 2 * files->capacity;
        MEP_TRY(MEP_GROW(&files->items, files->capacity, capacity));
        files->capacity = capacity;
    }
    mep_corpus_file *file = &files->items[files->count];
    MEP_TRY(mep_copy_string(&file->path, path));
    file->input = files->inputs;
    if (S_ISREG(info->st_mode)) {
        file->size = (int64_t)info->st_size;
        file->modified = (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
    }
    ++files->count;
    return MEP_OK;
}

static mep_status add_folder(mep_corpus_files *files, const char *path);

/* Add one entry of a folder. Links to files are followed; links to folders are not, because they can form cycles. */
static mep_status add_entry(mep_corpus_files *files, const char *path)
{
    struct stat info, link;
    if (stat(path, &info) != 0 || lstat(path, &link) != 0) return fail_read(path);
    if (S_ISREG(info.st_mode)) return add_file(files, path, &info);
    return S_ISDIR(link.st_mode) ? add_folder(files, path) : MEP_OK;
}

static mep_status add_folder(mep_corpus_files *files, const char *path)
{
    names list = {0};
    mep_status status = list_folder(&list, path);
    const char *slash = path[strlen(path) - 1] == '/' ? "" : "/";
    for (int64_t i = 0; status == MEP_OK && i < list.count; ++i) {
        char *entry = NULL;
        status = mep_format(&entry, "%s%s%s", path, slash, list.items[i]);
        if (status == MEP_OK) status = add_entry(files, entry);
        mep_free(&entry);
    }
    names_free(&list);
    return status;
}

mep_status mep_corpus_files_add(mep_corpus_files *files, const char *path)
{
    struct stat info;
    MEP_REQUIRE(path);
    if (stat(path, &info) != 0) return fail_read(path);
    MEP_TRY(S_ISDIR(info.st_mode) ? add_folder(files, path) : add_file(files, path, &info));
    ++files->inputs;
    return MEP_OK;
}

mep_status mep_corpus_files_find(mep_corpus_files *files, const char *const *paths, int64_t count)
{
    for (int64_t i = 0; i < count; ++i) MEP_TRY(mep_corpus_files_add(files, paths[i]));
    return MEP_OK;
}

void mep_corpus_files_free(mep_corpus_files *files)
{
    for (int64_t i = 0; i < files->count; ++i) mep_free(&files->items[i].path);
    mep_free(&files->items);
    *files = (mep_corpus_files){0};
}
