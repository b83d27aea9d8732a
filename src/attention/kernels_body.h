/* SPDX-License-Identifier: MIT */
/*
 * The compute kernels, compiled once per vector width (base/simd.h). The including file defines KERNELS, the name of
 * its table, KERNELS_NAME, and TILE_PAIRS where products are on pairs of bfloat16 (kernels.h), and also AMX_TILES where
 * they use AMX's tile registers. Float32 and bfloat16 differ only in the functions of the first section.
 */
#include "attention/kernels.h"

#include "attention/elements.h"
#include "base/simd.h"
#include "base/transpose.h"

/* product, score_block and weigh_block */
#if defined(AMX_TILES)
#include "attention/amx_body.h"
#if !defined(PRODUCT) /* a test defines its own */
#define PRODUCT product
#endif
#else
#include "attention/decode_body.h"
#include "base/tile.h"
#define PRODUCT tile_product
#endif

enum { VECTORS = BLOCK_KEYS / LANES };

/* ---- Units: the elements of a packed operand ---- */

#if defined(TILE_PAIRS)
enum { PAIR = 2 };

/* Store a row of a tile as units along the keys: half as many vectors. */
MEP_INLINE void store_row(float *s, const vf *x)
{
    for (int n = 0; n < VECTORS; n += 2) vf_store(s + n / 2 * LANES, vf_to_pairs(x[n], x[n + 1]));
}

/* Store two rows as units along the rows. */
MEP_INLINE void store_rows(float *s, const vf (*x)[VECTORS])
{
    for (int n = 0; n < VECTORS; n++) vf_store(s + n * LANES, vf_interleave(vf_to_pairs(x[0][n], x[1][n])));
}

static void interleave(int64_t units, const float *rows, float *out)
{
    for (int64_t r = 0; r < TILE_ROWS; r += 2, rows += 2 * units, out += 2 * units)
        for (int64_t u = 0; u < units; u += LANES / 2) {
            __m512i halves = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(rows + u))),
                                                _mm256_loadu_si256((const void *)(rows + units + u)), 1);
            vf_store(out + 2 * u, vf_interleave((vf)halves));
        }
}

#define INTERLEAVE interleave

MEP_INLINE vf unit_product(vf sum, vf a, vf b)
{
    return vf_dot_pairs(sum, a, b);
}
#else
enum { PAIR = 1 };

MEP_INLINE void store_row(float *s, const vf *x)
{
    for (int n = 0; n < VECTORS; n++) vf_store(s + n * LANES, x[n]);
}

MEP_INLINE void store_rows(float *s, const vf (*x)[VECTORS])
{
    store_row(s, x[0]);
}

#define INTERLEAVE NULL

MEP_INLINE vf unit_product(vf sum, vf a, vf b)
{
    return vf_multiply_add(sum, a, b);
}
#endif

static void transpose(int64_t units, const void *rows, int64_t stride, float *out)
{
    transpose_words(TILE_ROWS, units, rows, stride, out, TILE_ROWS * (int64_t)sizeof *out);
}

static void row_dots(int64_t rows, int64_t units, const float *a, const float *b, float *out)
{
    for (int64_t r = 0; r < rows; r++, a += units, b += units) {
        vf sum = vf_set(0);
        int64_t u = 0;
        for (; u + LANES <= units; u += LANES) sum = unit_product(sum, vf_load(a + u), vf_load(b + u));
        if (u < units) {
            vf x = vf_set(0), y = vf_set(0);
            memcpy(&x, a + u, (size_t)(units - u) * sizeof *a);
            memcpy(&y, b + u, (size_t)(units - u) * sizeof *b);
            sum = unit_product(sum, x, y);
        }
        out[r] = vf_sum(sum);
    }
}

/* ---- Scores of a tile ---- */

/* In: rescale[r] is the old maximum minus the new one. Out: rescale[r] = its exponential, sum[r] = sum[r] rescale[r] +
 * total[r]. */
static void rescale_sums(int64_t rows, const float *total, float *sum, float *rescale)
{
    for (int64_t r = 0; r < rows; r += LANES) vf_store(rescale + r, vf_exp(vf_load(rescale + r)));
    for (int64_t r = 0; r < rows; r++) sum[r] = multiply_add(total[r], sum[r], rescale[r]);
}

