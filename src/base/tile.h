/* SPDX-License-Identifier: MIT */
/*
 * The register-blocked matrix product of attention's tiles and of linear layers:
 *
 *     C[rows x columns] (+)= A[rows x depth] B[depth x columns]
 *
 * B and C are row-major with contiguous columns; A can be strided both ways, so a transposed A costs nothing. Blocks of
 * C stay in registers over the complete depth. Included by variants only, like simd.h.
 *
 * Bits: an element of A B is one chain of multiply-adds over the depth, in ascending order, starting at zero; C += A B
 * then adds it once. So it depends only on the element's row of A and column of B, not on the block that contains it.
 *
 * With TILE_PAIRS the product is on pairs of bfloat16: the depth and the elements of A and B are units of 32 bits with
 * two neighbors of the summed index; C is still float32.
 */
#ifndef MEP_BASE_TILE_H
#define MEP_BASE_TILE_H

#include "base/simd.h"

/* Rows and vectors of a block of C: as many accumulators as there are registers for. */
#if defined(__AVX512F__) || defined(__aarch64__) /* 32 registers */
enum { BLOCK_VECTORS = 4, BLOCK_ROWS = 6, NARROW_ROWS = 12 };
#else
enum { BLOCK_VECTORS = 2, BLOCK_ROWS = 6, NARROW_ROWS = 6 };
#endif

#if defined(TILE_PAIRS)
MEP_INLINE vf tile_broadcast(const float *a)
{
    return vf_set_pair(a);
}
MEP_INLINE vf tile_multiply_add(vf sum, vf a, vf b)
{
    return vf_dot_pairs(sum, a, b);
}
#else
MEP_INLINE vf tile_broadcast(const float *a)
{
    return vf_set(*a);
}
MEP_INLINE vf tile_multiply_add(vf sum, vf a, vf b)
{
    return vf_multiply_add(sum, a, b);
}
#endif

typedef struct mep_tile_operands {
    int64_t depth;
    const float *a; /* element (m, k) at a[m*a_row + k*a_column] */
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    int accumulate; /* 0: C = A B; 1: C += A B */
} mep_tile_operands;

/* One block of `rows` x `vectors` * LANES at (row, column). Both counts are constants in every call. */
MEP_INLINE void tile_block(const mep_tile_operands *t, int64_t row, int64_t column, const int rows, const int vectors)
{
    vf sum[NARROW_ROWS][BLOCK_VECTORS];
    const float *a = t->a + row * t->a_row;
    const float *b = t->b + column;
    float *c = t->c + row * t->c_row + column;
    MEP_UNROLL
    for (int m = 0; m < rows; m++) {
        MEP_UNROLL
        for (int n = 0; n < vectors; n++) {
            sum[m][n] = vf_set(0);
            if (t->accumulate) __builtin_prefetch(c + m * t->c_row + n * LANES, 1);
        }
    }
    for (int64_t k = 0; k < t->depth; k++) {
        vf bk[BLOCK_VECTORS];
        MEP_UNROLL
        for (int n = 0; n < vectors; n++) bk[n] = vf_load(b + n * LANES);
        MEP_UNROLL
        for (int m = 0; m < rows; m++) {
            vf am = tile_broadcast(a + m * t->a_row);
            MEP_UNROLL
            for (int n = 0; n < vectors; n++) sum[m][n] = tile_multiply_add(sum[m][n], am, bk[n]);
        }
        a += t->a_column;
        b += t->b_row;
    }
    MEP_UNROLL
    for (int m = 0; m < rows; m++) {
        MEP_UNROLL
        for (int n = 0; n < vectors; n++) {
            float *at = c + m * t->c_row + n * LANES;
            vf_store(at, t->accumulate ? vf_load(at) + sum[m][n] : sum[m][n]);
        }
    }
}

/* The same for a number of rows that is known at run time, 1 to BLOCK_ROWS. */
MEP_INLINE void tile_last_rows(const mep_tile_operands *t, int64_t row, int64_t column, int64_t rows, const int vectors)
{
    switch (rows) {
    case 1:
        tile_block(t, row, column, 1, vectors);
        break;
    case 2:
        tile_block(t, row, column, 2, vectors);
        break;
    case 3:
        tile_block(t, row, column, 3, vectors);
        break;
    case 4:
        tile_block(t, row, column, 4, vectors);
        break;
    case 5:
        tile_block(t, row, column, 5, vectors);
        break;
    default:
        tile_block(t, row, column, 6, vectors);
        break;
    }
}

/* All rows of `vectors` * LANES columns. Remaining rows are divided evenly, because blocks of few rows use the
 * registers poorly. */
MEP_INLINE void tile_columns(const mep_tile_operands *t, int64_t rows, int64_t column, const int high,
                             const int vectors)
{
    int64_t row = 0, even = rows % high == 0 ? rows : rows - high - rows % high;
    for (; row < even; row += high) tile_block(t, row, column, high, vectors);
    while (row < rows) {
        int64_t left = rows - row, parts = (left + BLOCK_ROWS - 1) / BLOCK_ROWS, count = (left + parts - 1) / parts;
        tile_last_rows(t, row, column, count, vectors);
        row += count;
    }
}

/* The product, an entry of both kernel tables. columns is a multiple of LANES. */
static void tile_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                         const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate)
{
    mep_tile_operands t = {.depth = depth,
                           .a = a,
                           .a_row = a_row,
                           .a_column = a_column,
                           .b = b,
                           .b_row = b_row,
                           .c = c,
                           .c_row = c_row,
                           .accumulate = accumulate};
    int64_t column = 0;
    for (; column + BLOCK_VECTORS * LANES <= columns; column += BLOCK_VECTORS * LANES)
        tile_columns(&t, rows, column, BLOCK_ROWS, BLOCK_VECTORS);
#if defined(__AVX512F__) || defined(__aarch64__)
    for (; column + 3 * LANES <= columns; column += 3 * LANES) tile_columns(&t, rows, column, 8, 3);
    for (; column + 2 * LANES <= columns; column += 2 * LANES) tile_columns(&t, rows, column, 8, 2);
#endif
    for (; column < columns; column += LANES) tile_columns(&t, rows, column, NARROW_ROWS, 1);
}

#endif
