/* SPDX-License-Identifier: MIT */
/*
 * Matrix products: division of the output into tiles, threads, and what is done with a tile's sums while they are in
 * the cache. nn/product.h has the kernels, nn/pack.h their operands.
 */
#include "nn/gemm.h"

#include <string.h>

#include <omp.h>

#include "base/assertion.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "nn/pack.h"
#include "nn/product.h"
#include "nn/rows.h"

/* The largest tile of C. Its block of B is packed once for all rows, into the L2 or L3 cache; blocks of A of up to
 * MEP_MOST_ROWS rows stay in an L2 cache of 512 KB while panels of B are read. */
enum { ROWS = 4 * MEP_MOST_ROWS, COLUMNS = 768, PANELS = COLUMNS / MEP_SMALLEST_PANEL };
static_assert(COLUMNS % MEP_LARGEST_PANEL == 0, "a tile has complete panels");
static_assert(MEP_MOST_ROWS % MEP_ROW_GROUP == 0, "a block has complete groups of rows");

/* Upper limit of tiles per thread; smallest rows and columns of a tile where C has more; columns whose packed block is
 * in the L1 or L2 cache for few rows; multiplications below which a team of threads costs more than it gains. */
enum { TILES_PER_THREAD = 6, FEW_ROWS = 48, NARROW = 128, FEW_PRODUCTS = 1 << 15 };

/* The cost of packing a column of B, and of reading A and C for a row, in addition to the products of a tile: that of
 * so many rows, and of so many columns. Estimates, precise enough to choose by. */
#define PACKING_ROWS 10.0
#define PACKING_COLUMNS 10.0

/* The memory of one thread. */
typedef struct thread_memory {
    float *a;    /* [MEP_MOST_ROWS, MEP_DEPTH] */
    float *b;    /* [MEP_DEPTH, columns of a tile] */
    float *sums; /* [rows of a tile, columns of a tile] */
} thread_memory;

struct mep_gemm_workspace {
    float *memory;
    int64_t size; /* in floats */
};

/* A tile of C. */
typedef struct tile {
    int64_t row, rows, column, columns;
} tile;

/* The division of C: rows and columns of a tile. Tiles at the ends can be smaller. */
typedef struct tiling {
    int64_t rows, columns;
} tiling;

/* `whole` divided into `count` nearly equal sizes, rounded up to a multiple of `multiple`. */
static int64_t divided_size(int64_t whole, int64_t count, int64_t multiple)
{
    return round_up(ceil_div(whole, count), multiple);
}

static int64_t tiles_of(const mep_gemm *g, const tiling *t)
{
    return ceil_div(g->m, t->rows) * ceil_div(g->n, t->columns);
}

/* Estimated time of the product with these tiles, in products of one element: as many rounds as the busiest thread has
 * tiles. */
static double cost(const mep_gemm *g, const tiling *t, int64_t threads)
{
    double rows = (double)min_i64(t->rows, g->m), columns = (double)min_i64(t->columns, g->n);
    double rounds = (double)ceil_div(tiles_of(g, t), threads);
    return rounds * (rows + PACKING_ROWS) * (columns + PACKING_COLUMNS);
}

/* The best tiling of those that are small enough, from the largest tiles to smaller ones. */
static tiling divide(const mep_gemm *g, const mep_product_kernels *kernels, int64_t threads)
{
    int64_t high = kernels->rows, panel = kernels->panel;
    int64_t widest = g->m < FEW_ROWS ? NARROW : COLUMNS, tried = threads == 1 ? 1 : 16;
    int64_t down = ceil_div(g->m, ROWS), across = ceil_div(g->n, widest);
    tiling best = {divided_size(g->m, down, high), divided_size(g->n, across, panel)};
    for (int64_t i = 0; i < tried * tried; i++) {
        tiling t = {divided_size(g->m, down + i / tried, high), divided_size(g->n, across + i % tried, panel)};
        if (tiles_of(g, &t) > threads * TILES_PER_THREAD && i > 0) continue;
        if (t.rows < FEW_ROWS && i / tried > 0) break;
        if (cost(g, &t, threads) < cost(g, &best, threads)) best = t;
    }
    return best;
}

/* ---- A tile ---- */

/* Where a tile's sums are: in C itself where that holds float32, otherwise in the thread's memory. */
typedef struct sums {
    float *data;
    int64_t stride;
} sums;

/* In C where a kernel can write complete vectors there and nothing that is read later is overwritten. */
static sums sums_of_tile(const mep_gemm *g, const tile *t, const thread_memory *memory)
{
    if (g->c.dtype == MEP_FLOAT32 && t->columns % MEP_LARGEST_VECTOR == 0 && g->residual != g->c.data &&
        g->slope_input != g->c.data)
        return (sums){mep_matrix_at(&g->c, t->row, t->column), g->c.stride};
    return (sums){memory->sums, round_up(t->columns, MEP_LARGEST_VECTOR)};
}

