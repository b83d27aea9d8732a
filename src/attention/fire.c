/* SPDX-License-Identifier: MIT */
/*
 * Preparing the function of fire.h: its pieces in float32, their upper bounds, and the tables of the distance that
 * tiles read.
 */
#include "attention/fire.h"

#include <math.h>

#include "attention/terms.h"
#include "base/error.h"
#include "base/memory.h"

static mep_status allocate(mep_fire_tables *f, int64_t heads, int64_t pieces, int64_t distances)
{
    int64_t table = mep_terms_head_size(distances, 0), size = 0;
    MEP_TRY(mep_multiply(heads, pieces, 1, &size));
    MEP_TRY(MEP_ALLOC(&f->knots, pieces));
    MEP_TRY(MEP_ALLOC(&f->slope, size));
    MEP_TRY(MEP_ALLOC(&f->offset, size));
    MEP_TRY(MEP_ALLOC(&f->highest, size));
    MEP_TRY(MEP_ALLOC(&f->error, heads));
    MEP_TRY(MEP_ALLOC(&f->mask, table));
    MEP_TRY(MEP_ALLOC(&f->mask_far, distances));
    MEP_TRY(MEP_ALLOC(&f->logarithm, table));
    MEP_TRY(MEP_ALLOC(&f->rate, table));
    f->room = pieces;
    return MEP_OK;
}

/* Memory for up to `pieces`; it is kept from call to call. */
static mep_status reserve(mep_fire_tables *f, int64_t heads, int64_t pieces, int64_t distances)
{
    if (pieces <= f->room) return MEP_OK;
    mep_fire_free(f);
    mep_status status = allocate(f, heads, pieces, distances);
    if (status != MEP_OK) mep_fire_free(f);
    return status;
}

double mep_fire_rounding(int64_t pieces, const double *slope, const double *offset)
{
    double size = 0, change = 0;
    for (int64_t g = 0; g < pieces; g++) {
        size = fmax(size, fabs(slope[g]) + fabs(offset[g]));
        if (g > 0) change += fabs(slope[g] - slope[g - 1]);
    }
    return 1e-6 * (size + change);
}

/* One head's pieces. `highest` and `error` are bounds of what the kernel computes in float32. */
static void prepare_head(mep_fire_tables *f, const mep_fire *fire, int64_t head)
{
    const double *slope = fire->slope + head * fire->row, *offset = fire->offset + head * fire->row;
    int64_t at = head * f->pieces;
    double highest = -INFINITY;
    for (int64_t g = f->pieces - 1; g >= 0; g--) {
        double end = g < f->pieces - 1 ? fire->knots[g] : 1;
        highest = fmax(highest, slope[g] * end + offset[g]);
        f->highest[at + g] = (float)highest;
        f->slope[at + g] = (float)slope[g];
        f->offset[at + g] = (float)offset[g];
    }
    f->error[head] = (float)mep_fire_rounding(f->pieces, slope, offset);
}

/* Distances that the tables do not have are masked, as in the terms' table. */
static void prepare_tables(mep_terms *t, mep_fire_tables *f)
{
    float *mask = mep_terms_origin(t->distances, f->mask), *logarithm = mep_terms_origin(t->distances, f->logarithm),
          *rate = mep_terms_origin(t->distances, f->rate);
    for (int64_t i = 0; i < mep_terms_head_size(t->distances, 0); i++) f->mask[i] = -INFINITY;
    for (int64_t d = 0; d < t->distances; d++) {
        f->mask_far[d] = mask[-d] = t->window > 0 && d >= t->window ? -INFINITY : 0;
        logarithm[-d] = (float)log1p(f->c * (double)d);
        rate[-d] = (float)((double)d / (1 + f->c * (double)d));
    }
}

mep_status mep_terms_prepare_fire(mep_terms *t, const mep_fire *fire)
{
    mep_fire_tables *f = &t->fire;
    f->pieces = 0;
    MEP_TRY(reserve(f, t->heads, fire->row, t->distances));
    f->pieces = fire->pieces, f->threshold = fire->threshold, f->first = fire->first, f->c = fire->c;
    for (int64_t g = 0; g < f->pieces - 1; g++) f->knots[g] = (float)fire->knots[g];
    for (int64_t h = 0; h < t->heads; h++) prepare_head(f, fire, h);
    prepare_tables(t, f);
    return MEP_OK;
}
