/* SPDX-License-Identifier: MIT */
/*
 * A string that is built by appending in printf form.
 */
#ifndef MEP_BASE_STRING_BUILDER_H
#define MEP_BASE_STRING_BUILDER_H

#include <stdint.h>

#include "mep/status.h"

/* Starts as {0}. The owner frees `text` with mep_free. */
typedef struct mep_string_builder {
    char *text; /* NULL before the first call */
    int64_t length, capacity;
} mep_string_builder;

/* Append in printf form. On failure the string is unchanged. */
mep_status mep_string_add(mep_string_builder *string, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
