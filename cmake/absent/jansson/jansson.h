/* SPDX-License-Identifier: MIT */
/*
 * In place of jansson in a build without it (MEP_OPTIONAL_LIBRARIES): what the sources name of it, so that they compile.
 * No value can be made, so no function does anything; callers fail before they call one (MEP_NEED).
 */
#ifndef MEP_ABSENT_JANSSON_H
#define MEP_ABSENT_JANSSON_H

#include <stddef.h>
#include <stdio.h>

typedef struct json_t json_t;
typedef long long json_int_t;
typedef size_t (*json_load_callback_t)(void *buffer, size_t size, void *data);
typedef enum {
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_INTEGER,
    JSON_REAL,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
} json_type;
typedef struct json_error_t {
    int line, column, position;
    char source[80], text[160];
} json_error_t;

enum {
    JSON_ALLOW_NUL,
    JSON_COMPACT,
    JSON_DECODE_ANY,
    JSON_DECODE_INT_AS_REAL,
    JSON_ENCODE_ANY,
    JSON_ENSURE_ASCII,
    JSON_REJECT_DUPLICATES,
    JSON_SORT_KEYS
};
#define JSON_INDENT(n) ((size_t)(n))
#define JSON_REAL_PRECISION(n) ((size_t)(n))

/* The result of a function for a value that does not exist; its arguments are evaluated. */
#define MEP_ABSENT(result, ...) \
    {                           \
        (void)(__VA_ARGS__);    \
        return result;          \
    }

static inline json_type json_typeof(const json_t *v) MEP_ABSENT(JSON_NULL, v)
static inline int json_is_object(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_array(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_string(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_integer(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_real(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_number(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_boolean(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_true(const json_t *v) MEP_ABSENT(0, v)
static inline int json_is_null(const json_t *v) MEP_ABSENT(0, v)

static inline json_t *json_object(void) MEP_ABSENT(NULL, 0)
static inline json_t *json_array(void) MEP_ABSENT(NULL, 0)
static inline json_t *json_null(void) MEP_ABSENT(NULL, 0)
static inline json_t *json_true(void) MEP_ABSENT(NULL, 0)
static inline json_t *json_false(void) MEP_ABSENT(NULL, 0)
static inline json_t *json_boolean(int value) MEP_ABSENT(NULL, value)
static inline json_t *json_integer(json_int_t value) MEP_ABSENT(NULL, value)
static inline json_t *json_real(double value) MEP_ABSENT(NULL, value)
static inline json_t *json_string(const char *text) MEP_ABSENT(NULL, text)
static inline json_t *json_stringn(const char *text, size_t size) MEP_ABSENT(NULL, text, size)
static inline json_t *json_pack(const char *format, ...) MEP_ABSENT(NULL, format)
static inline json_t *json_copy(json_t *v) MEP_ABSENT(NULL, v)
static inline json_t *json_deep_copy(const json_t *v) MEP_ABSENT(NULL, v)
static inline json_t *json_incref(json_t *v) MEP_ABSENT(NULL, v)
static inline void json_decref(json_t *v) MEP_ABSENT(, v)
static inline int json_equal(const json_t *a, const json_t *b) MEP_ABSENT(0, a, b)

static inline json_int_t json_integer_value(const json_t *v) MEP_ABSENT(0, v)
static inline double json_real_value(const json_t *v) MEP_ABSENT(0, v)
static inline double json_number_value(const json_t *v) MEP_ABSENT(0, v)
static inline const char *json_string_value(const json_t *v) MEP_ABSENT(NULL, v)
static inline size_t json_string_length(const json_t *v) MEP_ABSENT(0, v)

static inline size_t json_array_size(const json_t *v) MEP_ABSENT(0, v)
static inline json_t *json_array_get(const json_t *v, size_t index) MEP_ABSENT(NULL, v, index)
static inline int json_array_append(json_t *v, json_t *item) MEP_ABSENT(-1, v, item)
static inline int json_array_append_new(json_t *v, json_t *item) MEP_ABSENT(-1, v, item)
static inline int json_array_remove(json_t *v, size_t index) MEP_ABSENT(-1, v, index)
static inline size_t json_object_size(const json_t *v) MEP_ABSENT(0, v)
static inline json_t *json_object_get(const json_t *v, const char *key) MEP_ABSENT(NULL, v, key)
static inline int json_object_set(json_t *v, const char *key, json_t *item) MEP_ABSENT(-1, v, key, item)
static inline int json_object_set_new(json_t *v, const char *key, json_t *item) MEP_ABSENT(-1, v, key, item)
static inline int json_object_del(json_t *v, const char *key) MEP_ABSENT(-1, v, key)
static inline int json_object_update(json_t *v, json_t *other) MEP_ABSENT(-1, v, other)
static inline void *json_object_iter(json_t *v) MEP_ABSENT(NULL, v)
static inline void *json_object_iter_next(json_t *v, void *at) MEP_ABSENT(NULL, v, at)
static inline const char *json_object_iter_key(void *at) MEP_ABSENT(NULL, at)
static inline json_t *json_object_iter_value(void *at) MEP_ABSENT(NULL, at)
#define json_array_foreach(array, index, value) for ((index) = 0; ((value) = json_array_get(array, index)) != NULL; ++(index))
#define json_object_foreach(object, key, value) \
    for ((key) = json_object_iter_key(json_object_iter(object)); (key) != NULL && ((value) = json_object_iter_value(NULL)); )

static inline json_t *json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
    MEP_ABSENT(NULL, text, size, flags, error)
static inline json_t *json_loads(const char *text, size_t flags, json_error_t *error)
    MEP_ABSENT(NULL, text, flags, error)
static inline json_t *json_load_callback(json_load_callback_t read, void *data, size_t flags, json_error_t *error)
    MEP_ABSENT(NULL, read, data, flags, error)
static inline char *json_dumps(const json_t *v, size_t flags) MEP_ABSENT(NULL, v, flags)
static inline size_t json_dumpb(const json_t *v, char *text, size_t size, size_t flags)
    MEP_ABSENT(0, v, text, size, flags)
static inline int json_dumpf(const json_t *v, FILE *file, size_t flags) MEP_ABSENT(-1, v, file, flags)

#endif
