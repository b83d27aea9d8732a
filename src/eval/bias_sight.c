/* SPDX-License-Identifier: MIT */
/*
 * How far a bias alone lets a head look: its reach, its mass, and whether the mass of all distances is finite.
 */
#include <math.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "mep/measure.h"

static const int64_t FARTHEST = (int64_t)1 << 31, FAR = (int64_t)1 << 20;

/* The kernels' exponential is exactly 0 below this (base/simd.h). */
static const double EXP_ZERO = -87.3;

/* sum exp b(d) of b = -r log d is finite for r > 1. Faster than any power falls -inf; a limit gives 0. */
static int converges(double far, double farthest)
{
    return (farthest - far) / log((double)FARTHEST / (double)FAR) < -1;
}

/* Add exp(b(d) - b(0)) for the distances below `length`, of the first query that has them all, to each head's mass, a
 * chunk of distances at a time. */
static mep_status add_mass(const mep_bias *bias, int64_t length, const double *nearest, mep_bias_sight *sight)
{
    enum { CHUNK = 4096 };
    int64_t heads = mep_bias_heads(bias), distances[CHUNK];
    double *values = NULL;
    mep_status status = MEP_ALLOC(&values, heads * CHUNK);
    for (int64_t first = 0; first < length && status == MEP_OK; first += CHUNK) {
        int64_t count = min_i64(length - first, CHUNK);
        for (int64_t i = 0; i < count; i++) distances[i] = first + i;
        status = mep_bias_at_position(bias, length - 1, distances, count, values);
        for (int64_t i = 0; i < heads * count && status == MEP_OK; i++)
            sight[i / count].mass += exp(values[i] - nearest[i / count]);
    }
    mep_free(&values);
    return status;
}

static mep_status examine(const mep_bias *bias, int64_t length, double *at, int64_t *reach, mep_bias_sight *sight)
{
    enum { POINTS = 3 };
    const int64_t distances[POINTS] = {0, FAR, FARTHEST};
    int64_t heads = mep_bias_heads(bias);
    double *nearest = at + heads * POINTS;
    MEP_TRY(mep_bias_at(bias, distances, POINTS, at));
    for (int64_t h = 0; h < heads; h++) {
        nearest[h] = at[h * POINTS];
        MEP_TRY(mep_bias_reach(bias, nearest[h] + EXP_ZERO, FARTHEST, reach));
        sight[h] = (mep_bias_sight){.reach = reach[h] <= FARTHEST ? reach[h] : -1,
                                    .converges = converges(at[h * POINTS + 1], at[h * POINTS + 2])};
    }
    return add_mass(bias, length, nearest, sight);
}

mep_status mep_bias_sights(const mep_bias *bias, int64_t length, mep_bias_sight *sight)
{
    MEP_REQUIRE(bias, sight);
    double *at = NULL;
    int64_t *reach = NULL, heads = mep_bias_heads(bias);
    if (length < 1 || length > 1 << 26)
        return mep_fail(MEP_ERROR_ARGUMENT, "the length of a mass must be from 1 to 2^26, found %lld",
                        (long long)length);
    mep_status status = MEP_ALLOC(&at, heads * 4);
    if (status == MEP_OK) status = MEP_ALLOC(&reach, heads);
    if (status == MEP_OK) status = examine(bias, length, at, reach, sight);
    mep_free(&at);
    mep_free(&reach);
    return status;
}
