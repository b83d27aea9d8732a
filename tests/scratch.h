/* SPDX-License-Identifier: MIT */
/*
 * A scratch folder for tests that write files: made at the first call, under TMPDIR or /tmp.
 */
#ifndef MEP_TESTS_SCRATCH_H
#define MEP_TESTS_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>

/* The path of `name` in the scratch folder; "" gives the folder. The string is in one of eight static buffers, used in
 * turn. */
static inline const char *scratch_path(const char *name)
{
    enum { BUFFERS = 8 };
    static char folder[256], paths[BUFFERS][512];
    static int next;
    if (folder[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/mep-test-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
        if (mkdtemp(folder) == NULL) {
            perror(folder);
            exit(1);
        }
    }
    char *path = paths[next++ % BUFFERS];
    snprintf(path, sizeof paths[0], "%s%s%s", folder, *name != '\0' ? "/" : "", name);
    return path;
}

#endif
