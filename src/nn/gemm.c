/* SPDX-License-Identifier: MIT */
/*
 * Matrix products: cutting the output into tiles, packing, threads over tiles, and what is done to a tile's sums while
 * they lie in the cache.
 */
#include "nn/gemm.h"

#include <string.h>

#include <omp.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "nn/pack.h"
#include "nn/rows.h"

/*
 * How a product is cut; a function of its shapes and types alone. A thread takes a block of the output and computes it
 * tile by tile.
 *   plain:  a block is a tile; the backend takes A and B as they lie.
 *   panels: (layers forward, and gradients of their inputs) a block is a few columns of up to 1024 rows; its thread
 *           packs the columns of B first, into memory of its own that stays in its second cache.
 *   kept:   as panels, of a B that was packed before.
 *   strips: (gradients of weights: A transposed) a block is a few rows; its thread copies A's rows first. All of B, or
 *           a chunk of its columns, was packed for all threads before.
 */
enum { PLAIN, PANELS, KEPT, STRIPS };
typedef struct cut {
    int way;
    int64_t rows, columns;             /* of a tile, at most */
    int64_t block_rows, block_columns; /* of a block, multiples of a tile's where there is more than one */
    int64_t chunk;                     /* columns */
    int64_t depth;                     /* k, or one more with zeros */
    int64_t packed_rows, element;      /* of the packed B; bytes of a value */
    int direct;                        /* the sums are C: whole rows, with nothing else to be done to them */
} cut;

/* Memory that stays from product to product: packed panels (of each thread, or of all), and of each thread a strip of A
 * and the sums of a tile. */
typedef struct workspace {
    char *panels, *strips;
    float *sums;
    int64_t panels_size, strip_size, sums_size; /* bytes in all, bytes a thread, values a thread */
    int64_t threads;
} workspace;

static workspace work;

/* Part of C. */
typedef struct place {
    int64_t row, rows, column, columns;
} place;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t times(int64_t size, int64_t parts)
{
    return (size + parts - 1) / parts;
}

/* The next multiple of 64, from `least` to `most`. */
static int64_t whole(int64_t x, int64_t least, int64_t most)
{
    return smaller(larger(times(x, 64) * 64, least), most);
}

/* Where the output is large enough there are at least 16 blocks, so that they divide well among threads. Sums, panels
 * and strips of a block lie in the second cache together as far as the depth allows. */
enum { BLOCKS = 16, PANEL_BYTES = 256 << 10, STRIP_BYTES = 512 << 10, CHUNK_BYTES = 16 << 20 };

/* Nothing is done to the sums but storing them, and rows of C are as long as it has columns. */
static int only_sums(const mep_gemm *g)
{
    return g->c.stride == g->n && g->c.dtype == MEP_FLOAT32 && g->bias == NULL && g->residual == NULL &&
           g->gelu == NULL && g->gelu_input == NULL;
}

static void cut_strips(const mep_gemm *g, cut *c)
{
    int64_t fitting = CHUNK_BYTES / (c->packed_rows * c->element);
    c->chunk = g->n <= fitting ? g->n : larger(fitting / 256, 1) * 256;
    c->rows = whole(smaller(g->m / BLOCKS, STRIP_BYTES / (c->depth * c->element)), 64, 256);
    c->columns = c->chunk == g->n && only_sums(g) ? g->n : 256;
    c->block_rows = c->rows;
    c->block_columns = c->chunk;
}

/* As oneDNN's own packing likes it: whole rows where there are some to share, so that it packs B seldom. */
static void cut_plain(const mep_gemm *g, cut *c)
{
    enum { SUMS = 1 << 20 };
    c->rows = whole(g->m / BLOCKS, 64, 1024);
    int64_t rows = times(g->m, c->rows);
    c->columns = rows >= 4 ? g->n : whole(times(g->n, times(BLOCKS, rows)), 64, SUMS);
    if (c->rows * c->columns > SUMS && !only_sums(g)) c->columns = whole(SUMS / c->rows - 63, 64, SUMS);
    c->block_rows = c->rows;
    c->block_columns = c->columns;
}

