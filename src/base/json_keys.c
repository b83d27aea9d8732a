/* SPDX-License-Identifier: MIT */
/*
 * Keys that a file must not have.
 */
#include "base/json_keys.h"

#include <string.h>

#include "base/error.h"

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
