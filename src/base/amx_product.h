/* SPDX-License-Identifier: MIT */
/*
 * The matrix product of tile.h for pairs of bfloat16 on AMX's tile registers. The including file has the operations on
 * tiles (base/amx_tiles.h, or their emulation). Operands are packed in units of 32 bits, two neighbors along the summed
 * index; sums are float32.
 *
 * A step multiplies 16 units of the summed index: 16 rows of A with 16 columns of B. Bits: docs/kernels.md, "Sums of
 * amx_bf16". A step that the depth does not fill is filled with zeros, so an element depends neither on the shape of a
 * tile nor on which operand is in which register.
 *
 * Tile registers are configured and released within a call: tiles that the caller had configured are lost, and outside
 * of calls no thread has any, so signal handlers and fork() are not affected.
 */
#ifndef MEP_BASE_AMX_PRODUCT_H
#define MEP_BASE_AMX_PRODUCT_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/integer.h"
#include "base/tile_shapes.h"

#define AMX_INLINE static inline __attribute__((always_inline))

/* Rows, columns and units of a tile; bytes of its rows; rows of A that are multiplied together; the most columns of B
 * in a call. */
enum { TILE = 16, TILE_BYTES = 4 * TILE, AMX_ROWS = 2 * TILE, AMX_COLUMNS = 4 * TILE };

/* How C is computed: set to the product, continued step by step, or increased once by the complete product. */
enum { AMX_SET, AMX_CONTINUE, AMX_ADD };

/* Registers: a block of 2 x 2 tiles of sums, two tiles of A, two tiles of B. Macros, since instructions contain the
 * number. */
#define SUMS_00 0
#define SUMS_01 1
#define SUMS_10 2
#define SUMS_11 3
#define A_0 4
#define A_1 5
#define B_0 6
#define B_1 7

static inline void set_shape(mep_tile_shapes *shapes, int tile, int64_t rows, int64_t row_bytes)
{
    shapes->rows[tile] = (uint8_t)rows;
    shapes->row_bytes[tile] = (uint16_t)(rows > 0 ? row_bytes : 0);
}

/* Shapes for blocks of `rows` rows of A, 1 to AMX_ROWS. */
static inline void configure_block(int64_t rows)
{
    mep_tile_shapes shapes = {.palette = 1};
    int64_t upper = min_i64(rows, TILE), lower = rows - upper;
    set_shape(&shapes, SUMS_00, upper, TILE_BYTES);
    set_shape(&shapes, SUMS_01, upper, TILE_BYTES);
    set_shape(&shapes, SUMS_10, lower, TILE_BYTES);
    set_shape(&shapes, SUMS_11, lower, TILE_BYTES);
    set_shape(&shapes, A_0, upper, TILE_BYTES);
    set_shape(&shapes, A_1, lower, TILE_BYTES);
    set_shape(&shapes, B_0, TILE, TILE_BYTES);
    set_shape(&shapes, B_1, TILE, TILE_BYTES);
    TILE_CONFIGURE(&shapes);
}

/* What a block is multiplied from: complete steps in place, and copies of the last units, filled with zeros. */
typedef struct amx_operands {
    int64_t rows, steps;
    const char *a, *a_rest, *b, *b_rest; /* b_rest is NULL where all steps are complete; then a_rest is not read */
    int64_t a_bytes, b_bytes;            /* between rows of A and B */
    char *c;
    int64_t c_bytes; /* between rows of C */
} amx_operands;

/* Add 16 units to the sums. Which tiles exist is constant in every call. */
AMX_INLINE void block_step(const char *a, int64_t a_bytes, const char *b, int64_t b_bytes, const int two_rows,
                           const int two_columns)
{
    TILE_LOAD(B_0, b, b_bytes);
    TILE_LOAD(A_0, a, a_bytes);
    TILE_DOT(SUMS_00, A_0, B_0);
    if (two_columns) {
        TILE_LOAD(B_1, b + TILE_BYTES, b_bytes);
        TILE_DOT(SUMS_01, A_0, B_1);
    }
    if (!two_rows) return;
    TILE_LOAD(A_1, a + TILE * a_bytes, a_bytes);
    TILE_DOT(SUMS_10, A_1, B_0);
    if (two_columns) TILE_DOT(SUMS_11, A_1, B_1);
}

/* Add the sums to C: its rows of 32 or 16 columns. */
AMX_INLINE void add_sums_to_c(const amx_operands *o, const float *sums, const int two_columns)
{
    for (int64_t r = 0; r < o->rows; r++, sums += 2 * TILE) {
        float *c = (float *)(void *)(o->c + r * o->c_bytes);
        for (int n = 0; n < (two_columns ? 2 : 1) * TILE; n++) c[n] += sums[n];
    }
}

