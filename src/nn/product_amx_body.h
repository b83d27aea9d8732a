/* SPDX-License-Identifier: MIT */
/*
 * The kernels of products of bfloat16 on AMX's tile registers (base/amx_product.h). The including file has the
 * operations on tiles and defines KERNELS, the name of its table, and KERNELS_NAME.
 */
#include "nn/product.h"

#include <string.h>

#include "base/amx_product.h"
#include "base/assertion.h"
#include "base/integer.h"
#include "nn/pack.h"

/* Columns of a panel. */
enum { PANEL = AMX_COLUMNS };
static_assert(MEP_MOST_ROWS % AMX_ROWS == 0, "a block of A has complete blocks of rows");
static_assert(MEP_DEPTH % TILE == 0, "a block of the summed index has complete steps");
static_assert((int)PANEL <= (int)MEP_LARGEST_PANEL && (int)MEP_FEW_ROWS <= (int)TILE, "buffers are large enough");

/* ---- Products with a packed B ---- */

static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, float *c, int64_t c_row, int accumulate)
{
    MEP_ASSERT(a_column == 1 && columns <= PANEL);
    (void)a_column;
    if (accumulate)
        amx_product(rows, columns, depth, a, a_row, b, PANEL, c, c_row, AMX_CONTINUE);
    else
        amx_product(rows, columns, depth, a, a_row, b, PANEL, c, c_row, AMX_SET);
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
    .rows = AMX_ROWS,
    .a_in_rows = 1,
    .product = product,
    .few_rows = few_rows,
};
