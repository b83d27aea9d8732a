/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products, compiled once per vector width (base/simd.h). The including file defines KERNELS, the
 * name of its table, KERNELS_NAME, and TILE_PAIRS where units are pairs of bfloat16.
 */
#include "nn/product.h"

#include "base/assertion.h"
#include "base/simd.h"
#include "base/tile.h"
#include "nn/few_rows.h"
#include "nn/pack.h"

#if defined(TILE_PAIRS)
enum { PAIR = 2 };
#else
enum { PAIR = 1 };
#endif
enum { PANEL = BLOCK_VECTORS * LANES };
static_assert((int)MEP_FEW_ROWS == (int)FEW_ROWS && MEP_DEPTH % LINE == 0, "products of few rows");
static_assert(MEP_LARGEST_PANEL % PANEL == 0 && PANEL % MEP_SMALLEST_PANEL == 0, "panels divide one another");

static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, float *c, int64_t c_row, int accumulate)
{
    int64_t complete = (columns + LANES - 1) / LANES * LANES;
    tile_product(rows, complete, depth, a, a_row, a_column, b, PANEL, c, c_row, accumulate);
}

/* A product of 1 to 4 rows with a B that is not packed; returns 0 where `depth` is not a multiple of a line. */
static int64_t few_rows(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, const char *b,
                        int64_t b_stride, float *c, int64_t c_row, int accumulate)
{
    const mep_few f = {.depth = depth,
                       .block = MEP_DEPTH,
                       .a_row = a_row,
                       .b_stride = b_stride,
                       .c_row = c_row,
                       .a = a,
                       .b = b,
                       .c = c,
                       .accumulate = accumulate};
    if (depth % LINE != 0) return 0;
    switch (rows) {
    case 1:
        return few_all(&f, columns, 1, 2);
    case 2:
        return few_all(&f, columns, 2, 2);
    case 3:
        return few_all(&f, columns, 3, 1);
    default:
        return few_all(&f, columns, 4, 1);
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
    .rows = MEP_ROW_GROUP,
    .product = product,
    .few_rows = few_rows,
    .split = split,
};