AMX_INLINE void block(const amx_operands *o, const int two_rows, const int two_columns, const int how)
{
    _Alignas(64) float sums[AMX_ROWS * 2 * TILE];
    char *c = how == AMX_ADD ? (char *)sums : o->c;
    int64_t c_bytes = how == AMX_ADD ? 2 * TILE_BYTES : o->c_bytes;
    char *lower = c + TILE * c_bytes;
    if (how == AMX_CONTINUE) {
        TILE_LOAD(SUMS_00, c, c_bytes);
        if (two_columns) TILE_LOAD(SUMS_01, c + TILE_BYTES, c_bytes);
        if (two_rows) TILE_LOAD(SUMS_10, lower, c_bytes);
        if (two_rows && two_columns) TILE_LOAD(SUMS_11, lower + TILE_BYTES, c_bytes);
    } else {
        TILE_ZERO(SUMS_00);
        if (two_columns) TILE_ZERO(SUMS_01);
        if (two_rows) TILE_ZERO(SUMS_10);
        if (two_rows && two_columns) TILE_ZERO(SUMS_11);
    }
    const char *a = o->a, *b = o->b;
    for (int64_t i = 0; i < o->steps; i++, a += TILE_BYTES, b += TILE * o->b_bytes)
        block_step(a, o->a_bytes, b, o->b_bytes, two_rows, two_columns);
    if (o->b_rest != NULL) block_step(o->a_rest, TILE_BYTES, o->b_rest, AMX_COLUMNS * 4, two_rows, two_columns);
    TILE_STORE(SUMS_00, c, c_bytes);
    if (two_columns) TILE_STORE(SUMS_01, c + TILE_BYTES, c_bytes);
    if (two_rows) TILE_STORE(SUMS_10, lower, c_bytes);
    if (two_rows && two_columns) TILE_STORE(SUMS_11, lower + TILE_BYTES, c_bytes);
    if (how == AMX_ADD) add_sums_to_c(o, sums, two_columns);
}

/* All columns of a block of rows: the columns of C up to a multiple of TILE are written. */
AMX_INLINE void block_columns(amx_operands o, int64_t columns, const int how)
{
    for (; columns > 0; columns -= 2 * TILE) {
        if (o.rows > TILE && columns > TILE)
            block(&o, 1, 1, how);
        else if (o.rows > TILE)
            block(&o, 1, 0, how);
        else if (columns > TILE)
            block(&o, 0, 1, how);
        else
            block(&o, 0, 0, how);
        o.b += 2 * TILE_BYTES;
        o.c += 2 * TILE_BYTES;
        if (o.b_rest != NULL) o.b_rest += 2 * TILE_BYTES;
    }
}

/* C[rows x columns] from A[rows x depth] and B[depth x columns], all with contiguous columns; `how` is constant in
 * every call. columns is at most AMX_COLUMNS; C has room for the next multiple of TILE, and B has zeros there. */
AMX_INLINE void amx_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, const float *b,
                            int64_t b_row, float *c, int64_t c_row, const int how)
{
    _Alignas(64) float a_rest[AMX_ROWS * TILE], b_rest[TILE * AMX_COLUMNS];
    int64_t rest = depth % TILE, complete = depth - rest, configured = 0;
    if (rest > 0) {
        memset(a_rest, 0, sizeof a_rest);
        memset(b_rest, 0, sizeof b_rest);
        for (int64_t k = 0; k < rest; k++)
            memcpy(b_rest + k * AMX_COLUMNS, b + (complete + k) * b_row, (size_t)round_up(columns, TILE) * sizeof *b);
    }
    for (int64_t row = 0; row < rows; row += AMX_ROWS) {
        int64_t count = min_i64(rows - row, AMX_ROWS);
        const float *a_block = a + row * a_row;
        if (count != configured) configure_block(count);
        configured = count;
        for (int64_t r = 0; r < count && rest > 0; r++)
            memcpy(a_rest + r * TILE, a_block + r * a_row + complete, (size_t)rest * sizeof *a);
        block_columns((amx_operands){.rows = count,
                                     .steps = depth / TILE,
                                     .a = (const char *)a_block,
                                     .a_rest = (const char *)a_rest,
                                     .b = (const char *)b,
                                     .b_rest = rest > 0 ? (const char *)b_rest : NULL,
                                     .a_bytes = a_row * (int64_t)sizeof *a,
                                     .b_bytes = b_row * (int64_t)sizeof *b,
                                     .c = (char *)(c + row * c_row),
                                     .c_bytes = c_row * (int64_t)sizeof *c},
                      columns, how);
    }
    TILE_RELEASE();
}

#endif