/* With `accumulate` the sums begin with what C holds. */
static void begin_sums(const mep_gemm *g, const tile *t, const sums *s)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    for (int64_t r = 0; r < t->rows; r++) {
        const void *c = mep_matrix_at(&g->c, t->row + r, t->column);
        if (g->c.dtype == MEP_BFLOAT16)
            kernels->from_bf16(t->columns, c, s->data + r * s->stride);
        else if (c != s->data + r * s->stride)
            memcpy(s->data + r * s->stride, c, (size_t)t->columns * sizeof *s->data);
    }
}

/* Functions of an epilogue: y = f(x), and dx = dy f'(x). */
typedef struct epilogue_kernels {
    void (*apply)(int64_t n, const float *x, float *y);
    void (*backward)(int64_t n, const float *x, const float *dy, float *dx);
} epilogue_kernels;

static epilogue_kernels epilogue_of(const mep_row_kernels *kernels, mep_epilogue epilogue)
{
    if (epilogue == MEP_EPILOGUE_GELU_TANH) return (epilogue_kernels){kernels->gelu_tanh, kernels->gelu_tanh_backward};
    return (epilogue_kernels){kernels->gelu, kernels->gelu_backward};
}

/* Turn a row of sums into a row of C, which is float32 and can be the same memory. */
static void finish_float32(const mep_row_kernels *kernels, const mep_gemm *g, int64_t at, int64_t n, float *x)
{
    const epilogue_kernels f = epilogue_of(kernels, g->epilogue);
    float *c = (float *)g->c.data + at;
    if (g->slope_input != NULL) f.backward(n, (const float *)g->slope_input + at, x, x);
    if (c != x && g->activated != g->c.data) memcpy(c, x, (size_t)n * sizeof *x);
    if (g->activated != NULL) f.apply(n, x, (float *)g->activated + at);
}

/* The same where C is bfloat16. */
static void finish_bf16(const mep_row_kernels *kernels, const mep_gemm *g, int64_t at, int64_t n, float *x)
{
    const epilogue_kernels f = epilogue_of(kernels, g->epilogue);
    float input[COLUMNS];
    if (g->slope_input != NULL) {
        kernels->from_bf16(n, (const mep_bf16 *)g->slope_input + at, input);
        f.backward(n, input, x, x);
    }
    if (g->activated != g->c.data) kernels->to_bf16(n, x, (mep_bf16 *)g->c.data + at);
    if (g->activated == NULL) return;
    f.apply(n, x, x);
    kernels->to_bf16(n, x, (mep_bf16 *)g->activated + at);
}

/* Finish rows first .. first + count - 1 of the tile, whose sums are complete: add bias and residual, multiply by the
 * activation's slope or apply the activation, and store. */
static void finish(const mep_gemm *g, const tile *t, const sums *s, int64_t first, int64_t count)
{
    const mep_row_kernels *kernels = mep_row_kernels_for(mep_cpu_level_get());
    for (int64_t r = first; r < first + count; r++) {
        float *x = s->data + r * s->stride;
        int64_t at = (t->row + r) * g->c.stride + t->column;
        if (g->bias != NULL) kernels->add(t->columns, g->bias + t->column, x);
        if (g->residual != NULL) kernels->add(t->columns, g->residual + at, x);
        (g->c.dtype == MEP_FLOAT32 ? finish_float32 : finish_bf16)(kernels, g, at, t->columns, x);
    }
}

/* Add the product of A's block and a panel of B. Evenly spaced rows are one group. */
static void add_panel(const mep_product_kernels *kernels, const mep_block *a, int64_t rows, int64_t columns,
                      int64_t depth, const float *b, const sums *s, int accumulate)
{
    int64_t group = a->group_stride == MEP_ROW_GROUP * a->row_stride ? rows : MEP_ROW_GROUP;
    for (int64_t r = 0; r < rows; r += group)
        kernels->product(min_i64(group, rows - r), columns, depth, a->data + r / MEP_ROW_GROUP * a->group_stride,
                         a->row_stride, a->column_stride, b, s->data + r * s->stride, s->stride, accumulate);
}

/* Add the products over one block of the summed index to the tile's columns from `first`: blocks of A times panels of
 * B. After the last block of the index, rows are finished while they are in the cache. */
