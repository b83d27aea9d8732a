/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without libFuzzer on every file of a folder, complete and truncated at many lengths. The test
 * suite replays fuzz/corpus/NAME with it under any compiler. Usage: replay_NAME FOLDER
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 1 << 20, CUTS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of the exact size, so that a sanitizer detects a read after it. */
static void give(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) exit(1);
    for (size_t i = 0; i < size; i++) copy[i] = data[i];
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int replay(const char *path)
{
    static uint8_t data[LIMIT];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 0;
    size_t size = fread(data, 1, LIMIT, file);
    fclose(file);
    give(data, size);
    for (size_t cut = 0; cut < CUTS; cut++) give(data, size * cut / CUTS);
    return 1;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    struct dirent *entry;
    int count = 0;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(folder)) != NULL) {
        char path[4096];
        int written = snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        if (entry->d_name[0] != '.' && written > 0 && written < (int)sizeof path) count += replay(path);
    }
    closedir(folder);
    printf("%d inputs, each complete and truncated at %d lengths\n", count, CUTS);
    return count > 0 ? 0 : 1;
}
