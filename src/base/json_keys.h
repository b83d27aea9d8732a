/* SPDX-License-Identifier: MIT */
/*
 * The keys of the project's own JSON files, for rooms that may not include io/json.h. An object has the keys that the
 * project writes and no others, because a changed letter in a key must not drop its value.
 */
#ifndef MEP_BASE_JSON_KEYS_H
#define MEP_BASE_JSON_KEYS_H

#include <jansson.h>

#include "mep/status.h"

/* MEP_ERROR_FORMAT where `object` has a key that is not in `known`, which ends with NULL; the message names the file
 * and the key. */
mep_status mep_json_check_keys(json_t *object, const char *file, const char *const known[]);

/* Parse a file; duplicate keys are errors. NULL on failure, like json_load_file. */
json_t *mep_json_load_fd(const char *path, json_error_t *error);

#endif
