/* SPDX-License-Identifier: MIT */
/*
 * JSON files over jansson, with errors that name the file, the key and what was expected:
 *     runs/a/config.json: "hidden_size" must be an integer from 1 to 1048576, found a string
 * No schema and no cleverness: a caller asks for each key that it needs. `file` in the getters is only for the message.
 */
#ifndef MEP_IO_JSON_H
#define MEP_IO_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "mep/status.h"

/* Parse `size` bytes; duplicate keys, invalid UTF-8 and anything after the value are MEP_ERROR_FORMAT. *root is the
 * caller's (json_decref), NULL on failure. */
mep_status mep_json_parse(const char *file, const char *text, int64_t size, json_t **root);

/* The same for a file, of at most 256 MB. */
mep_status mep_json_load(const char *path, json_t **root);

/* The text of an object or array with jansson's flags, ending in NUL; *text is the caller's (mep_free). Not json_dumps,
 * which leaves out keys when memory is short and does not say so. */
mep_status mep_json_dump(const json_t *root, size_t flags, char **text, int64_t *size);

/* Write atomically: two spaces of indentation, keys in the order of their insertion, reals with 17 digits, so that they
 * come back as they were. */
mep_status mep_json_save(const char *path, const json_t *root);

/* The value of a key that must be there, within [min, max]; MEP_ERROR_FORMAT otherwise. A number may be written as an
 * integer, an integer not as a real (1.0). A string belongs to the object. A bool is 0 or 1. *out is untouched on
 * failure. */
mep_status mep_json_get_int(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                            int64_t *out);
mep_status mep_json_get_number(const json_t *object, const char *file, const char *key, double min, double max,
                               double *out);
mep_status mep_json_get_string(const json_t *object, const char *file, const char *key, const char **out);
mep_status mep_json_get_bool(const json_t *object, const char *file, const char *key, int *out);

/* The same for a key that may be missing or null: *out is then `fallback`, whatever the range. */
mep_status mep_json_get_int_or(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                               int64_t fallback, int64_t *out);
mep_status mep_json_get_number_or(const json_t *object, const char *file, const char *key, double min, double max,
                                  double fallback, double *out);
mep_status mep_json_get_string_or(const json_t *object, const char *file, const char *key, const char *fallback,
                                  const char **out);
mep_status mep_json_get_bool_or(const json_t *object, const char *file, const char *key, int fallback, int *out);

#endif