/* Packing costs about as much as 30 rows of C or, for a turned A, 30 columns, and oneDNN packs by itself, once a tile.
 * These are the sizes from which on it gained; a B of float32 in rows oneDNN takes as it is. */
static int way_of(const mep_gemm *g, int packs)
{
    enum { ROWS = 64, FLOAT_ROWS = 256, DEPTH = 512 };
    if (g->b.packed) return KEPT;
    if (!packs) return PLAIN;
    if (g->a.transposed || g->a.stride != g->k) return g->k >= DEPTH ? STRIPS : PLAIN;
    int64_t least = g->a.dtype == MEP_FLOAT32 && !g->b.transposed ? FLOAT_ROWS : ROWS;
    return g->m >= least ? PANELS : PLAIN;
}

static void cut_panels(const mep_gemm *g, cut *c)
{
    c->rows = smaller(g->m, 256);
    c->block_rows = smaller(g->m, 1024);
    c->columns = smaller(whole(times(g->n, times(BLOCKS, times(g->m, c->block_rows))), 64, 256),
                         whole(PANEL_BYTES / (c->packed_rows * c->element) - 63, 64, 256));
    c->block_columns = c->columns;
}

static cut cut_of(const mep_gemm *g, int packs)
{
    cut c = {.way = way_of(g, packs), .depth = g->k, .element = mep_dtype_size(g->a.dtype), .chunk = g->n};
    if (c.way == STRIPS && g->a.transposed && g->a.dtype == MEP_BFLOAT16) c.depth = times(g->k, 2) * 2;
    c.packed_rows = mep_packed_rows(c.depth, g->a.dtype);
    if (c.way == STRIPS) cut_strips(g, &c);
    if (c.way == PANELS || c.way == KEPT) cut_panels(g, &c);
    if (c.way == PLAIN) cut_plain(g, &c);
    c.direct = only_sums(g) && c.columns >= g->n;
    return c;
}

/* Make `memory` of at least `size` elements a part; what it held is lost. */
static mep_status reserve(void *memory, int64_t *have, int64_t size, int64_t parts, size_t element)
{
    int64_t count = 0;
    if (*have >= size) return MEP_OK;
    *have = 0;
    mep_free(memory);
    MEP_TRY(mep_multiply(size, parts, 1, &count));
    MEP_TRY(mep_alloc(memory, count, element));
    *have = size;
    return MEP_OK;
}

static mep_status reserve_all(const mep_gemm *g, const cut *c)
{
    int64_t threads = omp_get_max_threads(), column_bytes = c->packed_rows * c->element;
    int64_t panels = whole(smaller(c->chunk, g->n), 64, INT64_MAX) * column_bytes;
    if (threads > work.threads) work.strip_size = work.sums_size = 0;
    work.threads = larger(work.threads, threads);
    if (c->way == PANELS) panels = c->columns * column_bytes * work.threads;
    if (c->way == PANELS || c->way == STRIPS) MEP_TRY(reserve(&work.panels, &work.panels_size, panels, 1, 1));
    if (c->way == STRIPS)
        MEP_TRY(reserve(&work.strips, &work.strip_size, whole(c->rows * c->depth * c->element, 64, INT64_MAX),
                        work.threads, 1));
    if (c->direct) return MEP_OK;
    return reserve(&work.sums, &work.sums_size,
                   whole(smaller(c->rows, g->m) * smaller(c->columns, g->n), 64, INT64_MAX), work.threads,
                   sizeof *work.sums);
}

/* The tile at a place; `panels` holds B's columns from `first` on, `strip` A's rows, where the way has them. */
static mep_gemm_tile tile_at(const mep_gemm *g, const cut *c, const place *p, int64_t first, char *panels, char *strip)
{
    mep_gemm_tile t = {p->rows, p->columns, c->depth, g->a, g->b, c->direct && g->accumulate};
    t.a.data = mep_matrix_at(&g->a, p->row, 0);
    if (c->way == STRIPS) t.a = (mep_matrix){strip, g->a.dtype, c->depth, 0, 0};
    t.b.data = c->way == KEPT ? mep_packed_at(&g->b, 0, p->column) : mep_matrix_at(&g->b, 0, p->column);
    if (c->way == PANELS || c->way == STRIPS)
        t.b =
            (mep_matrix){panels + (p->column - first) * c->packed_rows * c->element, g->a.dtype, c->packed_rows, 0, 1};
    return t;
}

