/* SPDX-License-Identifier: MIT */
/*
 * A term of scores that depends on the position p of the query in addition to the distance d: FIRE (arXiv:2310.04418)
 * beyond its threshold T. It is a function of x = log(1 + c d) / log(1 + c max(p, T)) that consists of linear pieces,
 * so a row of scores needs one number of its own, and nothing of size queries x keys is stored.
 *
 * Up to T the term is a table of the distance, and the terms' table computes it. The tiles of queries that have a
 * position beyond T on the grid (plan.h) compute the function instead, in all of their rows. Which of the two a query
 * gets depends on its position alone, not on the call.
 */
#ifndef MEP_ATTENTION_FIRE_H
#define MEP_ATTENTION_FIRE_H

#include "mep/attention.h"

typedef struct mep_fire {
    double c;                     /* > 0 */
    int64_t threshold;            /* T >= 1 */
    int64_t first;                /* position of the first key of calls: a multiple of 64 */
    int64_t pieces, row;          /* >= 1; values of a row of slope and offset */
    const double *knots;          /* [pieces - 1]: where the pieces meet; ascending, in (0, 1) */
    const double *slope, *offset; /* [heads, row]: slope x + offset */
} mep_fire;

/* A bound of what rounding to float32 and the kernels add to values of one head. */
double mep_fire_rounding(int64_t pieces, const double *slope, const double *offset);

/* Add the term to those of the plan's table, until the next mep_attention_set_terms; the arrays are copied. Backward
 * calls increase sums[heads, row, 3], unless it is NULL: in each piece the sums of dS, dS x and dS dx/dc over the
 * scores that the function has computed. MEP_ERROR_UNSUPPORTED where the plan's device does not compute it. */
mep_status mep_attention_set_fire(mep_attention *plan, const mep_fire *fire, double *sums);

#endif
