/* SPDX-License-Identifier: MIT */
/*
 * Building a JSON object member by member, with one check at the end: a value that jansson cannot represent (a text
 * that is not UTF-8, a number that is not finite) or a failed allocation is remembered.
 */
#ifndef MEP_TRAIN_JSON_FIELDS_H
#define MEP_TRAIN_JSON_FIELDS_H

#include <jansson.h>
#include <math.h>
#include <stdint.h>

typedef struct mep_json_fields {
    json_t *object;
    int failed;
} mep_json_fields;

static inline mep_json_fields mep_json_fields_begin(void)
{
    json_t *object = json_object();
    return (mep_json_fields){.object = object, .failed = object == NULL};
}

/* Add a member. `value` is released; NULL is a failure. */
static inline void mep_json_add(mep_json_fields *fields, const char *key, json_t *value)
{
    fields->failed |= json_object_set_new(fields->object, key, value) != 0;
}

static inline void mep_json_add_text(mep_json_fields *fields, const char *key, const char *text)
{
    mep_json_add(fields, key, json_string(text));
}

static inline void mep_json_add_integer(mep_json_fields *fields, const char *key, int64_t number)
{
    mep_json_add(fields, key, json_integer((json_int_t)number));
}

static inline void mep_json_add_number(mep_json_fields *fields, const char *key, double number)
{
    mep_json_add(fields, key, json_real(number));
}

/* null if the number is not finite. */
static inline void mep_json_add_finite(mep_json_fields *fields, const char *key, double number)
{
    mep_json_add(fields, key, isfinite(number) ? json_real(number) : json_null());
}

/* The object, which the caller releases; NULL if a member failed. */
static inline json_t *mep_json_fields_end(mep_json_fields *fields)
{
    if (!fields->failed) return fields->object;
    json_decref(fields->object);
    return NULL;
}

#endif
