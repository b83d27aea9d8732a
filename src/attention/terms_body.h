/* SPDX-License-Identifier: MIT */
/*
 * The kernels of score terms: scores of a tile that depend on more than the distance. Part of kernels_body.h;
 * docs/kernels.md is the contract.
 *
 * A score is  x = scale s + bias + (gate_q - gate_k) + add,  its weight is  exp(x - maximum) * factor.  Each value is
 * computed by the same operations in a tile and in decoding, so that a query has the same bits in either.
 */
#ifndef MEP_ATTENTION_TERMS_BODY_H
#define MEP_ATTENTION_TERMS_BODY_H

#include "attention/kernels.h"

#include "base/simd.h"

enum { SCORE_VECTORS = BLOCK_KEYS / LANES };

/* Vector n of row r: `score` and the terms other than the bias. */
MEP_INLINE vf add_terms(const mep_score_rows *x, int64_t r, int n, vf score)
{
    if (x->gate_keys != NULL) score += x->gate_queries[r] - vf_load(x->gate_keys + n * LANES);
    if (x->add != NULL) score += vf_load(x->add + r * BLOCK_KEYS + n * LANES);
    return score;
}

MEP_INLINE vf complete_score(const mep_score_rows *x, int64_t r, int n, vf s, vf scale)
{
    return add_terms(x, r, n, vf_multiply_add(vf_load(x->bias - r + n * LANES), s, scale));
}

static void softmax_terms(int64_t rows, float *s, float scale, const mep_score_rows *x, float *maximum, float *sum,
                          float *rescale)
{
    vf factor = vf_set(scale);
    float totals[TILE_ROWS];
    for (int64_t r = 0; r < rows; r++) {
        vf p[SCORE_VECTORS], highest = vf_set(maximum[r]), total = vf_set(0);
        for (int n = 0; n < SCORE_VECTORS; n++) {
            p[n] = complete_score(x, r, n, vf_load(s + r * BLOCK_KEYS + n * LANES), factor);
            highest = vf_max(highest, p[n]);
        }
        float new_maximum = vf_highest(highest);
        vf shift = vf_set(new_maximum);
        for (int n = 0; n < SCORE_VECTORS; n++) {
            p[n] = vf_exp(p[n] - shift);
            if (x->factor != NULL) p[n] *= vf_load(x->factor + r * BLOCK_KEYS + n * LANES);
            total += p[n];
        }
        store_row(s + r * BLOCK_KEYS, p);
        rescale[r] = maximum[r] - new_maximum;
        maximum[r] = new_maximum;
        totals[r] = vf_sum(total);
    }
    rescale_sums(rows, totals, sum, rescale);
}

static float highest_score(const float *s, float scale, const mep_score_rows *x)
{
    vf highest = vf_set(-INFINITY);
    for (int n = 0; n < SCORE_VECTORS; n++)
        highest = vf_max(highest, complete_score(x, 0, n, vf_load(s + n * LANES), vf_set(scale)));
    return vf_highest(highest);
}

static void toeplitz(int64_t rows, int64_t rank, const float *c, int64_t c_row, const float *table, int64_t table_row,
                     float *out)
{
    for (int64_t r = 0; r < rows; r++, c += c_row, out += BLOCK_KEYS) {
        vf sum[SCORE_VECTORS];
        for (int n = 0; n < SCORE_VECTORS; n++) sum[n] = vf_set(0);
        for (int64_t m = 0; m < rank; m++)
            for (int n = 0; n < SCORE_VECTORS; n++)
                sum[n] = vf_multiply_add(sum[n], vf_set(c[m]), vf_load(table + m * table_row - r + n * LANES));
        for (int n = 0; n < SCORE_VECTORS; n++) vf_store(out + n * LANES, sum[n]);
    }
}

static void toeplitz_gradient(const mep_toeplitz_gradient *x)
{
    for (int64_t r = 0; r < x->rows; r++) {
        vf g[SCORE_VECTORS];
        for (int n = 0; n < SCORE_VECTORS; n++) g[n] = vf_load(x->g + r * BLOCK_KEYS + n * LANES);
        for (int64_t m = 0; m < x->rank; m++) {
            const float *table = x->table + m * x->table_row - r;
            vf total = vf_set(0), c = vf_set(x->c[r * x->c_row + m]);
            for (int n = 0; n < SCORE_VECTORS; n++) total = vf_multiply_add(total, g[n], vf_load(table + n * LANES));
            x->dc[r * x->rank + m] += vf_sum(total);
            if (x->dtable == NULL) continue;
            float *to = x->dtable + m * x->table_row - r;
            for (int n = 0; n < SCORE_VECTORS; n++)
                vf_store(to + n * LANES, vf_multiply_add(vf_load(to + n * LANES), g[n], c));
        }
    }
}