static void add_block(const mep_product_kernels *kernels, const mep_gemm *g, const tile *t, int64_t first, int64_t k,
                      const sums *s, const thread_memory *memory)
{
    const float *panels[PANELS];
    int64_t panel = kernels->panel, depth = min_i64(MEP_DEPTH * kernels->pair, g->k - k);
    int64_t height = divided_size(t->rows, ceil_div(t->rows, MEP_MOST_ROWS), kernels->rows);
    for (int64_t c = first; c < t->columns; c += panel)
        panels[(c - first) / panel] =
            mep_block_of_b(&g->b, g->n, k, depth, t->column + c, memory->b + (c - first) * MEP_DEPTH);
    for (int64_t r = 0; r < t->rows; r += height) {
        int64_t rows = min_i64(height, t->rows - r);
        mep_block a = mep_block_of_a(&g->a, t->row + r, rows, k, depth, memory->a);
        for (int64_t c = first; c < t->columns; c += panel) {
            const sums panel_sums = {s->data + r * s->stride + c, s->stride};
            add_panel(kernels, &a, rows, min_i64(panel, t->columns - c), ceil_div(depth, kernels->pair),
                      panels[(c - first) / panel], &panel_sums, k > 0 || g->accumulate);
        }
        if (k + depth == g->k) finish(g, t, s, r, rows);
    }
}

/* A tile of few rows, for which packing B does not pay. Returns how many of its columns are complete. */
static int64_t add_few_rows(const mep_product_kernels *kernels, const mep_gemm *g, const tile *t, const sums *s)
{
    int64_t pair = kernels->pair, size = mep_dtype_size(g->b.dtype);
    if (t->rows > MEP_FEW_ROWS || !g->b.transposed || g->b.packed || size * pair != sizeof(float) || g->k % pair ||
        !mep_reads_in_place(&g->a, 0, g->k))
        return 0;
    return kernels->few_rows(t->rows, t->columns, g->k / pair, mep_matrix_at(&g->a, t->row, 0), g->a.stride / pair,
                             mep_matrix_at(&g->b, 0, t->column), g->b.stride * size, s->data, s->stride, g->accumulate);
}

static void run_tile(const mep_product_kernels *kernels, const mep_gemm *g, const tile *t, const thread_memory *memory)
{
    sums s = sums_of_tile(g, t, memory);
    if (g->accumulate) begin_sums(g, t, &s);
    int64_t first = add_few_rows(kernels, g, t, &s);
    if (first == t->columns) finish(g, t, &s, 0, t->rows);
    for (int64_t k = 0; k < g->k && first < t->columns; k += MEP_DEPTH * kernels->pair)
        add_block(kernels, g, t, first, k, &s, memory);
}

/* ---- All tiles ---- */

mep_status mep_gemm_workspace_create(mep_gemm_workspace **workspace)
{
    return MEP_ALLOC(workspace, 1);
}

void mep_gemm_workspace_destroy(mep_gemm_workspace **workspace)
{
    if (*workspace != NULL) mep_free(&(*workspace)->memory);
    mep_free(workspace);
}

/* Floats of one thread's memory with this tiling. */
static int64_t thread_size(const tiling *t)
{
    int64_t columns = round_up(t->columns, MEP_LARGEST_PANEL);
    return MEP_MOST_ROWS * MEP_DEPTH + MEP_DEPTH * columns + t->rows * columns;
}

static thread_memory memory_of(const mep_gemm_workspace *w, const tiling *t, int64_t thread)
{
    thread_memory m = {.a = w->memory + thread * thread_size(t)};
    m.b = m.a + MEP_MOST_ROWS * MEP_DEPTH;
    m.sums = m.b + MEP_DEPTH * round_up(t->columns, MEP_LARGEST_PANEL);
    return m;
}

static mep_status reserve(mep_gemm_workspace *w, int64_t size)
{
    if (size <= w->size) return MEP_OK;
    mep_free(&w->memory);
    w->size = 0;
    MEP_TRY(MEP_ALLOC(&w->memory, size));
    w->size = size;
    return MEP_OK;
}

mep_status mep_gemm_run(mep_gemm_workspace *w, const mep_gemm *g)
{
    const mep_product_kernels *kernels = mep_product_kernels_for(mep_cpu_level_get(), g->a.dtype);
    MEP_ASSERT(g->m >= 1 && g->n >= 1 && g->k >= 1 && g->a.dtype == g->b.dtype);
    MEP_ASSERT(!g->a.packed && !g->c.packed && !g->c.transposed && g->c.stride >= g->n);
    int64_t threads = omp_in_parallel() || g->m * g->n * g->k < FEW_PRODUCTS ? 1 : omp_get_max_threads();
    tiling t = divide(g, kernels, threads);
    int64_t across = ceil_div(g->n, t.columns), tiles = tiles_of(g, &t);
    threads = min_i64(threads, tiles);
    MEP_TRY(reserve(w, threads * thread_size(&t)));
#pragma omp parallel for schedule(dynamic) num_threads((int)threads) if (threads > 1)
    for (int64_t i = 0; i < tiles; i++) {
        tile one = {.row = i / across * t.rows, .column = i % across * t.columns};
        one.rows = min_i64(t.rows, g->m - one.row);
        one.columns = min_i64(t.columns, g->n - one.column);
        thread_memory memory = memory_of(w, &t, omp_get_thread_num());
        run_tile(kernels, g, &one, &memory);
    }
    return MEP_OK;
}
