/* SPDX-License-Identifier: MIT */
/*
 * Matrix products: cutting the output into tiles, and threads over them.
 */
#include "nn/gemm.h"

#include "base/error.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Tile sizes: about 16 tiles where the output is large enough, so that they divide well among threads, of at least 64 x 64 and
 * at most 1024 rows, rows cut before columns (packing B once a tile is the cost of a cut in rows). */
static void tile_sizes(int64_t m, int64_t n, int64_t *tile_m, int64_t *tile_n)
{
    const int64_t tiles = 16;
    *tile_m = (m / tiles + 63) / 64 * 64;
    *tile_m = *tile_m < 64 ? 64 : smaller(*tile_m, 1024);
    int64_t rows = (m + *tile_m - 1) / *tile_m, columns = (tiles + rows - 1) / rows;
    *tile_n = (n / columns + 63) / 64 * 64;
    *tile_n = *tile_n < 64 ? 64 : *tile_n;
    if (rows >= 4) *tile_n = n;
}

mep_status mep_gemm_run(const mep_gemm *g)
{
    int64_t tile_m, tile_n;
    tile_sizes(g->m, g->n, &tile_m, &tile_n);
    int64_t rows = (g->m + tile_m - 1) / tile_m, columns = (g->n + tile_n - 1) / tile_n;
    /* Corner tiles first: they have every shape that occurs. */
    for (int64_t corner = 0; corner < 4; corner++) {
        int64_t r = corner / 2 * (rows - 1), c = corner % 2 * (columns - 1);
        mep_gemm_tile tile = {r * tile_m, smaller(tile_m, g->m - r * tile_m), c * tile_n, smaller(tile_n, g->n - c * tile_n)};
        MEP_TRY(mep_gemm_prepare_tile(g, &tile));
    }
    mep_status result = MEP_OK;
#pragma omp parallel for schedule(dynamic)
    for (int64_t t = 0; t < rows * columns; t++) {
        int64_t r = t / columns, c = t % columns;
        mep_gemm_tile tile = {r * tile_m, smaller(tile_m, g->m - r * tile_m), c * tile_n, smaller(tile_n, g->n - c * tile_n)};
        mep_status status = mep_gemm_run_tile(g, &tile);
        if (status != MEP_OK) {
#pragma omp critical(mep_gemm_status)
            result = status;
        }
    }
    return result == MEP_OK ? MEP_OK : mep_fail(result, "a matrix product failed: out of memory or an error in oneDNN");
}
