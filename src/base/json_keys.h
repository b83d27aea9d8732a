/* SPDX-License-Identifier: MIT */
/*
 * A JSON object of our own files holds the keys that we write, and no others: a letter that flipped in a key must not
 * drop its value.
 */
#ifndef MEP_BASE_JSON_KEYS_H
#define MEP_BASE_JSON_KEYS_H

#include <jansson.h>

#include "mep/status.h"

/* MEP_ERROR_FORMAT, naming the file and the first key of `object` that is not in `known` (which ends with NULL). */
mep_status mep_json_check_keys(json_t *object, const char *file, const char *const known[]);

#endif
