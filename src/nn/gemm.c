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

/* Tile sizes: about 16 tiles where the output is large enough, so that they divide well among threads, of at least 64 x
 * 64 and at most 1024 rows, rows cut before columns (packing B once a tile is the cost of a cut in rows). */
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

/* How the output is cut: tile number t is tile_at(g, cut, t). */
typedef struct cut {
    int64_t tile_m, tile_n, rows, columns;
} cut;

static mep_gemm_tile tile_at(const mep_gemm *g, const cut *c, int64_t row, int64_t column)
{
    int64_t first_row = row * c->tile_m, first_column = column * c->tile_n;
    return (mep_gemm_tile){first_row, smaller(c->tile_m, g->m - first_row), first_column,
                           smaller(c->tile_n, g->n - first_column)};
}

static mep_status run(const mep_gemm_backend_table *backend, const mep_gemm *g)
{
    cut c;
    tile_sizes(g->m, g->n, &c.tile_m, &c.tile_n);
    c.rows = (g->m + c.tile_m - 1) / c.tile_m;
    c.columns = (g->n + c.tile_n - 1) / c.tile_n;
    /* every shape that occurs is in a corner */
    mep_gemm_tile corners[4];
    for (int i = 0; i < 4; i++) corners[i] = tile_at(g, &c, i / 2 * (c.rows - 1), i % 2 * (c.columns - 1));
    mep_status status = backend->prepare(g, corners, 4);
    if (status == MEP_ERROR_UNSUPPORTED) { /* bfloat16 on a processor without AVX-512, say */
        backend = &mep_gemm_plain;
        status = backend->prepare(g, corners, 4);
    }
    if (status != MEP_OK) return status;
    int failed = 0;
#pragma omp parallel for schedule(dynamic) reduction(| : failed)
    for (int64_t t = 0; t < c.rows * c.columns; t++) {
        mep_gemm_tile tile = tile_at(g, &c, t / c.columns, t % c.columns);
        failed |= backend->run_tile(g, &tile) != MEP_OK;
    }
    return failed ? mep_fail(MEP_ERROR_MEMORY, "a matrix product failed: out of memory") : MEP_OK;
}

mep_status mep_gemm_run_with(const mep_gemm_backend_table *backend, const mep_gemm *g)
{
    mep_status status;
#pragma omp critical(mep_gemm)
    status = run(backend, g);
    return status;
}

static const mep_gemm_backend_table *backend_in_use(void)
{
#if MEP_HAVE_ONEDNN
    return &mep_gemm_onednn;
#else
    return &mep_gemm_plain;
#endif
}

mep_status mep_gemm_run(const mep_gemm *g)
{
    return mep_gemm_run_with(backend_in_use(), g);
}

const char *mep_gemm_backend(void)
{
    return backend_in_use()->name();
}
