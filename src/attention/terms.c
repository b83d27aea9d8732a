/* SPDX-License-Identifier: MIT */
/*
 * Preparing score terms: checks, reversed tables, and the largest value at or beyond each distance.
 */
#include "attention/terms.h"

#include <math.h>

#include "attention/kernels.h"
#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"

/* Values of -inf before and after a head's distances, which the tiles at the ends of a call read. */
enum { FRONT = TILE_ROWS, BACK = TILE_ROWS + BLOCK_KEYS };

static mep_status check_table(const mep_attention_terms *t, int64_t heads)
{
    const float *table = t->table;
    int64_t length = t->table_length;
    if (table == NULL && t->table_ahead != NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "terms.table_ahead needs terms.table");
    if (table == NULL) return MEP_OK;
    if (length < 1) return mep_fail(MEP_ERROR_ARGUMENT, "a bias table needs a length of 1 or more");
    if (length > INT64_MAX / 8 / heads)
        return mep_fail(MEP_ERROR_MEMORY, "a bias table of %lld distances is too large", (long long)length);
    for (int64_t i = 0; i < heads * length; i++)
        if (!(table[i] < INFINITY) || (i % length == 0 && !isfinite(table[i])))
            return mep_fail(
                MEP_ERROR_NUMERIC,
                "the bias of head %lld at distance %lld is %g; it must be finite, or -inf beyond distance 0",
                (long long)(i / length), (long long)(i % length), (double)table[i]);
    for (int64_t i = 0; t->table_ahead != NULL && i < heads * length; i++)
        if (i % length != 0 && !(t->table_ahead[i] < INFINITY))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the bias of head %lld at distance -%lld is %g; it must be finite or -inf",
                            (long long)(i / length), (long long)(i % length), (double)t->table_ahead[i]);
    return MEP_OK;
}

static mep_status check_finite(const char *name, const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return mep_fail(MEP_ERROR_NUMERIC, "terms.%s[%lld] is %g; it must be finite", name, (long long)i,
                            (double)x[i]);
    return MEP_OK;
}

static mep_status check_counts(const mep_attention_terms *t)
{
    if (t->window < 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "terms.window is %lld; it must be 0 (no window) or more",
                        (long long)t->window);
    if (t->rank < 0 || (t->rank > 0 && (t->bank == NULL || t->extent < 1)))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "terms.rank is %lld and terms.extent %lld: profiles need a bank [rank, extent]",
                        (long long)t->rank, (long long)t->extent);
    if (t->kernels < 0 || (t->kernels > 0 && (t->log_kernels == NULL || t->log_kernels_length < 1)))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "terms.kernels is %lld: a mixture needs log_kernels [heads, kernels, log_kernels_length]",
                        (long long)t->kernels);
    return MEP_OK;
}

mep_status mep_terms_check(const mep_attention_terms *t, int64_t heads)
{
    int64_t size = 0;
    if (t == NULL) return MEP_OK;
    MEP_TRY(check_table(t, heads));
    MEP_TRY(check_counts(t));
    for (int64_t h = 0; t->sink != NULL && h < heads; h++)
        if (!(t->sink[h] < INFINITY))
            return mep_fail(MEP_ERROR_NUMERIC, "terms.sink[%lld] is %g; it must be finite or -inf", (long long)h,
                            (double)t->sink[h]);
    MEP_TRY(mep_multiply(t->rank, t->extent, 1, &size));
    if (t->rank > 0) MEP_TRY(check_finite("bank", t->bank, size));
    MEP_TRY(mep_multiply(heads, t->kernels, t->log_kernels_length, &size));
    return t->kernels > 0 ? check_finite("log_kernels", t->log_kernels, size) : MEP_OK;
}

int64_t mep_terms_head_size(int64_t distances, int64_t ahead)
{
    return FRONT + distances + ahead + BACK;
}

float *mep_terms_origin(int64_t distances, float *reversed)
{
    return reversed + FRONT + distances;
}

/* A block of keys is combined where its nearest distance is below the extent; its rows then read up to two tiles
 * farther. */
int64_t mep_toeplitz_row(int64_t extent)
{
    return 2 * FRONT + extent + BACK;
}

