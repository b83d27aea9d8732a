/* SPDX-License-Identifier: MIT */
/*
 * Where the golden files are: the folder named by the environment variable MEP_GOLDEN_DIR, else the one that the build
 * names (tests/golden). It reads nothing itself.
 */
#ifndef MEP_TESTS_GOLDEN_H
#define MEP_TESTS_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>

/* The path of the golden file or folder `name` ("bias.json", "gpt_mep/config.json"); "" gives the folder. The string is
 * in a static buffer: good until the next call. */
static inline const char *golden_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("MEP_GOLDEN_DIR");
    if (folder == NULL || *folder == '\0') folder = MEP_GOLDEN_DEFAULT;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Likewise for the files of the second oracle: MEP_GOLDEN2_DIR, else tests/golden2. */
static inline const char *golden2_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("MEP_GOLDEN2_DIR");
    if (folder == NULL || *folder == '\0') folder = MEP_GOLDEN2_DEFAULT;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The same in the repository's own folder, whatever MEP_GOLDEN_DIR says: for tests of files, not of numbers. */
#define GOLDEN_OWN(name) (MEP_GOLDEN_DEFAULT "/" name)

#endif
