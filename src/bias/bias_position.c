/* SPDX-License-Identifier: MIT */
/*
 * Biases that depend on the position of the query: their values, and as functions of one coordinate.
 */
#include "base/error.h"
#include "base/memory.h"
#include "bias/bias_internal.h"
#include "bias/table.h"

/* The term that depends on the position; NULL: there is none. Such a kernel is alone. */
static const mep_term *find_term(const mep_bias *bias)
{
    return bias != NULL && bias->terms[0].kernel->threshold != NULL ? &bias->terms[0] : NULL;
}

int64_t mep_bias_threshold(const mep_bias *bias)
{
    const mep_term *term = find_term(bias);
    return term != NULL ? term->kernel->threshold(term) : INT64_MAX;
}

mep_status mep_bias_at_position(const mep_bias *bias, int64_t position, const int64_t *distances, int64_t count,
                                double *out)
{
    MEP_REQUIRE(bias);
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "there are no %lld distances", (long long)count);
    if (count > 0) MEP_REQUIRE(distances, out);
    if (position < 0 || position > MEP_DISTANCE_MAX)
        return mep_fail(MEP_ERROR_ARGUMENT, "a position must be from 0 to 2^31, but is %lld", (long long)position);
    const mep_term *term = find_term(bias);
    if (term == NULL) return mep_bias_at(bias, distances, count, out);
    for (int64_t n = 0; n < count; n++)
        if (distances[n] < 0 || distances[n] > position)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "a query at position %lld has distances from 0 to %lld, but one is %lld",
                            (long long)position, (long long)position, (long long)distances[n]);
    double *values;
    MEP_TRY(MEP_ALLOC(&values, bias->heads));
    for (int64_t n = 0; n < count; n++) {
        term->kernel->value_at(term, (double)position, (double)distances[n], values);
        for (int64_t h = 0; h < bias->heads; h++) out[h * count + n] = values[h];
    }
    mep_free(&values);
    return MEP_OK;
}

int mep_bias_get_pieces(const mep_bias *bias, mep_bias_pieces *pieces)
{
    const mep_term *term = find_term(bias);
    if (term != NULL) term->kernel->pieces(term, pieces);
    return term != NULL;
}

void mep_bias_pieces_backward(const mep_bias *bias, const double *sums, double *dparams)
{
    const mep_term *term = find_term(bias);
    if (term != NULL) term->kernel->pieces_gradient(term, sums, dparams);
}
