/* SPDX-License-Identifier: MIT */
/*
 * Packing operands, in blocks that stay in the L1 or L2 cache. All of it uses row kernels: conversion to and from
 * bfloat16, interleaving of two rows, and transposition of 32-bit values (a float32, or a pair of bfloat16).
 */
#include "nn/pack.h"

#include <string.h>

#include "base/assertion.h"
#include "base/integer.h"
#include "base/memory.h"
#include "nn/product.h"
#include "nn/rows.h"

/* Largest block of B that is converted at a time; lines that are prefetched; number of bytes that divides a panel's
 * row. */
enum { BLOCK = 64, AHEAD = 24, CHUNK = 32 };

static const mep_row_kernels *rows_kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

static const mep_product_kernels *products(mep_dtype dtype)
{
    return mep_product_kernels_for(mep_cpu_level_get(), dtype);
}

/* ---- B ---- */

/* Some of B as it is stored: `lines` lines of `count` values, `stride` bytes apart. Lines are rows of op(B), or its
 * columns where it is transposed. */
typedef struct stored_lines {
    const char *data;
    mep_dtype dtype;
    int64_t stride, lines, count;
} stored_lines;

/* Copy the lines into `copy` as lines of BLOCK values of `dtype`, with zeros up to lines x count. */
static void convert_lines(stored_lines *p, mep_dtype dtype, int64_t lines, int64_t count, char *copy)
{
    int64_t size = mep_dtype_size(dtype), stride = BLOCK * size;
    if (p->lines < lines || p->count < count) memset(copy, 0, (size_t)(BLOCK * stride));
    for (int64_t i = 0; i < p->lines; i++) {
        const void *from = p->data + i * p->stride;
        void *to = copy + i * stride;
        if (p->dtype == dtype)
            memcpy(to, from, (size_t)(p->count * size));
        else if (dtype == MEP_FLOAT32)
            rows_kernels()->from_bf16(p->count, from, to);
        else
            rows_kernels()->to_bf16(p->count, from, to);
    }
    *p = (stored_lines){.data = copy, .dtype = dtype, .stride = stride, .lines = lines, .count = count};
}

/* Prefetch a line, which is too far from the line before for the CPU's prefetcher. The address can be outside the
 * matrix. */
static void prefetch(const stored_lines *p, int64_t line)
{
    const char *at = p->data + line * p->stride;
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
}

static void copy_lines(const stored_lines *p, int64_t panel, char *out)
{
    for (int64_t i = 0; i < p->lines; i++) {
        const char *from = p->data + i * p->stride;
        prefetch(p, i + AHEAD);
        for (int64_t at = 0; at < panel * 4; at += CHUNK) memcpy(out + i * panel * 4 + at, from + at, CHUNK);
    }
}

static void interleave_lines(const stored_lines *p, int64_t panel, char *out)
{
    for (int64_t i = 0; i < p->lines; i += 2) {
        prefetch(p, i + AHEAD);
        prefetch(p, i + AHEAD + 1);
        rows_kernels()->interleave(panel, (const mep_bf16 *)(const void *)(p->data + i * p->stride),
                                   (const mep_bf16 *)(const void *)(p->data + (i + 1) * p->stride),
                                   out + i / 2 * panel * 4);
    }
}

/* A matrix B [k x n] that is packed in panels of `panel` columns, in units of `dtype`. */
typedef struct packing {
    const mep_matrix *b;
    int64_t k, n, panel;
    mep_dtype dtype;
} packing;

/* Pack rows first .. first + depth of the panel at `column` into `out`. depth is a multiple of the pair, and at most
 * BLOCK unless B is transposed and not converted. */
static void pack_lines(const packing *c, int64_t first, int64_t depth, int64_t column, char *out)
{
    _Alignas(64) char copy[BLOCK * BLOCK * 4];
    const mep_matrix *b = c->b;
    mep_dtype dtype = c->dtype;
    int64_t panel = c->panel, rows = min_i64(c->k - first, depth), columns = min_i64(c->n - column, panel);
    stored_lines p = {.data = mep_matrix_at(b, first, column),
                      .dtype = b->dtype,
                      .stride = b->stride * mep_dtype_size(b->dtype),
                      .lines = b->transposed ? columns : rows,
                      .count = b->transposed ? rows : columns};
    if (rows < depth || columns < panel || b->dtype != dtype)
        convert_lines(&p, dtype, b->transposed ? panel : depth, b->transposed ? depth : panel, copy);
    if (b->transposed)
        rows_kernels()->transpose(panel, dtype == MEP_FLOAT32 ? depth : depth / 2, p.data, p.stride, out, panel * 4);
    else if (dtype == MEP_BFLOAT16)
        interleave_lines(&p, panel, out);
    else
        copy_lines(&p, panel, out);
}

