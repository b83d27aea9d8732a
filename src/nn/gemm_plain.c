/* SPDX-License-Identifier: MIT */
/*
 * A tile of a matrix product in plain C: strips of B and rows of A are packed to float32, and the row kernels' product
 * does the rest. Used where the build has no oneDNN, and to test it where it has.
 */
#include "nn/gemm.h"

#include <string.h>

#include "base/bf16.h"
#include "base/memory.h"
#include "nn/rows.h"

enum { DEPTH = 256, STRIP = 64, ROWS = 96 };

static const char *name(void)
{
    return "plain C";
}

static mep_status prepare(const mep_gemm *gemm, const mep_gemm_tile *tiles, int count)
{
    (void)gemm;
    (void)tiles;
    (void)count;
    return MEP_OK;
}

static float element(const mep_matrix *x, int64_t row, int64_t column)
{
    const void *at = mep_matrix_at(x, row, column);
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

/* C rows from the finished sums, with bias and what C held. */
static void finish(const mep_gemm *g, const float *sums, int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            float x = sums[r * STRIP + c] + (g->bias != NULL ? g->bias[column + c] : 0);
            if (g->accumulate) x += element(&g->c, row + r, column + c);
            void *at = mep_matrix_at(&g->c, row + r, column + c);
            if (g->c.dtype == MEP_FLOAT32)
                *(float *)at = x;
            else
                *(mep_bf16 *)at = mep_bf16_from_float(x);
        }
}

static mep_status run_tile(const mep_gemm *g, const mep_gemm_tile *tile)
{
    static _Thread_local float a[ROWS * DEPTH], b[DEPTH * STRIP], sums[ROWS * STRIP];
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    for (int64_t column = tile->column; column < tile->column + tile->columns; column += STRIP)
        for (int64_t row = tile->row; row < tile->row + tile->rows; row += ROWS) {
            int64_t columns = tile->column + tile->columns - column, rows = tile->row + tile->rows - row;
            columns = columns < STRIP ? columns : STRIP;
            rows = rows < ROWS ? rows : ROWS;
            for (int64_t k = 0; k < g->k; k += DEPTH) {
                int64_t depth = g->k - k < DEPTH ? g->k - k : DEPTH;
                pack(&g->a, row, rows, k, depth, a, DEPTH);
                pack(&g->b, k, depth, column, columns, b, STRIP);
                kernels->product(rows, STRIP, depth, a, DEPTH, 1, b, STRIP, sums, STRIP, k > 0);
            }
            finish(g, sums, row, rows, column, columns);
        }
    return MEP_OK;
}

const mep_gemm_backend_table mep_gemm_plain = {name, prepare, run_tile};
