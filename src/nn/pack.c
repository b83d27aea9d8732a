/* SPDX-License-Identifier: MIT */
/*
 * Packing operands, in blocks that stay in the L1 or L2 cache. All of it uses row kernels: conversion to and from
 * bfloat16, interleaving of two rows, and transposition of 32-bit values (a float32, or a pair of bfloat16).
 */
#include "nn/pack.h"

#include <string.h>

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

/* A part of B as it is stored: `lines` lines of `count` values, `stride` bytes apart. Lines are rows of op(B), or its
 * columns where it is transposed. */
typedef struct part {
    const char *data;
    mep_dtype dtype;
    int64_t stride, lines, count;
} part;

/* Copy the part into `copy` as lines of BLOCK values of `dtype`, with zeros up to lines x count. */
static void convert_part(part *p, mep_dtype dtype, int64_t lines, int64_t count, char *copy)
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
    *p = (part){copy, dtype, stride, lines, count};
}

/* Prefetch a line, which is too far from the line before for the CPU's prefetcher. The address can be outside the
 * matrix. */
static void prefetch(const part *p, int64_t line)
{
    const char *at = p->data + line * p->stride;
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
}

static void copy_lines(const part *p, int64_t panel, char *out)
{
    for (int64_t i = 0; i < p->lines; i++) {
        const char *from = p->data + i * p->stride;
        prefetch(p, i + AHEAD);
        for (int64_t at = 0; at < panel * 4; at += CHUNK) memcpy(out + i * panel * 4 + at, from + at, CHUNK);
    }
}

static void interleave_lines(const part *p, int64_t panel, char *out)
{
    for (int64_t i = 0; i < p->lines; i += 2) {
        prefetch(p, i + AHEAD);
        prefetch(p, i + AHEAD + 1);
        rows_kernels()->interleave(panel, (const mep_bf16 *)(const void *)(p->data + i * p->stride),
                                   (const mep_bf16 *)(const void *)(p->data + (i + 1) * p->stride),
                                   out + i / 2 * panel * 4);
    }
}

/* Pack rows k .. k + depth of the panel at `column` into `out`, in units of `dtype`. depth is a multiple of the pair,
 * and at most BLOCK unless B is transposed and not converted. */
static void pack_part(const mep_matrix *b, int64_t k_end, int64_t n, int64_t k, int64_t depth, int64_t column,
                      int64_t panel, mep_dtype dtype, char *out)
{
    _Alignas(64) char copy[BLOCK * BLOCK * 4];
    int64_t rows = k_end - k < depth ? k_end - k : depth, columns = n - column < panel ? n - column : panel;
    part p = {mep_matrix_at(b, k, column), b->dtype, b->stride * mep_dtype_size(b->dtype),
              b->transposed ? columns : rows, b->transposed ? rows : columns};
    if (rows < depth || columns < panel || b->dtype != dtype)
        convert_part(&p, dtype, b->transposed ? panel : depth, b->transposed ? depth : panel, copy);
    if (b->transposed)
        rows_kernels()->transpose(panel, dtype == MEP_FLOAT32 ? depth : depth / 2, p.data, p.stride, out, panel * 4);
    else if (dtype == MEP_BFLOAT16)
        interleave_lines(&p, panel, out);
    else
        copy_lines(&p, panel, out);
}

/* The same for any depth. */
static void pack_panel(const mep_matrix *b, int64_t k_end, int64_t n, int64_t k, int64_t depth, int64_t column,
                       int64_t panel, mep_dtype dtype, char *out)
{
    int64_t row = 0;
    if (b->transposed && b->dtype == dtype && column + panel <= n && k + depth <= k_end) row = depth / BLOCK * BLOCK;
    if (row > 0) pack_part(b, k_end, n, k, row, column, panel, dtype, out);
    for (; row < depth; row += BLOCK)
        pack_part(b, k_end, n, k + row, depth - row < BLOCK ? depth - row : BLOCK, column, panel, dtype,
                  out + row * panel * mep_dtype_size(dtype));
}

