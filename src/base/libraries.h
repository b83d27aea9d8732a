/* SPDX-License-Identifier: MIT */
/*
 * Libraries that a build may lack (MEP_OPTIONAL_LIBRARIES): what needs one of them fails with a message that names it.
 * In their place the headers of cmake/absent are compiled, whose functions must not be reached.
 */
#ifndef MEP_BASE_LIBRARIES_H
#define MEP_BASE_LIBRARIES_H

#include "base/error.h"

/* MEP_ERROR_UNSUPPORTED: "this build of libmep has no NAME: WHAT ...". */
mep_status mep_fail_library(const char *name, const char *what);

/* Return from the calling function if the build lacks a library: JANSSON, LIBARCHIVE, ZLIB, PCRE2 or UTF8PROC. */
#define MEP_NEED(LIBRARY, name, what)                                                                                  \
    do {                                                                                                               \
        if (!MEP_HAVE_##LIBRARY) return mep_fail_library((name), (what));                                              \
    } while (0)

#endif
