/* SPDX-License-Identifier: MIT */
/*
 * Sizes of tests under emulation, which is slow: ctest sets MEP_TEST_QUICK for a cross-compiled build.
 * What is checked stays the same, on fewer cases.
 */
#ifndef MEP_TESTS_QUICK_H
#define MEP_TESTS_QUICK_H

#include <stdint.h>
#include <stdlib.h>

static inline int64_t quick(int64_t full, int64_t small)
{
    return getenv("MEP_TEST_QUICK") != NULL ? small : full;
}

#endif