/* The same for any depth. */
static void pack_panel(const packing *c, int64_t first, int64_t depth, int64_t column, char *out)
{
    int64_t row = 0;
    if (c->b->transposed && c->b->dtype == c->dtype && column + c->panel <= c->n && first + depth <= c->k)
        row = depth / BLOCK * BLOCK;
    if (row > 0) pack_lines(c, first, row, column, out);
    for (; row < depth; row += BLOCK)
        pack_lines(c, first + row, min_i64(depth - row, BLOCK), column,
                   out + row * c->panel * mep_dtype_size(c->dtype));
}

static int64_t packed_rows(int64_t k, mep_dtype dtype)
{
    return dtype == MEP_FLOAT32 ? k : (k + 1) / 2 * 2;
}

mep_status mep_packed_size(int64_t k, int64_t n, mep_dtype dtype, int64_t *size)
{
    int64_t panel = products(dtype)->panel;
    return mep_multiply(packed_rows(k, dtype), ceil_div(n, panel), panel * mep_dtype_size(dtype), size);
}

mep_matrix mep_pack(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory)
{
    /* neighboring rows of B are read together; columns are read to their end */
    int64_t rows = packed_rows(k, dtype), panel = products(dtype)->panel, depth = b->transposed ? rows : 8 * BLOCK,
            chunks = ceil_div(rows, depth), panels = ceil_div(n, panel);
    const packing c = {.b = b, .k = k, .n = n, .panel = panel, .dtype = dtype};
#pragma omp parallel for
    for (int64_t i = 0; i < chunks * panels; i++) {
        int64_t column = i % panels * panel, row = i / panels * depth;
        pack_panel(&c, row, min_i64(rows - row, depth), column,
                   (char *)memory + (column * rows + row * panel) * mep_dtype_size(dtype));
    }
    return (mep_matrix){.data = memory, .dtype = dtype, .stride = rows, .packed = 1};
}

const float *mep_block_of_b(const mep_matrix *b, int64_t n, int64_t k, int64_t depth, int64_t column, float *memory)
{
    const mep_product_kernels *kernels = products(b->dtype);
    int64_t panel = kernels->panel;
    mep_dtype packed_as = kernels->pair == 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
    if (!b->packed) {
        const packing c = {.b = b, .k = k + depth, .n = n, .panel = panel, .dtype = packed_as};
        pack_panel(&c, k, packed_rows(depth, packed_as), column, (char *)memory);
        return memory;
    }
    const char *at = (const char *)b->data + (column * b->stride + k * panel) * mep_dtype_size(b->dtype);
    if (b->dtype == packed_as) return (const float *)(const void *)at;
    for (int64_t row = 0; row < depth; row += 2)
        kernels->split(panel, at + row * panel * 2, memory + row * panel, memory + (row + 1) * panel);
    return memory;
}

/* ---- A ---- */

/* Copied rows of a transposed A are in groups, so that the rows that a kernel reads together are next to each other. */
enum { GROUP = MEP_ROW_GROUP, LINES_AHEAD = 4, LINES_TURNED = 16 };

/* Store a line of `rows` units at its offset in every group. */
static void scatter(const float *line, int64_t rows, int64_t units, float *out)
{
    int64_t r = 0;
    for (; r + GROUP <= rows; r += GROUP) memcpy(out + r * units, line + r, GROUP * sizeof *line);
    if (r < rows) memcpy(out + r * units, line + r, (size_t)(rows - r) * sizeof *line);
}

/* Prefetch `count` columns of a transposed A, which are short and far from each other. */
static void prefetch_columns(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t count)
{
    for (int64_t i = k; i < k + count; i++) {
        const char *at = mep_matrix_at(a, row, i), *end = mep_matrix_at(a, row + rows, i);
        for (; at < end; at += 64) __builtin_prefetch(at);
    }
}