static int64_t packed_rows(int64_t k, mep_dtype dtype)
{
    return dtype == MEP_FLOAT32 ? k : (k + 1) / 2 * 2;
}

mep_status mep_packed_size(int64_t k, int64_t n, mep_dtype dtype, int64_t *size)
{
    int64_t panel = products(dtype)->panel;
    return mep_multiply(packed_rows(k, dtype), (n + panel - 1) / panel, panel * mep_dtype_size(dtype), size);
}

mep_matrix mep_pack(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory)
{
    /* neighboring rows of B are read together; columns are read to their end */
    int64_t rows = packed_rows(k, dtype), panel = products(dtype)->panel, depth = b->transposed ? rows : 8 * BLOCK,
            parts = (rows + depth - 1) / depth, panels = (n + panel - 1) / panel;
#pragma omp parallel for
    for (int64_t i = 0; i < parts * panels; i++) {
        int64_t column = i % panels * panel, row = i / panels * depth;
        pack_panel(b, k, n, row, rows - row < depth ? rows - row : depth, column, panel, dtype,
                   (char *)memory + (column * rows + row * panel) * mep_dtype_size(dtype));
    }
    return (mep_matrix){memory, dtype, rows, 0, 1};
}

const float *mep_block_of_b(const mep_matrix *b, int64_t n, int64_t k, int64_t depth, int64_t column, float *memory)
{
    const mep_product_kernels *kernels = products(b->dtype);
    int64_t panel = kernels->panel;
    mep_dtype packed_as = kernels->pair == 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
    if (!b->packed) {
        pack_panel(b, k + depth, n, k, packed_rows(depth, packed_as), column, panel, packed_as, (char *)memory);
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
enum { GROUP = MEP_ROW_GROUP, LINES_AHEAD = 4 };

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

/* Copy columns of a transposed A into groups of rows; neighbors become pairs where units are pairs. */
static mep_block copy_columns(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    static const mep_bf16 zeros[MEP_MOST_ROWS];
    float line[MEP_MOST_ROWS];
    int64_t pair = products(a->dtype)->pair, units = (depth + pair - 1) / pair;
    for (int64_t i = 0; i < units; i++) {
        const void *from = mep_matrix_at(a, row, k + i * pair);
        prefetch_columns(a, row, rows, k + (i + LINES_AHEAD) * pair, pair);
        const void *next = i * pair + 1 < depth ? mep_matrix_at(a, row, k + i * pair + 1) : zeros;
        if (pair == 2) rows_kernels()->interleave(rows, from, next, line);
        if (pair == 1 && a->dtype == MEP_BFLOAT16) rows_kernels()->from_bf16(rows, from, line);
        scatter(a->dtype == MEP_FLOAT32 ? from : line, rows, units, memory + i * GROUP);
    }
    return (mep_block){memory, 1, GROUP, GROUP * units};
}

/* Copy rows, converted to float32. */
static mep_block convert_rows(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    for (int64_t r = 0; r < rows; r++)
        rows_kernels()->from_bf16(depth, mep_matrix_at(a, row + r, k), memory + r * depth);
    return (mep_block){memory, depth, 1, GROUP * depth};
}

/* Copy rows of pairs that cannot be read in place because of an odd stride, address or depth. */
static mep_block copy_pairs(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory)
{
    int64_t units = (depth + 1) / 2;
    for (int64_t r = 0; r < rows; r++) {
        memory[r * units + units - 1] = 0;
        memcpy(memory + r * units, mep_matrix_at(a, row + r, k), (size_t)depth * 2);
    }
    return (mep_block){memory, units, 1, GROUP * units};
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
    if (a->transposed) return copy_columns(a, row, rows, k, depth, memory);
    if (mep_reads_in_place(a, k, depth))
        return (mep_block){mep_matrix_at(a, row, k), a->stride / pair, 1, GROUP * a->stride / pair};
    return pair == 1 ? convert_rows(a, row, rows, k, depth, memory) : copy_pairs(a, row, rows, k, depth, memory);
}
