/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products, once for every vector width (base/simd.h). The including file defines KERNELS, the
 * name of its table, KERNELS_NAME, and TILE_PAIRS where units are pairs of bfloat16.
 */
#include "nn/product.h"

#include "base/simd.h"
#include "base/tile.h"
#include "base/transpose.h"

#if defined(TILE_PAIRS)
enum { PAIR = 2 };
#else
enum { PAIR = 1 };
#endif
enum { PANEL = BLOCK_VECTORS * LANES };
_Static_assert(MEP_LARGEST_PANEL % PANEL == 0 && PANEL % MEP_SMALLEST_PANEL == 0, "panels divide one another");

static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, float *c, int64_t c_row, int accumulate)
{
    int64_t complete = (columns + LANES - 1) / LANES * LANES;
    tile_product(rows, complete, depth, a, a_row, a_column, b, PANEL, c, c_row, accumulate);
}

typedef struct few {
    int64_t depth, a_row, b_stride, c_row;
    const float *a;
    const char *b;
    float *c;
    int accumulate;
} few;

/* Columns are read a line of the L1 cache at a time: where they are a multiple of 4096 bytes apart, it keeps only a few. They
 * are more streams than CPUs fetch ahead by themselves. */
enum { LINE = 16, LINES_AHEAD = 6 };

MEP_INLINE void few_lines(const few *f, int64_t k, int64_t column, const int rows, vf sum[MEP_FEW_ROWS])
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

/* One block of the summed index for `groups` times LANES columns, whose chains of multiply-adds run next to each other. */
MEP_INLINE void few_block(const few *f, int64_t k, int64_t end, int64_t column, const int rows, const int groups)
{
    vf sum[4][MEP_FEW_ROWS];
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

MEP_INLINE void few_columns(const few *f, int64_t column, const int rows, const int groups)
{
    for (int64_t k = 0; k < f->depth; k += MEP_DEPTH)
        few_block(f, k, f->depth - k < MEP_DEPTH ? f->depth : k + MEP_DEPTH, column, rows, groups);
}

MEP_INLINE int64_t few_all(const few *f, int64_t columns, const int rows, const int groups)
{
    int64_t column = 0;
    for (; column + groups * LANES <= columns; column += groups * LANES) few_columns(f, column, rows, groups);
    for (; column + LANES <= columns; column += LANES) few_columns(f, column, rows, 1);
    return column;
}

static int64_t few_rows(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, const char *b,
                        int64_t b_stride, float *c, int64_t c_row, int accumulate)
{
    const few f = {.depth = depth, .a_row = a_row, .b_stride = b_stride, .c_row = c_row, .a = a, .b = b, .c = c,
                   .accumulate = accumulate};
    if (depth % LINE != 0) return 0;
    switch (rows) {
    case 1: return few_all(&f, columns, 1, 2);
    case 2: return few_all(&f, columns, 2, 2);
    case 3: return few_all(&f, columns, 3, 1);
    default: return few_all(&f, columns, 4, 1);
    }
}

/* A bfloat16 value is the upper half of the float32 of the same value. */
static void split(int64_t n, const void *pairs, float *low, float *high)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vi both;
        memcpy(&both, (const char *)pairs + i * 4, sizeof both);
        vf_store(low + i, (vf)(both << 16));
        vf_store(high + i, (vf)(both & ~0xffff));
    }
    for (; i < n; i++) {
        mep_bf16 both[2];
        memcpy(both, (const char *)pairs + i * 4, sizeof both);
        low[i] = mep_bf16_to_float(both[0]);
        high[i] = mep_bf16_to_float(both[1]);
    }
}

const mep_product_kernels KERNELS = {
    .name = KERNELS_NAME,
    .panel = PANEL,
    .pair = PAIR,
    .product = product,
    .few_rows = few_rows,
    .split = split,
};
