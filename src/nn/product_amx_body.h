/* SPDX-License-Identifier: MIT */
/*
 * The kernels of products of bfloat16 on AMX's tile registers. The including file has the operations on tiles
 * (nn/amx_tiles.h, or their emulation) and defines KERNELS, the name of its table, and KERNELS_NAME.
 *
 * A step multiplies 16 units of the summed index: 16 rows of A with 16 columns of B. Bits: docs/kernels.md, "Sums of
 * amx_bf16". A step that the depth does not fill is filled with zeros, so an element depends neither on the shape of a
 * tile nor on which operand is in which register.
 *
 * Tile registers are configured and released within a call of a kernel. Outside of it a thread has the state that it
 * began with, whoever started it: a host's signal handlers, its own tiles and fork() are not affected.
 */
#include "nn/product.h"

#include <string.h>

#include "base/assertion.h"
#include "base/integer.h"
#include "nn/pack.h"
#include "nn/tile_shapes.h"

#define AMX_INLINE static inline __attribute__((always_inline))

/* Rows, columns and units of a tile; bytes of its rows; rows of A that are multiplied together; columns of a panel. */
enum { TILE = 16, TILE_BYTES = 4 * TILE, BLOCK_ROWS = 2 * TILE, PANEL = 4 * TILE, PANEL_BYTES = 4 * PANEL };
static_assert(MEP_MOST_ROWS % BLOCK_ROWS == 0, "a block of A has complete blocks of rows");
static_assert(MEP_DEPTH % TILE == 0, "a block of the summed index has complete steps");
static_assert((int)PANEL <= (int)MEP_LARGEST_PANEL && (int)MEP_FEW_ROWS <= (int)TILE, "buffers are large enough");

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
enum { REGISTERS = 8 };

static void set_shape(mep_tile_shapes *shapes, int tile, int64_t rows, int64_t row_bytes)
{
    shapes->rows[tile] = (uint8_t)rows;
    shapes->row_bytes[tile] = (uint16_t)(rows > 0 ? row_bytes : 0);
}

/* ---- Products with a packed B ---- */

/* Shapes for blocks of `rows` rows of A, 1 to BLOCK_ROWS. */
static void configure_block(int64_t rows)
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
    int64_t steps;
    const char *a, *a_rest, *b, *b_rest; /* a_rest and b_rest are NULL where there are complete steps only */
    int64_t a_bytes;                     /* between rows of A */
    char *c;
    int64_t c_bytes; /* between rows of C */
    int accumulate;
} amx_operands;

/* Add 16 units to the sums. Which tiles exist is constant in every call. */
AMX_INLINE void block_step(const char *a, int64_t a_bytes, const char *b, const int two_rows, const int two_columns)
{
    TILE_LOAD(B_0, b, PANEL_BYTES);
    TILE_LOAD(A_0, a, a_bytes);
    TILE_DOT(SUMS_00, A_0, B_0);
    if (two_columns) {
        TILE_LOAD(B_1, b + TILE_BYTES, PANEL_BYTES);
        TILE_DOT(SUMS_01, A_0, B_1);
    }
    if (!two_rows) return;
    TILE_LOAD(A_1, a + TILE * a_bytes, a_bytes);
    TILE_DOT(SUMS_10, A_1, B_0);
    if (two_columns) TILE_DOT(SUMS_11, A_1, B_1);
}

AMX_INLINE void block(const amx_operands *o, const int two_rows, const int two_columns)
{
    char *lower = o->c + TILE * o->c_bytes;
    if (o->accumulate) {
        TILE_LOAD(SUMS_00, o->c, o->c_bytes);
        if (two_columns) TILE_LOAD(SUMS_01, o->c + TILE_BYTES, o->c_bytes);
        if (two_rows) TILE_LOAD(SUMS_10, lower, o->c_bytes);
        if (two_rows && two_columns) TILE_LOAD(SUMS_11, lower + TILE_BYTES, o->c_bytes);
    } else {
        TILE_ZERO(SUMS_00);
        if (two_columns) TILE_ZERO(SUMS_01);
        if (two_rows) TILE_ZERO(SUMS_10);
        if (two_rows && two_columns) TILE_ZERO(SUMS_11);
    }
    const char *a = o->a, *b = o->b;
    for (int64_t i = 0; i < o->steps; i++, a += TILE_BYTES, b += TILE * PANEL_BYTES)
        block_step(a, o->a_bytes, b, two_rows, two_columns);
    if (o->b_rest != NULL) block_step(o->a_rest, TILE_BYTES, o->b_rest, two_rows, two_columns);
    TILE_STORE(SUMS_00, o->c, o->c_bytes);
    if (two_columns) TILE_STORE(SUMS_01, o->c + TILE_BYTES, o->c_bytes);
    if (two_rows) TILE_STORE(SUMS_10, lower, o->c_bytes);
    if (two_rows && two_columns) TILE_STORE(SUMS_11, lower + TILE_BYTES, o->c_bytes);
}

