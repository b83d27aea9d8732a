/* SPDX-License-Identifier: MIT */
/*
 * The message about a library that a build lacks, and their list.
 */
#include "base/libraries.h"

#include "mep/types.h"

mep_status mep_fail_library(const char *name, const char *what)
{
    return mep_fail(
        MEP_ERROR_UNSUPPORTED,
        "this build of libmep has no %s: %s; install it with its headers and pkg-config, and build libmep again", name,
        what);
}

const char *mep_missing_libraries(void)
{
    return MEP_MISSING_LIBRARIES;
}
