/* SPDX-License-Identifier: MIT */
/*
 * A string that grows: its capacity doubles.
 */
#include "base/string_builder.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

mep_status mep_string_add(mep_string_builder *string, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int added = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (added < 0) return mep_fail(MEP_ERROR_ARGUMENT, "cannot format a string");
    int64_t needed = string->length + added + 1;
    if (needed > string->capacity) {
        int64_t capacity = max_i64(needed, 2 * string->capacity);
        MEP_TRY(MEP_GROW(&string->text, string->capacity, capacity));
        string->capacity = capacity;
    }
    va_start(args, format);
    vsnprintf(string->text + string->length, (size_t)added + 1, format, args);
    va_end(args);
    string->length += added;
    return MEP_OK;
}
