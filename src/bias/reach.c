/* SPDX-License-Identifier: MIT */
/*
 * The reach of a head: the distance at and beyond which its bias stays at or below a bound.
 *
 * Each kernel has an upper bound for all distances of d and above, which does not rise with d. The mixture of these
 * bounds is such a bound of the mixture, so bisection finds the reach. Where the weights depend on the query, the
 * largest of the kernels bounds the mixture for all weights.
 */
#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "bias/bias_internal.h"
#include "bias/table.h"

/* How the values of the kernels are combined: mep_bias_mix or mep_bias_largest. */
typedef double (*combination)(const mep_bias *bias, int64_t head, const double *values);

/* An upper bound of the combination, and of its value in a table, over d = from .. to. values [terms, heads] is
 * scratch. It is larger by a few units in the last place where rounding in the mixture could let b rise. */
static double upper_bound(const mep_bias *bias, combination combine, int64_t head, int64_t from, int64_t to,
                          double *values)
{
    for (int m = 0; m < bias->spec.count; m++) {
        const mep_term *term = &bias->terms[m];
        double *out = values + m * bias->heads;
        if (term->kernel->sup == NULL)
            term->kernel->log_value(term, (double)from, out);
        else
            term->kernel->sup(term, (double)from, (double)to, out);
    }
    double bound = combine(bias, head, values);
    if (bias->spec.count > 1) bound += 1e-14 * (1.0 + fabs(bound));
    return fmax(bound, (float)bound);
}

static mep_status find_reach(const mep_bias *bias, combination combine, double bound, int64_t max_distance,
                             int64_t *reach)
{
    if (max_distance < 0 || max_distance > MEP_DISTANCE_MAX)
        return mep_fail(MEP_ERROR_ARGUMENT, "the largest distance must be from 0 to 2^31, but is %lld",
                        (long long)max_distance);
    if (isnan(bound)) return mep_fail(MEP_ERROR_ARGUMENT, "the bound of a reach must be a number");
    double *values;
    MEP_TRY(MEP_ALLOC(&values, bias->spec.count * bias->heads));
    for (int64_t h = 0; h < bias->heads; h++) {
        int64_t low = 0, high = max_distance + 1; /* b is at or below the bound from `high` on */
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (upper_bound(bias, combine, h, middle, max_distance, values) <= bound)
                high = middle;
            else
                low = middle + 1;
        }
        reach[h] = high;
    }
    mep_free(&values);
    return MEP_OK;
}

mep_status mep_bias_reach(const mep_bias *bias, double bound, int64_t max_distance, int64_t *reach)
{
    MEP_REQUIRE(bias, reach);
    return find_reach(bias, mep_bias_mix, bound, max_distance, reach);
}

mep_status mep_bias_kernels_reach(const mep_bias *bias, double bound, int64_t max_distance, int64_t *reach)
{
    return find_reach(bias, mep_bias_largest, bound, max_distance, reach);
}

mep_status mep_bias_kernels_at_zero(const mep_bias *bias, double *lowest, double *highest)
{
    double *values;
    MEP_TRY(MEP_ALLOC(&values, bias->spec.count * bias->heads));
    mep_bias_log_values(bias, 0, values);
    for (int64_t h = 0; h < bias->heads; h++) {
        highest[h] = mep_bias_largest(bias, h, values);
        lowest[h] = highest[h];
        for (int m = 0; m < bias->spec.count; m++) lowest[h] = fmin(lowest[h], values[m * bias->heads + h]);
    }
    mep_free(&values);
    return MEP_OK;
}
