/* SPDX-License-Identifier: MIT */
/*
 * ALiBi's slopes, the one place where they are computed.
 */
#include <math.h>

#include "base/error.h"
#include "mep/bias.h"

/* Slope number i, from 1, of `heads` heads, a power of two. */
static double slope(int64_t i, int64_t heads)
{
    return exp2(-8.0 * (double)i / (double)heads);
}

/* Those of the largest power of two within `heads`, then every other one of twice as many. */
mep_status mep_alibi_slopes(int64_t heads, double *slopes)
{
    MEP_REQUIRE(slopes);
    if (heads < 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "the number of heads must be at least 1, but is %lld", (long long)heads);
    int64_t power = 1;
    while (power <= heads / 2) power *= 2;
    for (int64_t h = 0; h < power; h++) slopes[h] = slope(h + 1, power);
    for (int64_t h = power; h < heads; h++) slopes[h] = slope(2 * (h - power) + 1, 2 * power);
    return MEP_OK;
}
