/* SPDX-License-Identifier: MIT */
/*
 * Preparing score terms: checks, reversed tables, and the largest value from each distance on.
 */
#include "attention/terms.h"

#include <math.h>

#include "attention/kernels.h"
#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"

/* Values of -inf before and after a head's distances, which the tiles at the ends of a call read. */
enum { FRONT = TILE_ROWS, BACK = TILE_ROWS + BLOCK_KEYS };

mep_status mep_terms_check(const mep_attention_terms *terms, int64_t heads)
{
    if (terms == NULL || terms->table == NULL) return MEP_OK;
    const float *table = terms->table;
    int64_t length = terms->table_length;
    if (length < 1) return mep_fail(MEP_ERROR_ARGUMENT, "a bias table needs a length of 1 or more");
    for (int64_t i = 0; i < heads * length; i++)
        if (!(table[i] < INFINITY) || (i % length == 0 && !isfinite(table[i])))
            return mep_fail(
                MEP_ERROR_NUMERIC,
                "the bias of head %lld at distance %lld is %g; it must be finite, or -inf beyond distance 0",
                (long long)(i / length), (long long)(i % length), (double)table[i]);
    return MEP_OK;
}

int64_t mep_terms_head_size(int64_t distances)
{
    return FRONT + distances + BACK;
}

float *mep_terms_origin(int64_t distances, float *reversed)
{
    return reversed + FRONT + distances;
}

mep_status mep_terms_reserve(mep_terms *t, int64_t heads, int64_t distances)
{
    int64_t floats = 0;
    mep_terms_free(t);
    MEP_TRY(mep_multiply(heads, mep_terms_head_size(distances), sizeof(float), &floats));
    mep_status status = MEP_ALLOC(&t->reversed, heads * mep_terms_head_size(distances));
    if (status == MEP_OK) status = MEP_ALLOC(&t->far_bias, heads * distances);
    if (status != MEP_OK) {
        mep_terms_free(t);
        return status;
    }
    t->heads = heads, t->distances = distances, t->head_size = mep_terms_head_size(distances);
    return MEP_OK;
}

void mep_terms_free(mep_terms *t)
{
    mep_free(&t->reversed);
    mep_free(&t->far_bias);
    *t = (mep_terms){.heads = 0};
}

/* One head: a bias of `length` values, -inf after them; NULL: zero. */
static void reverse(const float *bias, int64_t length, int64_t distances, float *reversed, float *far_bias)
{
    float *origin = mep_terms_origin(distances, reversed), highest = -INFINITY;
    for (int64_t i = 0; i < mep_terms_head_size(distances); i++) reversed[i] = -INFINITY;
    for (int64_t d = distances - 1; d >= 0; d--) {
        float b = bias == NULL ? 0.0f : d < length ? bias[d] : -INFINITY;
        origin[-d] = b;
        highest = b > highest ? b : highest;
        far_bias[d] = highest;
    }
}

void mep_terms_prepare(mep_terms *t, const mep_attention_terms *terms)
{
    const float *table = terms == NULL ? NULL : terms->table;
    int64_t length = table == NULL ? 0 : terms->table_length;
    for (int64_t h = 0; h < t->heads; h++)
        reverse(table == NULL ? NULL : table + h * length, length, t->distances, t->reversed + h * t->head_size,
                t->far_bias + h * t->distances);
}

mep_head_terms mep_terms_of_head(const mep_terms *t, int64_t head)
{
    MEP_ASSERT(head >= 0 && head < t->heads);
    return (mep_head_terms){.bias = mep_terms_origin(t->distances, t->reversed + head * t->head_size),
                            .far_bias = t->far_bias + head * t->distances};
}

float mep_terms_margin(double tolerance, double keys)
{
    const double exact = 104;
    return (float)(tolerance > 0 ? fmin(exact, log(keys / tolerance)) : exact);
}

int mep_terms_may_skip(const mep_head_terms *terms, int64_t keys, float margin)
{
    return mep_terms_bound(terms, keys - 1) < mep_terms_bound(terms, 0) - margin;
}