/* Unit i of `rows` rows of a transposed A from column k, as a line: in place, or computed into `line`. Neighboring
 * columns become pairs where units are pairs. */
static const float *line_of_units(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, int64_t i,
                                  float *line)
{
    static const mep_bf16 zeros[MEP_MOST_ROWS];
    int64_t pair = products(a->dtype)->pair;
    const void *from = mep_matrix_at(a, row, k + i * pair);
    prefetch_columns(a, row, rows, k + (i + LINES_AHEAD) * pair, pair);
    const void *next = i * pair + 1 < depth ? mep_matrix_at(a, row, k + i * pair + 1) : zeros;
    if (pair == 2) rows_kernels()->interleave(rows, from, next, line);
    if (pair == 1 && a->dtype == MEP_BFLOAT16) rows_kernels()->from_bf16(rows, from, line);
    return a->dtype == MEP_FLOAT32 ? from : line;
}

/* Copy columns of a transposed A into groups of rows. */
static mep_block copy_columns(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    float line[MEP_MOST_ROWS];
    int64_t pair = products(a->dtype)->pair, units = (depth + pair - 1) / pair;
    for (int64_t i = 0; i < units; i++)
        scatter(line_of_units(a, row, rows, k, depth, i, line), rows, units, memory + i * GROUP);
    return (mep_block){.data = memory, .row_stride = 1, .column_stride = GROUP, .group_stride = GROUP * units};
}

/* Copy columns of a transposed A as contiguous rows of pairs, for kernels that read nothing else. */
static mep_block turn_columns(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    float lines[LINES_TURNED][MEP_MOST_ROWS];
    int64_t units = (depth + 1) / 2;
    MEP_ASSERT(products(a->dtype)->pair == 2);
    for (int64_t first = 0; first < units; first += LINES_TURNED) {
        int64_t count = min_i64(LINES_TURNED, units - first);
        for (int64_t i = 0; i < count; i++) (void)line_of_units(a, row, rows, k, depth, first + i, lines[i]);
        rows_kernels()->transpose(count, rows, lines, sizeof lines[0], memory + first, units * (int64_t)sizeof *memory);
    }
    return (mep_block){.data = memory, .row_stride = units, .column_stride = 1, .group_stride = GROUP * units};
}

/* Copy rows, converted to float32. */
static mep_block convert_rows(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    for (int64_t r = 0; r < rows; r++)
        rows_kernels()->from_bf16(depth, mep_matrix_at(a, row + r, k), memory + r * depth);
    return (mep_block){.data = memory, .row_stride = depth, .column_stride = 1, .group_stride = GROUP * depth};
}

/* Copy rows of pairs that cannot be read in place because of an odd stride, address or depth. */
static mep_block copy_pairs(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    int64_t units = (depth + 1) / 2;
    for (int64_t r = 0; r < rows; r++) {
        memory[r * units + units - 1] = 0;
        memcpy(memory + r * units, mep_matrix_at(a, row + r, k), (size_t)depth * 2);
    }
    return (mep_block){.data = memory, .row_stride = units, .column_stride = 1, .group_stride = GROUP * units};
}

int mep_reads_in_place(const mep_matrix *a, int64_t k, int64_t depth)
{
    if (a->transposed) return 0;
    if (products(a->dtype)->pair == 1) return a->dtype == MEP_FLOAT32;
    return (depth | a->stride) % 2 == 0 && (uintptr_t)mep_matrix_at(a, 0, k) % sizeof(float) == 0;
}

mep_block mep_block_of_a(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    int64_t pair = products(a->dtype)->pair;
    MEP_ASSERT(rows >= 1 && rows <= MEP_MOST_ROWS && depth >= 1 && depth <= MEP_DEPTH * pair);
    if (a->transposed)
        return (products(a->dtype)->a_in_rows ? turn_columns : copy_columns)(a, row, rows, k, depth, memory);
    if (mep_reads_in_place(a, k, depth))
        return (mep_block){.data = mep_matrix_at(a, row, k),
                           .row_stride = a->stride / pair,
                           .column_stride = 1,
                           .group_stride = GROUP * a->stride / pair};
    return pair == 1 ? convert_rows(a, row, rows, k, depth, memory) : copy_pairs(a, row, rows, k, depth, memory);
}