float *mep_toeplitz_origin(int64_t extent, float *table)
{
    return table + 2 * FRONT + extent;
}

static void free_toeplitz(mep_toeplitz *t)
{
    mep_free(&t->tables);
    mep_free(&t->largest);
    *t = (mep_toeplitz){.heads = 0};
}

/* Tables of these sizes: those of `old` if it has them, otherwise new ones, all 0. */
static mep_status make_toeplitz(mep_toeplitz *t, const mep_toeplitz *old, int64_t heads, int64_t rank, int64_t extent)
{
    int64_t floats = 0;
    *t = *old;
    if (rank > 0 && t->heads == heads && t->rank == rank && t->extent == extent) return MEP_OK;
    *t = (mep_toeplitz){.heads = 0};
    if (rank == 0) return MEP_OK;
    *t = (mep_toeplitz){.heads = heads, .rank = rank, .extent = extent, .row = mep_toeplitz_row(extent)};
    mep_status status;
    MEP_TRY_OR(status, mep_multiply(heads, rank, t->row, &floats), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&t->tables, floats), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&t->largest, heads * rank), failed);
    return MEP_OK;
failed:
    free_toeplitz(t);
    return status;
}

/* Free `old` unless `t` has its tables. */
static void replace_toeplitz(mep_toeplitz *old, const mep_toeplitz *t)
{
    if (old->tables != t->tables) free_toeplitz(old);
    *old = *t;
}

mep_status mep_terms_reserve(mep_terms *t, int64_t heads, int64_t distances, int bidirectional)
{
    int64_t floats = 0, ahead = bidirectional ? distances : 0, size = mep_terms_head_size(distances, ahead);
    mep_terms_free(t);
    MEP_TRY(mep_multiply(heads, size, sizeof(float), &floats));
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(&t->reversed, heads * size), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&t->far_bias, heads * distances), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&t->sink, heads), failed);
    t->heads = heads, t->distances = distances, t->ahead = ahead, t->head_size = size;
    return MEP_OK;
failed:
    mep_terms_free(t);
    return status;
}

void mep_fire_free(mep_fire_tables *f)
{
    float **all[] = {&f->knots, &f->slope,    &f->offset,    &f->highest, &f->error,
                     &f->mask,  &f->mask_far, &f->logarithm, &f->rate};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mep_free(all[i]);
    *f = (mep_fire_tables){.pieces = 0};
}

void mep_terms_free(mep_terms *t)
{
    mep_free(&t->reversed);
    mep_free(&t->far_bias);
    mep_free(&t->sink);
    free_toeplitz(&t->bank);
    free_toeplitz(&t->ratios);
    mep_fire_free(&t->fire);
    *t = (mep_terms){.heads = 0};
}

static void prepare_bank(mep_terms *t, const mep_attention_terms *terms)
{
    for (int64_t m = 0; m < terms->rank; m++) {
        float *origin = mep_toeplitz_origin(terms->extent, t->bank.tables + m * t->bank.row), largest = 0;
        for (int64_t d = 0; d < terms->extent; d++) {
            origin[-d] = terms->bank[m * terms->extent + d];
            largest = fmaxf(largest, fabsf(origin[-d]));
        }
        t->bank.largest[m] = largest;
    }
}

/* max_m log K_m(d) of a head's kernels; their ratios to it go into the tables. */
static float prepare_ratios(mep_terms *t, const mep_attention_terms *terms, int64_t head, int64_t d)
{
    const float *log_kernel = terms->log_kernels + head * terms->kernels * terms->log_kernels_length + d;
    float *table = t->ratios.tables + head * terms->kernels * t->ratios.row, highest = -INFINITY;
    for (int64_t m = 0; m < terms->kernels; m++) highest = fmaxf(highest, log_kernel[m * terms->log_kernels_length]);
    for (int64_t m = 0; m < terms->kernels; m++)
        mep_toeplitz_origin(t->ratios.extent, table + m * t->ratios.row)[-d] =
            expf(log_kernel[m * terms->log_kernels_length] - highest);
    return highest;
}

/* The part of one head's scores that depends on the distance alone: the table, and the largest of a mixture's kernels.
 */
