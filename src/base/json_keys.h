/* SPDX-License-Identifier: MIT */
/*
 * Our own JSON files, where io/json.h is out of reach. An object holds the keys that we write, and no others: a letter
 * that flipped in a key must not drop its value.
 */
#ifndef MEP_BASE_JSON_KEYS_H
#define MEP_BASE_JSON_KEYS_H

#include <jansson.h>

#include "mep/status.h"

/* MEP_ERROR_FORMAT, naming the file and the first key of `object` that is not in `known` (which ends with NULL). */
mep_status mep_json_check_keys(json_t *object, const char *file, const char *const known[]);

/* Parse a file; duplicate keys are errors. NULL on failure, as json_load_file. */
json_t *mep_json_load_fd(const char *path, json_error_t *error);

#endif
