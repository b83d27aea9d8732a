/* SPDX-License-Identifier: MIT */
/*
 * JSON files: loading, saving and typed getters with human-readable messages.
 */
#include "io/json.h"

#include <stdio.h>

#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "io/files.h"

static const char NO_JSON[] = "model folders, datasets and other files of JSON cannot be read or written";
enum { MAX_FILE = 256 << 20, DUMP_FLAGS = JSON_INDENT(2) | JSON_REAL_PRECISION(17) };

mep_status mep_json_out_of_memory(void)
{
    MEP_NEED(JANSSON, "jansson", NO_JSON);
    return mep_fail(MEP_ERROR_MEMORY, "cannot allocate a JSON object");
}

mep_status mep_json_parse(const char *file, const char *text, int64_t size, json_t **root)
{
    json_error_t error;
    *root = NULL;
    MEP_NEED(JANSSON, "jansson", NO_JSON);
    *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (*root != NULL) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s is not valid JSON: line %d, column %d: %s", file, error.line, error.column,
                    error.text);
}

mep_status mep_json_load(const char *path, json_t **root)
{
    *root = NULL;
    MEP_NEED(JANSSON, "jansson", NO_JSON);
    char *text = NULL;
    int64_t size = 0;
    MEP_TRY(mep_file_read(path, MAX_FILE, &text, &size));
    mep_status status = mep_json_parse(path, text, size, root);
    mep_free(&text);
    return status;
}

mep_status mep_json_dump(const json_t *root, size_t flags, char **text, int64_t *size)
{
    *text = NULL;
    MEP_NEED(JANSSON, "jansson", NO_JSON);
    size_t length = json_dumpb(root, NULL, 0, flags);
    if (length > 0) MEP_TRY(MEP_ALLOC(text, (int64_t)length + 1));
    *size = (int64_t)length;
    if (length > 0 && json_dumpb(root, *text, length, flags) == length) return MEP_OK;
    mep_free(text);
    return mep_fail(MEP_ERROR_MEMORY, "cannot compose JSON: out of memory");
}

mep_status mep_json_save(const char *path, const json_t *root)
{
    char *text = NULL;
    int64_t size = 0;
    MEP_NEED(JANSSON, "jansson", NO_JSON);
    if (!json_is_object(root) && !json_is_array(root))
        return mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: the value is not a JSON object or array", path);
    MEP_TRY(mep_json_dump(root, DUMP_FLAGS, &text, &size));
    text[size] = '\n'; /* replaces the terminating 0 */
    mep_status status = mep_file_write_atomic(path, text, size + 1);
    mep_free(&text);
    return status;
}

static const char *type_text(const json_t *value)
{
    static const char *const texts[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array",     [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a real number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null",
    };
    return texts[json_typeof(value)];
}

/* Find the value of a key; *value is NULL if it is missing. Fails if `object` is not an object. */
static mep_status look_up(const json_t *object, const char *file, const char *key, const json_t **value)
{
    *value = NULL;
    if (object == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s: the object with \"%s\" is missing", file, key);
    if (!json_is_object(object))
        return mep_fail(MEP_ERROR_FORMAT, "%s: must contain an object with \"%s\", found %s", file, key,
                        type_text(object));
    *value = json_object_get(object, key);
    return MEP_OK;
}

/* Report a value (NULL: missing) that differs from what is `expected`. */
static mep_status mismatch(const char *file, const char *key, const char *expected, const json_t *value)
{
    if (value == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" is missing; it must be %s", file, key, expected);
    char found[64];
    if (json_is_integer(value))
        snprintf(found, sizeof found, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(found, sizeof found, "%.15g", json_real_value(value));
    else
        snprintf(found, sizeof found, "%s", type_text(value));
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be %s, found %s", file, key, expected, found);
}

mep_status mep_json_get_int(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                            int64_t *out)
{
    const json_t *value;
    MEP_TRY(look_up(object, file, key, &value));
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < min || number > max) {
        char expected[96];
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)min, (long long)max);
        return mismatch(file, key, expected, value);
    }
    *out = number;
    return MEP_OK;
}

mep_status mep_json_get_number(const json_t *object, const char *file, const char *key, double min, double max,
                               double *out)
{
    const json_t *value;
    MEP_TRY(look_up(object, file, key, &value));
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= min && number <= max)) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return mismatch(file, key, expected, value);
    }
    *out = number;
    return MEP_OK;
}

mep_status mep_json_get_string(const json_t *object, const char *file, const char *key, const char **out)
{
    const json_t *value;
    MEP_TRY(look_up(object, file, key, &value));
    if (!json_is_string(value)) return mismatch(file, key, "a string", value);
    *out = json_string_value(value);
    return MEP_OK;
}

mep_status mep_json_get_bool(const json_t *object, const char *file, const char *key, int *out)
{
    const json_t *value;
    MEP_TRY(look_up(object, file, key, &value));
    if (!json_is_boolean(value)) return mismatch(file, key, "true or false", value);
    *out = json_is_true(value);
    return MEP_OK;
}

/* 1 if the object does not have the key, or its value is null. */
static int absent(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_object(object) && (value == NULL || json_is_null(value));
}

mep_status mep_json_get_int_or(const json_t *object, const char *file, const char *key, int64_t min, int64_t max,
                               int64_t fallback, int64_t *out)
{
    if (!absent(object, key)) return mep_json_get_int(object, file, key, min, max, out);
    *out = fallback;
    return MEP_OK;
}

mep_status mep_json_get_number_or(const json_t *object, const char *file, const char *key, double min, double max,
                                  double fallback, double *out)
{
    if (!absent(object, key)) return mep_json_get_number(object, file, key, min, max, out);
    *out = fallback;
    return MEP_OK;
}

mep_status mep_json_get_string_or(const json_t *object, const char *file, const char *key, const char *fallback,
                                  const char **out)
{
    if (!absent(object, key)) return mep_json_get_string(object, file, key, out);
    *out = fallback;
    return MEP_OK;
}

mep_status mep_json_get_bool_or(const json_t *object, const char *file, const char *key, int fallback, int *out)
{
    if (!absent(object, key)) return mep_json_get_bool(object, file, key, out);
    *out = fallback;
    return MEP_OK;
}
