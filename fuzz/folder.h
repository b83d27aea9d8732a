/* SPDX-License-Identifier: MIT */
/*
 * A folder in /tmp for fuzzers of parsers that read files. It is made with the first file and removed, with its
 * content, at the end of the process. Define _XOPEN_SOURCE 700 before including this file.
 */
#ifndef MEP_FUZZ_FOLDER_H
#define MEP_FUZZ_FOLDER_H

#include <stdio.h>

#include "fuzz.h"
#include "io/files.h"

static char fuzz_folder[32];

static inline void remove_fuzz_folder(void)
{
    if (mep_remove_tree(fuzz_folder) != MEP_OK) abort();
}

/* The path of a file in the folder, which is made if it does not exist. */
static inline void file_path(const char *name, char path[64])
{
    if (fuzz_folder[0] == '\0') {
        snprintf(fuzz_folder, sizeof fuzz_folder, "/tmp/mep-fuzz-XXXXXX");
        if (mkdtemp(fuzz_folder) == NULL || atexit(remove_fuzz_folder) != 0) abort();
    }
    if (snprintf(path, 64, "%s/%s", fuzz_folder, name) >= 64) abort();
}

static inline void put_file(const char *name, const void *data, size_t size)
{
    char path[64];
    file_path(name, path);
    remove(path); /* a new file: ext4 writes a truncated one to the disk at once, which takes a hundred times longer */
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

#endif
