/* SPDX-License-Identifier: MIT */
/*
 * The products of attention's kernels at the level amx_bf16: those of tiles on tile registers (base/amx_product.h),
 * those of decoding by AVX-512 in the same order, so a query has the same bits in both. Part of kernels_body.h;
 * docs/kernels.md is the contract. The including file has the operations on tiles.
 */
#ifndef MEP_ATTENTION_AMX_BODY_H
#define MEP_ATTENTION_AMX_BODY_H

#include "attention/elements.h"
#include "attention/kernels.h"

#include "base/amx_product.h"
#include "base/assertion.h"
#include "base/simd.h"
#include "base/transpose.h"

enum { ROW_UNITS = TILE_ROWS / 2 };

/* A transposed A is copied. */
static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate)
{
    _Alignas(64) float transposed[TILE_ROWS * ROW_UNITS];
    if (a_column != 1) {
        MEP_ASSERT(a_row == 1 && rows <= TILE_ROWS && depth <= ROW_UNITS);
        transpose_words(depth, rows, a, a_column * (int64_t)sizeof *a, transposed,
                        ROW_UNITS * (int64_t)sizeof *transposed);
        a = transposed, a_row = ROW_UNITS;
    }
    for (int64_t first = 0; first < columns; first += AMX_COLUMNS) {
        int64_t count = min_i64(columns - first, AMX_COLUMNS);
        if (accumulate)
            amx_product(rows, count, depth, a, a_row, b + first, b_row, c + first, c_row, AMX_ADD);
        else
            amx_product(rows, count, depth, a, a_row, b + first, b_row, c + first, c_row, AMX_SET);
    }
}

/* ---- Decoding ---- */

/* Tiles round to nearest, flush denormal operands and results, and raise no flags; so does the arithmetic between these
 * two calls. The barriers keep loads and stores, and with them the arithmetic, in between. */
MEP_INLINE unsigned begin_tile_arithmetic(void)
{
    unsigned before = _mm_getcsr();
    __asm__ volatile("" ::: "memory");
    _mm_setcsr(0x1F80u | 0x8040u);
    __asm__ volatile("" ::: "memory");
    return before;
}

MEP_INLINE void end_tile_arithmetic(unsigned before)
{
    __asm__ volatile("" ::: "memory");
    _mm_setcsr(before);
    __asm__ volatile("" ::: "memory");
}

/* The value of each unit with an even or an odd index. */
MEP_INLINE vf even_values(vf units)
{
    return (vf)((vu)units << 16);
}

MEP_INLINE vf odd_values(vf units)
{
    return (vf)((vu)units & 0xFFFF0000u);
}

enum { COLUMN_VECTORS = AMX_COLUMNS / LANES };

/* The two chains of a step for AMX_COLUMNS columns. */
typedef struct chains {
    vf even[COLUMN_VECTORS], odd[COLUMN_VECTORS];
} chains;

MEP_INLINE chains new_chains(void)
{
    chains x;
    for (int n = 0; n < COLUMN_VECTORS; n++) x.even[n] = x.odd[n] = vf_set(0);
    return x;
}

/* sum += the step. A step that zeros fill adds +0 last, which makes -0 a +0. */
MEP_INLINE void add_chains(chains *x, int is_filled, vf *sum)
{
    for (int n = 0; n < COLUMN_VECTORS; n++) {
        if (is_filled) x->even[n] += vf_set(0), x->odd[n] += vf_set(0);
        sum[n] += x->even[n] + x->odd[n];
    }
}

static float score_block(int64_t units, const float *q, const void *keys, int is_bf16, float scale, const float *bias,
                         float *s)
{
    static_assert((int)AMX_COLUMNS == (int)BLOCK_KEYS, "all keys of a block are computed together");
    (void)is_bf16; /* 0: keys are in units */
    const float *from = keys;
    vf sum[COLUMN_VECTORS];
    unsigned state = begin_tile_arithmetic();
    for (int n = 0; n < COLUMN_VECTORS; n++) sum[n] = vf_set(0);
    for (int64_t first = 0; first < units; first += TILE) {
        chains x = new_chains();
        int64_t end = min_i64(first + TILE, units);
        for (int64_t u = first; u < end; u++) {
            vf unit = vf_set_pair(q + u), even = even_values(unit), odd = odd_values(unit);
            for (int n = 0; n < COLUMN_VECTORS; n++) {
                vf key = vf_load(from + u * BLOCK_KEYS + n * LANES);
                x.even[n] = vf_multiply_add(x.even[n], even, even_values(key));
                x.odd[n] = vf_multiply_add(x.odd[n], odd, odd_values(key));
            }
        }
        add_chains(&x, end - first < TILE, sum);
    }
    for (int n = 0; n < COLUMN_VECTORS; n++) vf_store(s + n * LANES, sum[n]);
    end_tile_arithmetic(state);
    return highest_in_block(scale, bias, s);
}

/* Channels i .. i + LANES - 1 of a row of values, of which there are `channels`; with zeros after the last. */
MEP_INLINE vf load_channels(const mep_bf16 *row, int64_t i, int64_t channels)
{
    __mmask16 exists = (__mmask16)(channels - i >= LANES ? 0xFFFF : channels > i ? (1 << (channels - i)) - 1 : 0);
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(exists, row + i)), 16);
}

/* `channels` channels, 1 to AMX_COLUMNS. */
MEP_INLINE void weigh_columns(int64_t count, int64_t channels, const float *weights, const mep_bf16 *values,
                              int64_t stride, float *out)
{
    vf sum[COLUMN_VECTORS];
    for (int n = 0; n < COLUMN_VECTORS; n++) sum[n] = vf_set(0);
    for (int64_t first = 0; first < BLOCK_KEYS; first += 2 * TILE) {
        chains x = new_chains();
        int64_t end = min_i64(first + 2 * TILE, count);
        for (int64_t key = first; key < end; key += 2) {
            vf unit = vf_set_pair(weights + key / 2);
            const mep_bf16 *row = values + key * stride;
            for (int n = 0; n < COLUMN_VECTORS; n++) {
                x.even[n] = vf_multiply_add(x.even[n], even_values(unit), load_channels(row, n * LANES, channels));
                if (key + 1 < end)
                    x.odd[n] =
                        vf_multiply_add(x.odd[n], odd_values(unit), load_channels(row + stride, n * LANES, channels));
            }
        }
        add_chains(&x, end - first < 2 * TILE, sum);
    }
    float all[AMX_COLUMNS];
    for (int n = 0; n < COLUMN_VECTORS; n++) vf_store(all + n * LANES, sum[n]);
    memcpy(out, all, (size_t)channels * sizeof *out);
}

static void weigh_block(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                        int is_bf16, float *out)
{
    const mep_bf16 *from = values;
    (void)is_bf16;
    unsigned state = begin_tile_arithmetic();
    for (int64_t first = 0; first < channels; first += AMX_COLUMNS, from += AMX_COLUMNS)
        if (channels - first >= AMX_COLUMNS)
            weigh_columns(count, AMX_COLUMNS, weights, from, stride, out + first);
        else
            weigh_columns(count, channels - first, weights, from, stride, out + first);
    end_tile_arithmetic(state);
}

#endif
