/* SPDX-License-Identifier: MIT */
/*
 * A tile of a matrix product in plain C: strips of B and rows of A are packed to float32, and the row kernels' product
 * does the rest. Used where the build has no oneDNN, and to test it where it has.
 */
#include "nn/gemm.h"

#include <string.h>

#include "base/bf16.h"
#include "nn/pack.h"
#include "nn/rows.h"

enum { DEPTH = 256, STRIP = 64, ROWS = 96 };

static const char *name(void)
{
    return "plain C";
}

static int packs(mep_dtype dtype)
{
    (void)dtype;
    return 0;
}

static mep_status prepare(const mep_gemm_tile *tiles, int count)
{
    (void)tiles;
    (void)count;
    return MEP_OK;
}

static float element(const mep_matrix *x, int64_t row, int64_t column)
{
    const void *at = x->packed ? mep_packed_at(x, row, column) : mep_matrix_at(x, row, column);
    return x->dtype == MEP_FLOAT32 ? *(const float *)at : mep_bf16_to_float(*(const mep_bf16 *)at);
}

/* out[row * stride + column] = op(X), zero from `columns` to `stride`. */
static void pack(const mep_matrix *x, int64_t row, int64_t rows, int64_t column, int64_t columns, float *out,
                 int64_t stride)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c++) out[r * stride + c] = element(x, row + r, column + c);
        for (int64_t c = columns; c < stride; c++) out[r * stride + c] = 0;
    }
}

static mep_status run(const mep_gemm_tile *t, float *sums)
{
    static _Thread_local float a[ROWS * DEPTH], b[DEPTH * STRIP], block[ROWS * STRIP];
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    for (int64_t column = 0; column < t->columns; column += STRIP)
        for (int64_t row = 0; row < t->rows; row += ROWS) {
            int64_t columns = t->columns - column < STRIP ? t->columns - column : STRIP,
                    rows = t->rows - row < ROWS ? t->rows - row : ROWS;
            for (int64_t k = 0; k < t->depth; k += DEPTH) {
                int64_t depth = t->depth - k < DEPTH ? t->depth - k : DEPTH;
                pack(&t->a, row, rows, k, depth, a, DEPTH);
                pack(&t->b, k, depth, column, columns, b, STRIP);
                kernels->product(rows, STRIP, depth, a, DEPTH, 1, b, STRIP, block, STRIP, k > 0);
            }
            for (int64_t r = 0; r < rows; r++) {
                float *to = sums + (row + r) * t->columns + column;
                if (t->accumulate)
                    kernels->add(columns, block + r * STRIP, to);
                else
                    memcpy(to, block + r * STRIP, (size_t)columns * sizeof *to);
            }
        }
    return MEP_OK;
}

const mep_gemm_backend_table mep_gemm_plain = {name, packs, prepare, run};
