/* SPDX-License-Identifier: MIT */
/*
 * JSON files with jansson, and errors that name the file, the key and what was expected:
 *     runs/a/config.json: "hidden_size" must be an integer from 1 to 1048576, found a string
 * There is no schema: a caller reads each key that it needs. The parameter `file` of the getters is only for messages.
 */
#ifndef MEP_IO_JSON_H
#define MEP_IO_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "mep/status.h"

/* MEP_ERROR_MEMORY, where jansson returned NULL. */
mep_status mep_json_out_of_memory(void);

/* Parse `size` bytes; duplicate keys, invalid UTF-8 and anything after the value are MEP_ERROR_FORMAT. The caller
 * releases *root with json_decref; it is NULL on failure. It can be any value: an object only if json_is_object. */
mep_status mep_json_parse(const char *file, const char *text, int64_t size, json_t **root);

/* The same for a file, of at most 256 MB. */
mep_status mep_json_load(const char *path, json_t **root);

/* The text of an object or array with jansson's flags, ending with a 0 byte; free *text with mep_free. json_dumps is
 * not used because it omits keys without an error if memory runs out. */
mep_status mep_json_dump(const json_t *root, size_t flags, char **text, int64_t *size);

/* Write atomically: two spaces of indentation, keys in insertion order, reals with 17 digits, which preserve the value.
 */
mep_status mep_json_save(const char *path, const json_t *root);

/* The value of a key that must exist, within [min, max]; MEP_ERROR_FORMAT otherwise. A number may be written as an
 * integer, but an integer may not be written as a real (1.0). A string belongs to the object. A bool is 0 or 1. *out is
 * unchanged on failure. */
mep_status mep_json_get_int(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                            int64_t *out);
mep_status mep_json_get_number(const json_t *object, const char *file, const char *key, double min, double max,
                               double *out);
mep_status mep_json_get_string(const json_t *object, const char *file, const char *key, const char **out);
mep_status mep_json_get_bool(const json_t *object, const char *file, const char *key, int *out);

/* The same for a key that may be missing or null: *out is then `fallback`, which need not be in the range. */
mep_status mep_json_get_int_or(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                               int64_t fallback, int64_t *out);
mep_status mep_json_get_number_or(const json_t *object, const char *file, const char *key, double min, double max,
                                  double fallback, double *out);
mep_status mep_json_get_string_or(const json_t *object, const char *file, const char *key, const char *fallback,
                                  const char **out);
mep_status mep_json_get_bool_or(const json_t *object, const char *file, const char *key, int fallback, int *out);

#endif