/* As gradient; with the terms' values, and dS in float32 for their gradients. */
static void gradient_terms(int64_t rows, float *s, float *dp, float *ds, float scale, const mep_score_rows *x,
                           const mep_score_gradient *y)
{
    for (int64_t first = 0; first < rows; first += PAIR) {
        vf p[PAIR][SCORE_VECTORS], d[PAIR][SCORE_VECTORS];
        for (int i = 0; i < PAIR; i++) {
            int64_t r = first + i;
            for (int n = 0; n < SCORE_VECTORS; n++) {
                if (r >= rows) {
                    p[i][n] = d[i][n] = vf_set(0);
                    continue;
                }
                int64_t at = r * BLOCK_KEYS + n * LANES;
                vf addend = add_terms(x, r, n, vf_load(x->bias - r + n * LANES));
                vf weight = vf_exp(vf_load(s + at) * scale + (addend - y->lse[r]));
                vf upstream = vf_load(dp + at) - y->delta[r];
                vf factor = x->factor != NULL ? vf_load(x->factor + at) : vf_set(1);
                if (x->factor != NULL) vf_store(y->before_factor + at, weight * upstream);
                p[i][n] = weight * factor;
                d[i][n] = p[i][n] * upstream;
                if (y->scores != NULL) vf_store(y->scores + at, d[i][n]);
                if (y->diagonal == NULL) continue;
                float *to = y->diagonal - r + n * LANES;
                vf_store(to, vf_load(to) + d[i][n]);
            }
            if (PAIR > 1 && r < rows) store_row(ds + r * BLOCK_KEYS, d[i]);
        }
        store_rows(s + first / PAIR * BLOCK_KEYS, p);
        store_rows(dp + first / PAIR * BLOCK_KEYS, d);
    }
}

/* The first and last piece of a row of a block. x falls from key 0 on. */
MEP_INLINE void find_pieces(const mep_fire_rows *f, int64_t r, int64_t *first, int64_t *last)
{
    float lowest = (f->logarithm - r)[BLOCK_KEYS - 1] * f->scale[r], highest = (f->logarithm - r)[0] * f->scale[r];
    int64_t g = 0;
    while (g < f->pieces - 1 && f->knots[g] < lowest) g++;
    *first = g;
    while (g < f->pieces - 1 && f->knots[g] < highest) g++;
    *last = g;
}

/* Most rows of most blocks are in one piece. From piece to piece the slope changes at the knot. */
static void fire(const mep_fire_rows *f, int accumulate, float *add)
{
    for (int64_t r = 0; r < f->rows; r++, add += BLOCK_KEYS) {
        int64_t first, last;
        find_pieces(f, r, &first, &last);
        for (int n = 0; n < SCORE_VECTORS; n++) {
            vf x = vf_load(f->logarithm - r + n * LANES) * f->scale[r];
            vf sum = vf_multiply_add(vf_set(f->offset[first]), x, vf_set(f->slope[first]));
            for (int64_t g = first; g < last; g++)
                sum = vf_multiply_add(sum, vf_max(x - f->knots[g], vf_set(0)), vf_set(f->slope[g + 1] - f->slope[g]));
            if (accumulate) sum += vf_load(add + n * LANES);
            vf_store(add + n * LANES, sum);
        }
    }
}

static void fire_gradient(const mep_fire_rows *f, const float *g, double *sums)
{
    for (int64_t r = 0; r < f->rows; r++, g += BLOCK_KEYS) {
        int64_t first, last;
        find_pieces(f, r, &first, &last);
        for (int64_t piece = first; piece <= last; piece++) {
            vf total = vf_set(0), by_x = vf_set(0), by_rate = vf_set(0);
            vf begin = vf_set(piece > first ? f->knots[piece - 1] : -INFINITY);
            vf end = vf_set(piece < last ? f->knots[piece] : INFINITY);
            for (int n = 0; n < SCORE_VECTORS; n++) {
                vf x = vf_load(f->logarithm - r + n * LANES) * f->scale[r];
                vf d = vf_select((x > begin) & (x <= end), vf_load(g + n * LANES), vf_set(0));
                total += d;
                by_x = vf_multiply_add(by_x, d, x);
                by_rate = vf_multiply_add(by_rate, d, vf_load(f->rate - r + n * LANES));
            }
            double sum_x = (double)vf_sum(by_x);
            sums[piece * 3] += (double)vf_sum(total);
            sums[piece * 3 + 1] += sum_x;
            sums[piece * 3 + 2] += (double)f->scale[r] * (double)vf_sum(by_rate) - (double)f->decline[r] * sum_x;
        }
    }
}

static void add_sums(int64_t rows, const float *x, float *row_sums, float *column_sums)
{
    vf columns[SCORE_VECTORS];
    for (int n = 0; n < SCORE_VECTORS; n++) columns[n] = vf_load(column_sums + n * LANES);
    for (int64_t r = 0; r < rows; r++, x += BLOCK_KEYS) {
        vf total = vf_set(0);
        for (int n = 0; n < SCORE_VECTORS; n++) {
            vf value = vf_load(x + n * LANES);
            total += value;
            columns[n] += value;
        }
        row_sums[r] += vf_sum(total);
    }
    for (int n = 0; n < SCORE_VECTORS; n++) vf_store(column_sums + n * LANES, columns[n]);
}

#endif
