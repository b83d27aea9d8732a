/* SPDX-License-Identifier: MIT */
/*
 * Integer helpers for sizes and counts.
 */
#ifndef MEP_BASE_INTEGER_H
#define MEP_BASE_INTEGER_H

#include <stdint.h>

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* a / b rounded up, for a >= 0 and b > 0. */
static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* The smallest multiple of b that is at least a, for a >= 0 and b > 0. */
static inline int64_t round_up(int64_t a, int64_t b)
{
    return ceil_div(a, b) * b;
}

#endif
