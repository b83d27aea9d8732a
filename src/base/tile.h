/* SPDX-License-Identifier: MIT */
/*
 * The small matrix product that attention's tiles and the plain matrix product are made of:
 *
 *     C[rows x columns] (+)= A[rows x depth] B[depth x columns]
 *
 * B and C are row-major with contiguous columns; A may be strided either way, so that a transposed A costs nothing.
 * Blocks of C stay in registers over the whole depth. Included by variants only, like simd.h.
 *
 * An including file that defines TILE_PAIRS gets the product on pairs of bfloat16: depth, and the elements of A and B,
 * are units of 32 bits that hold two neighbours of the summed index; C is float32 still.
 */
#ifndef MEP_BASE_TILE_H
#define MEP_BASE_TILE_H

#include "base/simd.h"

/* Rows and vectors of a block of C: as many accumulators as registers allow. */
#if defined(__AVX512F__) || defined(__aarch64__) /* 32 registers */
enum { BLOCK_VECTORS = 4, BLOCK_ROWS = 6, NARROW_ROWS = 12 };
#else
enum { BLOCK_VECTORS = 2, BLOCK_ROWS = 6, NARROW_ROWS = 6 };
#endif

#if defined(TILE_PAIRS)
MEP_INLINE vf tile_broadcast(const float *a)
{
    int32_t unit;
    memcpy(&unit, a, sizeof unit);
    return (vf)(unit - (vi){0});
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
    return sum + a * b;
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

/* One block of `rows` x `vectors`*LANES at (row, column); both counts are constants at every call. */
MEP_INLINE void tile_block(const mep_tile_operands *t, int64_t row, int64_t column, const int rows, const int vectors)
{
    vf sum[NARROW_ROWS][BLOCK_VECTORS];
    const float *a = t->a + row * t->a_row;
    const float *b = t->b + column;
    float *c = t->c + row * t->c_row + column;
    MEP_UNROLL
    for (int m = 0; m < rows; m++) {
        MEP_UNROLL
        for (int n = 0; n < vectors; n++) sum[m][n] = t->accumulate ? vf_load(c + m * t->c_row + n * LANES) : vf_set(0);
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
        for (int n = 0; n < vectors; n++) vf_store(c + m * t->c_row + n * LANES, sum[m][n]);
    }
}

/* All rows of a strip of `vectors`*LANES columns. */
MEP_INLINE void tile_strip(const mep_tile_operands *t, int64_t rows, int64_t column, const int high, const int vectors)
{
    int64_t row = 0;
    for (; row + high <= rows; row += high) tile_block(t, row, column, high, vectors);
    for (; row + 4 <= rows; row += 4) tile_block(t, row, column, 4, vectors);
    for (; row < rows; row++) tile_block(t, row, column, 1, vectors);
}

/* The product: the entry of both kernel tables. columns is a multiple of LANES. */
static void tile_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                         const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate)
{
    mep_tile_operands t = {depth, a, a_row, a_column, b, b_row, c, c_row, accumulate};
    int64_t column = 0;
    for (; column + BLOCK_VECTORS * LANES <= columns; column += BLOCK_VECTORS * LANES)
        tile_strip(&t, rows, column, BLOCK_ROWS, BLOCK_VECTORS);
#if defined(__AVX512F__)
    for (; column + 2 * LANES <= columns; column += 2 * LANES) tile_strip(&t, rows, column, 8, 2);
#endif
    for (; column < columns; column += LANES) tile_strip(&t, rows, column, NARROW_ROWS, 1);
}

#endif