/* All columns of a block of rows: the columns of C up to a multiple of TILE are written. */
static void block_columns(amx_operands *o, int64_t rows, int64_t columns)
{
    for (; columns > 0; columns -= 2 * TILE) {
        if (rows > TILE && columns > TILE)
            block(o, 1, 1);
        else if (rows > TILE)
            block(o, 1, 0);
        else if (columns > TILE)
            block(o, 0, 1);
        else
            block(o, 0, 0);
        o->b += 2 * TILE_BYTES;
        o->c += 2 * TILE_BYTES;
        if (o->b_rest != NULL) o->b_rest += 2 * TILE_BYTES;
    }
}

static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, float *c, int64_t c_row, int accumulate)
{
    _Alignas(64) float a_rest[BLOCK_ROWS * TILE], b_rest[TILE * PANEL];
    int64_t rest = depth % TILE, complete = depth - rest, configured = 0;
    MEP_ASSERT(a_column == 1 && columns <= PANEL);
    (void)a_column;
    if (rest > 0) {
        memset(a_rest, 0, sizeof a_rest);
        memset(b_rest, 0, sizeof b_rest);
        memcpy(b_rest, b + complete * PANEL, (size_t)(rest * PANEL_BYTES));
    }
    for (int64_t row = 0; row < rows; row += BLOCK_ROWS) {
        int64_t count = min_i64(rows - row, BLOCK_ROWS);
        const float *a_block = a + row * a_row;
        if (count != configured) configure_block(count);
        configured = count;
        for (int64_t r = 0; r < count && rest > 0; r++)
            memcpy(a_rest + r * TILE, a_block + r * a_row + complete, (size_t)rest * sizeof *a);
        amx_operands o = {.steps = depth / TILE,
                          .a = (const char *)a_block,
                          .a_rest = (const char *)a_rest,
                          .b = (const char *)b,
                          .b_rest = rest > 0 ? (const char *)b_rest : NULL,
                          .a_bytes = a_row * (int64_t)sizeof *a,
                          .c = (char *)(c + row * c_row),
                          .c_bytes = c_row * (int64_t)sizeof *c,
                          .accumulate = accumulate};
        block_columns(&o, count, columns);
    }
    TILE_RELEASE();
}

/* ---- Few rows, with a B that is not packed ---- */

/* The transposed product: 16 columns of B, contiguous along the summed index, are the rows of a tile, and A's rows are
 * the columns of the other. Multiplication is commutative, so the bits are those of product. */
enum { FEW_BYTES = 4 * MEP_FEW_ROWS, LINES_AHEAD = 6 };

typedef struct amx_few {
    int64_t rows, steps;
    const float *a; /* [16 steps][MEP_FEW_ROWS], transposed */
    const char *b;
    int64_t b_bytes; /* between columns of B */
    float *c;
    int64_t c_row;
    int accumulate;
} amx_few;

static void configure_few(void)
{
    mep_tile_shapes shapes = {.palette = 1};
    set_shape(&shapes, SUMS_00, TILE, FEW_BYTES);
    set_shape(&shapes, SUMS_01, TILE, FEW_BYTES);
    set_shape(&shapes, A_0, TILE, TILE_BYTES);
    set_shape(&shapes, A_1, TILE, TILE_BYTES);
    set_shape(&shapes, B_0, TILE, FEW_BYTES);
    TILE_CONFIGURE(&shapes);
}