static float bias_at(mep_terms *t, const mep_attention_terms *terms, int64_t head, int64_t d)
{
    float bias = 0;
    if (terms->window > 0 && d >= terms->window) return -INFINITY;
    if (terms->table != NULL) bias = d < terms->table_length ? terms->table[head * terms->table_length + d] : -INFINITY;
    if (terms->kernels == 0) return bias;
    return d < terms->log_kernels_length ? bias + prepare_ratios(t, terms, head, d) : -INFINITY;
}

/* The table at distance -d, whose value at d is `behind`. */
static float bias_ahead(const mep_attention_terms *terms, int64_t head, int64_t d, float behind)
{
    if (terms->table_ahead == NULL) return behind;
    if ((terms->window > 0 && d >= terms->window) || d >= terms->table_length) return -INFINITY;
    return terms->table_ahead[head * terms->table_length + d];
}

static void prepare_head(mep_terms *t, const mep_attention_terms *terms, int64_t head)
{
    float *reversed = t->reversed + head * t->head_size, *origin = mep_terms_origin(t->distances, reversed);
    float highest = -INFINITY, *far_bias = t->far_bias + head * t->distances;
    for (int64_t i = 0; i < t->head_size; i++) reversed[i] = -INFINITY;
    for (int64_t d = t->distances - 1; d >= 0; d--) {
        float b = origin[-d] = bias_at(t, terms, head, d);
        if (d > 0 && d < t->ahead) origin[d] = bias_ahead(terms, head, d, b);
        highest = fmaxf(highest, fmaxf(b, d < t->ahead ? origin[d] : b));
        far_bias[d] = highest;
    }
    t->sink[head] = terms->sink != NULL ? terms->sink[head] : -INFINITY;
}

mep_status mep_terms_prepare(mep_terms *t, const mep_attention_terms *terms)
{
    const mep_attention_terms none = {.table = NULL};
    if (terms == NULL) terms = &none;
    mep_toeplitz bank, ratios;
    MEP_TRY(make_toeplitz(&bank, &t->bank, 1, terms->rank, terms->extent));
    mep_status status = make_toeplitz(&ratios, &t->ratios, t->heads, terms->kernels, t->distances);
    if (status != MEP_OK) {
        if (bank.tables != t->bank.tables) free_toeplitz(&bank);
        return status;
    }
    replace_toeplitz(&t->bank, &bank);
    replace_toeplitz(&t->ratios, &ratios);
    t->has_ahead = terms->table_ahead != NULL;
    t->window = terms->window;
    t->fire.pieces = 0; /* the memory is kept */
    prepare_bank(t, terms);
    for (int64_t h = 0; h < t->heads; h++) prepare_head(t, terms, h);
    return MEP_OK;
}

mep_head_terms mep_terms_of_head(const mep_terms *t, int64_t head)
{
    MEP_ASSERT(head >= 0 && head < t->heads);
    mep_head_terms h = {.bias = mep_terms_origin(t->distances, t->reversed + head * t->head_size),
                        .far_bias = t->far_bias + head * t->distances,
                        .sink = t->sink[head],
                        .rank = t->bank.rank,
                        .extent = t->bank.extent,
                        .bank_row = t->bank.row,
                        .kernels = t->ratios.rank,
                        .ratio_row = t->ratios.row,
                        .largest = t->bank.largest,
                        .fire = t->fire.pieces > 0 ? &t->fire : NULL,
                        .distances = t->distances,
                        .head = head};
    if (h.rank > 0) h.bank = mep_toeplitz_origin(h.extent, t->bank.tables);
    if (h.kernels > 0)
        h.ratios = mep_toeplitz_origin(t->ratios.extent, t->ratios.tables + head * h.kernels * h.ratio_row);
    return h;
}

float mep_terms_finish(float sink, float maximum, float sum, float *factor)
{
    if (sink > maximum) {
        float scale = expf(maximum - sink), total = sum * scale + 1;
        *factor = scale / total;
        return sink + logf(total);
    }
    if (sink > -INFINITY) sum += expf(sink - maximum);
    *factor = 1 / sum;
    return maximum + logf(sum);
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