/* Let the backend make ready every shape of tile that occurs: with the last rows or others, the last columns or others.
 */
static mep_status prepare(const mep_gemm_backend_table *backend, const mep_gemm *g, const cut *c)
{
    mep_gemm_tile tiles[4];
    int64_t last_row = (g->m - 1) / c->rows * c->rows, last_column = (g->n - 1) / c->columns * c->columns;
    for (int i = 0; i < 4; i++) {
        place p = {0, smaller(c->rows, g->m), 0, smaller(c->columns, g->n)};
        if (i / 2) p.rows = g->m - last_row;
        if (i % 2) p.columns = g->n - last_column;
        tiles[i] = tile_at(g, c, &p, 0, work.panels, work.strips);
    }
    return backend->prepare(tiles, 4);
}

/* A row of sums becomes a row of C. */
static void finish_row(const mep_row_kernels *kernels, const mep_gemm *g, int64_t row, int64_t column, int64_t n,
                       float *x)
{
    int64_t at = row * g->c.stride + column, size = mep_dtype_size(g->c.dtype);
    void *c = (char *)g->c.data + at * size;
    void (*gelu)(int64_t, const float *, float *) = g->gelu_tanh ? kernels->gelu_tanh : kernels->gelu;
    void (*gelu_backward)(int64_t, const float *, const float *, float *) =
        g->gelu_tanh ? kernels->gelu_tanh_backward : kernels->gelu_backward;
    if (g->bias != NULL) kernels->add(n, g->bias + column, x);
    if (g->residual != NULL) kernels->add(n, g->residual + at, x);
    if (g->c.dtype == MEP_FLOAT32) {
        if (g->accumulate) kernels->add(n, c, x);
        if (g->gelu_input != NULL) gelu_backward(n, (const float *)g->gelu_input + at, x, x);
        if (c != g->gelu) memcpy(c, x, (size_t)n * sizeof *x);
        if (g->gelu != NULL) gelu(n, x, (float *)g->gelu + at);
        return;
    }
    float other[256];
    for (int64_t first = 0; first < n; first += 256) {
        int64_t count = smaller(n - first, 256);
        if (g->accumulate) {
            kernels->from_bf16(count, (mep_bf16 *)c + first, other);
            kernels->add(count, other, x + first);
        }
        if (g->gelu_input != NULL) {
            kernels->from_bf16(count, (const mep_bf16 *)g->gelu_input + at + first, other);
            gelu_backward(count, other, x + first, x + first);
        }
    }
    if (g->gelu != g->c.data) kernels->to_bf16(n, x, c);
    if (g->gelu == NULL) return;
    gelu(n, x, x);
    kernels->to_bf16(n, x, (mep_bf16 *)g->gelu + at);
}

/* Pack `count` rows of B from row `first` on, columns column .. end. */
static void pack_rows(const mep_gemm *g, const cut *c, int64_t column, int64_t end, int64_t first, int64_t count,
                      char *panels)
{
    for (int64_t at = column; at < end; at += MEP_PANEL)
        mep_pack_panel(&g->b, g->k, g->n, at, first, count, g->a.dtype, c->packed_rows,
                       panels + (at - column) * c->packed_rows * c->element);
}

static int run_tile(const mep_gemm_backend_table *backend, const mep_gemm *g, const cut *c, const place *p,
                    const mep_gemm_tile *tile)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    float *sums = c->direct ? mep_matrix_at(&g->c, p->row, 0) : work.sums + omp_get_thread_num() * work.sums_size;
    if (backend->run(tile, sums) != MEP_OK) return 1;
    for (int64_t r = 0; r < p->rows && !c->direct; r++)
        finish_row(kernels, g, p->row + r, p->column, p->columns, sums + r * p->columns);
    return 0;
}