/* Copy `rows` rows of `units` as columns; the columns after them are not touched. */
static void turn_rows(int64_t rows, int64_t units, const float *a, int64_t a_row, float *turned)
{
    for (int64_t k = 0; k < units; k++)
        for (int64_t r = 0; r < rows; r++) memcpy(turned + k * MEP_FEW_ROWS + r, a + r * a_row + k, sizeof *a);
}

/* Copy 16 columns of C into a tile of the transposed product, or back. */
static void turn_sums(const amx_few *f, float *sums, int to_c)
{
    for (int64_t i = 0; i < TILE; i++)
        for (int64_t r = 0; r < f->rows; r++) {
            float *at = f->c + r * f->c_row + i;
            if (to_c)
                *at = sums[i * MEP_FEW_ROWS + r];
            else
                sums[i * MEP_FEW_ROWS + r] = *at;
        }
}

/* Lines of B that are read soon: there are more columns than the CPU prefetches by itself. */
AMX_INLINE void prefetch_columns_of_b(const char *b, int64_t b_bytes)
{
    for (int c = 0; c < TILE; c++) __builtin_prefetch(b + c * b_bytes + LINES_AHEAD * TILE_BYTES, 0, 2);
}

/* 16 columns of C, or 32 with `two`. */
AMX_INLINE void few_block(const amx_few *f, const int two)
{
    _Alignas(64) float sums[2][TILE * MEP_FEW_ROWS] = {{0}};
    const amx_few second = {.rows = f->rows, .c = f->c + TILE, .c_row = f->c_row};
    const char *b = f->b, *b_second = f->b + TILE * f->b_bytes;
    if (f->accumulate) turn_sums(f, sums[0], 0);
    if (f->accumulate && two) turn_sums(&second, sums[1], 0);
    TILE_LOAD(SUMS_00, sums[0], FEW_BYTES);
    if (two) TILE_LOAD(SUMS_01, sums[1], FEW_BYTES);
    for (int64_t i = 0; i < f->steps; i++, b += TILE_BYTES, b_second += TILE_BYTES) {
        TILE_LOAD(B_0, f->a + i * TILE * MEP_FEW_ROWS, FEW_BYTES);
        prefetch_columns_of_b(b, f->b_bytes);
        TILE_LOAD(A_0, b, f->b_bytes);
        TILE_DOT(SUMS_00, A_0, B_0);
        if (!two) continue;
        prefetch_columns_of_b(b_second, f->b_bytes);
        TILE_LOAD(A_1, b_second, f->b_bytes);
        TILE_DOT(SUMS_01, A_1, B_0);
    }
    TILE_STORE(SUMS_00, sums[0], FEW_BYTES);
    turn_sums(f, sums[0], 1);
    if (!two) return;
    TILE_STORE(SUMS_01, sums[1], FEW_BYTES);
    turn_sums(&second, sums[1], 1);
}

static int64_t few_rows(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, const char *b,
                        int64_t b_stride, float *c, int64_t c_row, int accumulate)
{
    _Alignas(64) float turned[MEP_DEPTH * MEP_FEW_ROWS] = {0};
    int64_t complete = columns / TILE * TILE;
    if (depth % TILE != 0 || complete == 0) return 0;
    configure_few();
    for (int64_t k = 0; k < depth; k += MEP_DEPTH) {
        int64_t units = min_i64(MEP_DEPTH, depth - k);
        turn_rows(rows, units, a + k, a_row, turned);
        for (int64_t column = 0; column < complete; column += 2 * TILE) {
            const amx_few f = {.rows = rows,
                               .steps = units / TILE,
                               .a = turned,
                               .b = b + column * b_stride + k * (int64_t)sizeof *a,
                               .b_bytes = b_stride,
                               .c = c + column,
                               .c_row = c_row,
                               .accumulate = accumulate || k > 0};
            if (complete - column > TILE)
                few_block(&f, 1);
            else
                few_block(&f, 0);
        }
    }
    TILE_RELEASE();
    return complete;
}

const mep_product_kernels KERNELS = {
    .name = KERNELS_NAME,
    .panel = PANEL,
    .pair = 2,
    .rows = BLOCK_ROWS,
    .a_in_rows = 1,
    .product = product,
    .few_rows = few_rows,
};
