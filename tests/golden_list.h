/* SPDX-License-Identifier: MIT */
/*
 * The list of golden files: names in the golden folder by their beginning and end, sorted, so that a folder with other
 * or more files than the default one is tested completely. It opens no file.
 */
#ifndef MEP_TESTS_GOLDEN_LIST_H
#define MEP_TESTS_GOLDEN_LIST_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

enum { GOLDEN_NAMES = 256, GOLDEN_NAME = 256 };

typedef struct golden_list {
    int count;
    char names[GOLDEN_NAMES][GOLDEN_NAME]; /* without the beginning and the end */
} golden_list;

static inline int golden_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names PREFIX*SUFFIX of the golden folder. Fails the test where there is none, or where the default folder lacks one
 * of `known` (a list with a last NULL). */
static inline void golden_find(const char *prefix, const char *suffix, const char *const *known, golden_list *list)
{
    size_t before = strlen(prefix), after = strlen(suffix);
    DIR *folder = opendir(golden_path(""));
    if (folder == NULL) fail_msg("cannot open the golden folder %s", golden_path(""));
    list->count = 0;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        size_t length = strlen(entry->d_name);
        if (length <= before + after || strncmp(entry->d_name, prefix, before) != 0 ||
            strcmp(entry->d_name + length - after, suffix) != 0)
            continue;
        assert_true(list->count < GOLDEN_NAMES && length < GOLDEN_NAME);
        memcpy(list->names[list->count], entry->d_name + before, length - before - after);
        list->names[list->count++][length - before - after] = '\0';
    }
    closedir(folder);
    qsort(list->names, (size_t)list->count, sizeof list->names[0], golden_order);
    if (list->count == 0) fail_msg("%s holds no %s*%s", golden_path(""), prefix, suffix);
    const char *elsewhere = getenv("MEP_GOLDEN_DIR");
    for (; (elsewhere == NULL || *elsewhere == '\0') && *known != NULL; known++)
        if (bsearch(*known, list->names, (size_t)list->count, sizeof list->names[0], golden_order) == NULL)
            fail_msg("%s lacks %s%s%s", golden_path(""), prefix, *known, suffix);
}

#endif
