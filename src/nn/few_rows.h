/* SPDX-License-Identifier: MIT */
/*
 * The product of few rows with a transposed matrix that is read where it is stored: C[rows x columns] (+)= A B^T, with
 * contiguous rows of B. base/tile.h needs a packed B; this transposes B in registers, LANES columns at a time, which is
 * faster where B is read once: in decoding with weights that are not packed. Included by variants only, like simd.h and
 * tile.h.
 *
 * Bits: those of tile.h, block by block of the depth.
 */
#ifndef MEP_NN_FEW_ROWS_H
#define MEP_NN_FEW_ROWS_H

#include "base/simd.h"
#include "base/tile.h"
#include "base/transpose.h"

enum { FEW_ROWS = 4 };

typedef struct mep_few {
    int64_t depth, block; /* multiples of LINE */
    int64_t a_row, b_stride, c_row;
    const float *a;
    const char *b;
    float *c;
    int accumulate;
} mep_few;

/* Columns are read one line of the L1 cache at a time: where they are a multiple of 4096 bytes apart, the cache keeps
 * only a few lines. There are more columns than the CPU prefetches by itself. */
enum { LINE = 16, LINES_AHEAD = 6 };

MEP_INLINE void few_lines(const mep_few *f, int64_t k, int64_t column, const int rows, vf sum[FEW_ROWS])
{
    vf b[LANES];
    MEP_UNROLL
    for (int c = 0; c < LANES; c++)
        __builtin_prefetch(f->b + (column + c) * f->b_stride + (k + LINES_AHEAD * LINE) * 4, 0, 2);
    MEP_UNROLL
    for (int part = 0; part < LINE; part += LANES) {
        transpose_load(f->b + column * f->b_stride + (k + part) * 4, f->b_stride, b);
        MEP_UNROLL
        for (int r = 0; r < rows; r++) {
            MEP_UNROLL
            for (int i = 0; i < LANES; i++)
                sum[r] = tile_multiply_add(sum[r], tile_broadcast(f->a + r * f->a_row + k + part + i), b[i]);
        }
    }
}

/* One block of the summed index for `groups` * LANES columns, whose chains of multiply-adds are computed together. */
MEP_INLINE void few_block(const mep_few *f, int64_t k, int64_t end, int64_t column, const int rows, const int groups)
{
    vf sum[4][FEW_ROWS];
    MEP_UNROLL
    for (int g = 0; g < groups; g++) {
        MEP_UNROLL
        for (int r = 0; r < rows; r++) sum[g][r] = vf_set(0);
    }
    int accumulate = f->accumulate || k > 0;
    for (; k < end; k += LINE) {
        MEP_UNROLL
        for (int g = 0; g < groups; g++) few_lines(f, k, column + g * LANES, rows, sum[g]);
    }
    MEP_UNROLL
    for (int g = 0; g < groups; g++) {
        MEP_UNROLL
        for (int r = 0; r < rows; r++) {
            float *at = f->c + r * f->c_row + column + g * LANES;
            vf_store(at, accumulate ? vf_load(at) + sum[g][r] : sum[g][r]);
        }
    }
}

MEP_INLINE void few_columns(const mep_few *f, int64_t column, const int rows, const int groups)
{
    for (int64_t k = 0; k < f->depth; k += f->block)
        few_block(f, k, f->depth - k < f->block ? f->depth : k + f->block, column, rows, groups);
}

MEP_INLINE int64_t few_all(const mep_few *f, int64_t columns, const int rows, const int groups)
{
    int64_t column = 0;
    for (; column + groups * LANES <= columns; column += groups * LANES) few_columns(f, column, rows, groups);
    for (; column + LANES <= columns; column += LANES) few_columns(f, column, rows, 1);
    return column;
}

#endif