/* Pack what is the thread's own to pack, then tile after tile. `first` is the chunk's first column. */
static int run_block(const mep_gemm_backend_table *backend, const mep_gemm *g, const cut *c, const place *block,
                     int64_t first)
{
    int64_t thread = omp_get_thread_num(), column_bytes = c->packed_rows * c->element;
    char *panels = work.panels, *strip = c->way == STRIPS ? work.strips + thread * work.strip_size : NULL;
    if (c->way == STRIPS) mep_pack_strip(&g->a, block->row, block->rows, g->k, c->depth, strip);
    if (c->way == PANELS) {
        panels += thread * c->columns * column_bytes;
        first = block->column;
        /* rows of B that lie beside each other are read together; columns are read to their end */
        int64_t part = g->b.transposed ? c->packed_rows : MEP_PANEL;
        for (int64_t row = 0; row < c->packed_rows; row += part)
            pack_rows(g, c, first, first + block->columns, row, part, panels);
    }
    int failed = 0;
    for (int64_t row = 0; row < block->rows; row += c->rows)
        for (int64_t column = 0; column < block->columns; column += c->columns) {
            place p = {block->row + row, smaller(c->rows, block->rows - row), block->column + column,
                       smaller(c->columns, block->columns - column)};
            mep_gemm_tile tile = tile_at(g, c, &p, first, panels, strip);
            failed |= run_tile(backend, g, c, &p, &tile);
        }
    return failed;
}

/* Columns first .. end of C; called by all threads of the team. */
static int run_chunk(const mep_gemm_backend_table *backend, const mep_gemm *g, const cut *c, int64_t first, int64_t end)
{
    enum { PART = 512 };
    int failed = 0;
    int64_t panels = times(end - first, MEP_PANEL), parts = times(c->packed_rows, PART);
    int64_t rows = times(g->m, c->block_rows), columns = times(end - first, c->block_columns);
    if (c->way == STRIPS) {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < panels * parts; i++) {
            int64_t column = i / parts * MEP_PANEL;
            pack_rows(g, c, first + column, smaller(first + column + MEP_PANEL, end), i % parts * PART, PART,
                      work.panels + column * c->packed_rows * c->element);
        }
    }
#pragma omp for schedule(dynamic)
    for (int64_t t = 0; t < rows * columns; t++) {
        place block = {t / columns * c->block_rows, 0, first + t % columns * c->block_columns, 0};
        block.rows = smaller(c->block_rows, g->m - block.row);
        block.columns = smaller(c->block_columns, end - block.column);
        failed |= run_block(backend, g, c, &block, first);
    }
    return failed;
}

static mep_status run(const mep_gemm_backend_table *backend, const mep_gemm *g)
{
    cut c = cut_of(g, backend->packs(g->a.dtype));
    MEP_TRY(reserve_all(g, &c));
    MEP_TRY(prepare(backend, g, &c));
    int failed = 0;
#pragma omp parallel reduction(| : failed)
    for (int64_t first = 0; first < g->n; first += c.chunk)
        failed |= run_chunk(backend, g, &c, first, smaller(g->n, first + c.chunk));
    return failed ? mep_fail(MEP_ERROR_MEMORY, "a matrix product failed: out of memory") : MEP_OK;
}

mep_status mep_gemm_run_with(const mep_gemm_backend_table *backend, const mep_gemm *g)
{
    mep_status status;
#pragma omp critical(mep_gemm)
    {
        status = run(backend, g);
        /* bfloat16 on a processor without AVX-512, say */
        if (status == MEP_ERROR_UNSUPPORTED && backend != &mep_gemm_plain) status = run(&mep_gemm_plain, g);
    }
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

int mep_gemm_packs(mep_dtype dtype)
{
    return backend_in_use()->packs(dtype);
}

const char *mep_gemm_backend(void)
{
    return backend_in_use()->name();
}
