/* SPDX-License-Identifier: MIT */
/*
 * In place of utf8proc in a build without it (MEP_OPTIONAL_LIBRARIES): what the sources name of it, so that they compile.
 * Callers fail before they call a function (MEP_NEED).
 */
#ifndef MEP_ABSENT_UTF8PROC_H
#define MEP_ABSENT_UTF8PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef int32_t utf8proc_int32_t;
typedef ssize_t utf8proc_ssize_t;
typedef enum { UTF8PROC_STABLE = 2, UTF8PROC_COMPAT = 4, UTF8PROC_COMPOSE = 8, UTF8PROC_DECOMPOSE = 16 } utf8proc_option_t;
typedef struct utf8proc_property_t {
    int combining_class;
} utf8proc_property_t;

static inline const utf8proc_property_t *utf8proc_get_property(utf8proc_int32_t code)
{
    static const utf8proc_property_t none = {0};
    (void)code;
    return &none;
}

static inline utf8proc_ssize_t utf8proc_decompose_char(utf8proc_int32_t code, utf8proc_int32_t *out,
                                                       utf8proc_ssize_t size, utf8proc_option_t options, int *boundary)
{
    (void)code, (void)out, (void)size, (void)options, (void)boundary;
    return -1;
}

static inline utf8proc_ssize_t utf8proc_normalize_utf32(utf8proc_int32_t *codes, utf8proc_ssize_t count,
                                                        utf8proc_option_t options)
{
    (void)codes, (void)count, (void)options;
    return -1;
}

#endif
