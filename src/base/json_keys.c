/* SPDX-License-Identifier: MIT */
/*
 * Checking the keys of a file, and reading it.
 */
#include "base/json_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"

static int is_known(const char *key, const char *const known[])
{
    for (int i = 0; known[i] != NULL; i++)
        if (strcmp(key, known[i]) == 0) return 1;
    return 0;
}

mep_status mep_json_check_keys(json_t *object, const char *file, const char *const known[])
{
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        if (!is_known(key, known))
            return mep_fail(MEP_ERROR_FORMAT,
                            "%s: the key \"%s\" is unknown: the file is damaged, or written by a newer version", file,
                            key);
    }
    return MEP_OK;
}

static size_t read_some(void *buffer, size_t size, void *fd)
{
    int64_t got = mep_fd_read(*(int *)fd, buffer, (int64_t)size, -1);
    return got < 0 ? (size_t)-1 : (size_t)got;
}

json_t *mep_json_load_fd(const char *path, json_error_t *error)
{
    *error = (json_error_t){.line = -1};
    int fd = mep_fd_open(path, O_RDONLY);
    if (fd < 0) {
        snprintf(error->text, sizeof error->text, "cannot open it: %s", strerror(errno));
        return NULL;
    }
    json_t *root = json_load_callback(read_some, &fd, JSON_REJECT_DUPLICATES, error);
    (void)mep_fd_close(fd);
    return root;
}