static void softmax(int64_t rows, float *s, float scale, const float *bias, float *maximum, float *sum, float *rescale)
{
    float totals[TILE_ROWS];
    for (int64_t r = 0; r < rows; r++, s += BLOCK_KEYS) {
        vf x[VECTORS], highest = vf_set(maximum[r]), total = vf_set(0);
        for (int n = 0; n < VECTORS; n++) {
            x[n] = vf_multiply_add(vf_load(bias - r + n * LANES), vf_load(s + n * LANES), vf_set(scale));
            highest = vf_max(highest, x[n]);
        }
        float new_maximum = vf_highest(highest);
        vf shift = vf_set(new_maximum);
        for (int n = 0; n < VECTORS; n++) {
            x[n] = vf_exp(x[n] - shift);
            total += x[n];
        }
        store_row(s, x);
        rescale[r] = maximum[r] - new_maximum;
        maximum[r] = new_maximum;
        totals[r] = vf_sum(total);
    }
    rescale_sums(rows, totals, sum, rescale);
}

static void scale_rows(int64_t rows, int64_t columns, float *o, int64_t o_row, const float *factor)
{
    for (int64_t r = 0; r < rows; r++, o += o_row)
        if (factor[r] != 1.0f)
            for (int64_t c = 0; c < columns; c += LANES) vf_store(o + c, vf_load(o + c) * factor[r]);
}

/* Add a block to one row of decoding, as a tile does between blocks: to the row's sum of weights and to its output. */
static void add_block(int64_t columns, float factor, float block_sum, const float *block, float *sum, float *out)
{
    *sum = multiply_add(block_sum, *sum, factor);
    scale_rows(1, columns, out, columns, &factor);
    for (int64_t c = 0; c < columns; c += LANES) vf_store(out + c, vf_load(out + c) + vf_load(block + c));
}

static void gradient(int64_t rows, float *s, float *dp, float *ds, float scale, const float *bias, const float *lse,
                     const float *delta, float *diagonal)
{
    for (int64_t first = 0; first < rows; first += PAIR) {
        vf p[PAIR][VECTORS], d[PAIR][VECTORS];
        for (int i = 0; i < PAIR; i++) {
            int64_t r = first + i;
            for (int n = 0; n < VECTORS; n++) {
                if (r >= rows) {
                    p[i][n] = d[i][n] = vf_set(0);
                    continue;
                }
                int64_t at = r * BLOCK_KEYS + n * LANES;
                p[i][n] = vf_exp(vf_load(s + at) * scale + (vf_load(bias - r + n * LANES) - lse[r]));
                d[i][n] = p[i][n] * (vf_load(dp + at) - delta[r]);
                if (diagonal == NULL) continue;
                float *sums = diagonal - r + n * LANES;
                vf_store(sums, vf_load(sums) + d[i][n]);
            }
            if (PAIR > 1 && r < rows) store_row(ds + r * BLOCK_KEYS, d[i]);
        }
        store_rows(s + first / PAIR * BLOCK_KEYS, p);
        store_rows(dp + first / PAIR * BLOCK_KEYS, d);
    }
}

static int all_below(const float *x, float y, const float *floor, float limit)
{
    vi below = ~(vi){0};
    for (int64_t r = 0; r < TILE_ROWS; r += LANES) below &= vf_load(x + r) * y - vf_load(floor + r) < limit;
    for (int i = 0; i < LANES; i++)
        if (!below[i]) return 0;
    return 1;
}

static void to_bf16(int64_t n, float factor, const float *x, mep_bf16 *y)
{
    int64_t i = 0;
#if defined(TILE_PAIRS)
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vf pairs = vf_to_pairs(vf_load(x + i) * factor, vf_load(x + i + LANES) * factor);
        memcpy(y + i, &pairs, sizeof pairs);
    }
#endif
    for (; i < n; i++) y[i] = mep_bf16_from_float(x[i] * factor);
}

#include "attention/terms_body.h"

/* For tests of its error. */
static void exponentials(int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = vf_exp(vf_set(y[i]))[0];
}

const mep_attention_kernels KERNELS = {
    .name = KERNELS_NAME,
    .lanes = LANES,
    .pair = PAIR,
    .product = PRODUCT,
    .transpose = transpose,
    .interleave = INTERLEAVE,
    .row_dots = row_dots,
    .softmax = softmax,
    .scale_rows = scale_rows,
    .gradient = gradient,
    .all_below = all_below,
    .to_bf16 = to_bf16,
    .from_bf16 = from_bf16,
    .exponentials = exponentials,
    .score_block = score_block,
    .weigh_block = weigh_block,
    .add_block = add_block,
    .softmax_terms = softmax_terms,
    .gradient_terms = gradient_terms,
    .highest_score = highest_score,
    .toeplitz = toeplitz,
    .toeplitz_gradient = toeplitz_gradient,
    .add_sums = add_sums,
    .fire = fire,
    .fire_gradient = fire_gradient,
};
