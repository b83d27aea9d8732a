/* SPDX-License-Identifier: MIT */
/*
 * Packing, in blocks of up to 64 x 64 that stay in the first cache. Everything is made of three row kernels: conversion
 * to bfloat16, interleaving of two rows, and transposition of 32-bit values (a value of float32, a pair of bfloat16).
 */
#include "nn/pack.h"

#include <string.h>

#include "base/memory.h"
#include "nn/rows.h"

enum { BLOCK = 64, AHEAD = 24 };

/* A block as stored: rows of `stride` bytes. */
typedef struct block {
    const char *data;
    int64_t stride;
    int64_t rows, columns; /* as stored, zeros behind the matrix's end included */
} block;

static const mep_row_kernels *kernels(void)
{
    return mep_row_kernels_for(mep_cpu_level_get());
}

int64_t mep_packed_rows(int64_t depth, mep_dtype dtype)
{
    int64_t multiple = dtype == MEP_FLOAT32 ? 16 : 32;
    return (depth + multiple - 1) / multiple * multiple;
}

/* Let the block lie in `edge`, with zeros behind what there is of it. */
static void complete(block *b, int64_t rows, int64_t columns, int64_t size, char *edge)
{
    memset(edge, 0, (size_t)(BLOCK * BLOCK * size));
    for (int64_t r = 0; r < rows; r++)
        memcpy(edge + r * BLOCK * size, b->data + r * b->stride, (size_t)(columns * size));
    *b = (block){edge, BLOCK * size, b->rows, b->columns};
}

/* Let the block, of float32, lie in `half` as bfloat16. */
static void halve(block *b, mep_bf16 *half)
{
    for (int64_t r = 0; r < b->rows; r++)
        kernels()->to_bf16(b->columns, (const float *)(const void *)(b->data + r * b->stride), half + r * BLOCK);
    *b = (block){(const char *)half, BLOCK * 2, b->rows, b->columns};
}

static const mep_bf16 *half_row(const block *b, int64_t row)
{
    return (const mep_bf16 *)(const void *)(b->data + row * b->stride);
}

/* Fetch a row's 64 values of bfloat16, which lie too far from the row before for the processor to foresee. A hint: it
 * may point beyond the matrix. */
static void prefetch(const block *b, int64_t row)
{
    const char *at = b->data + row * b->stride;
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
}

/* 64 columns and `depth` rows of op(B), a multiple of 16 or 32, from row k, column `column` on. */
static void pack_block(const mep_matrix *m, int64_t k_end, int64_t n, int64_t k, int64_t column, int64_t depth,
                       mep_dtype dtype, char *out)
{
    _Alignas(64) char edge[BLOCK * BLOCK * 4];
    _Alignas(64) mep_bf16 half[BLOCK * BLOCK];
    int64_t size = mep_dtype_size(m->dtype), there_k = k_end - k < depth ? k_end - k : depth,
            there_n = n - column < MEP_PANEL ? n - column : MEP_PANEL;
    block b = {mep_matrix_at(m, k, column), m->stride * size, m->transposed ? MEP_PANEL : depth,
               m->transposed ? depth : MEP_PANEL};
    if (there_k < depth || there_n < MEP_PANEL)
        complete(&b, m->transposed ? there_n : there_k, m->transposed ? there_k : there_n, size, edge);
    if (m->dtype != dtype) halve(&b, half);
    if (m->transposed)
        kernels()->transpose(MEP_PANEL, dtype == MEP_FLOAT32 ? depth : depth / 2, b.data, b.stride, out, MEP_PANEL * 4);
    else if (dtype == MEP_FLOAT32)
        for (int64_t r = 0; r < depth; r++) memcpy(out + r * MEP_PANEL * 4, b.data + r * b.stride, MEP_PANEL * 4);
    else
        for (int64_t r = 0; r < depth; r += 2) {
            prefetch(&b, r + AHEAD);
            prefetch(&b, r + AHEAD + 1);
            kernels()->interleave(MEP_PANEL, half_row(&b, r), half_row(&b, r + 1), out + r * MEP_PANEL * 2);
        }
}

void mep_pack_panel(const mep_matrix *b, int64_t k, int64_t n, int64_t column, int64_t first, int64_t count,
                    mep_dtype dtype, int64_t packed_rows, void *panel)
{
    int64_t end = first + count < packed_rows ? first + count : packed_rows, row = first;
    if (b->transposed && b->dtype == dtype && column + MEP_PANEL <= n) { /* whole blocks lie side by side */
        int64_t there = (end < k ? end : k) / BLOCK * BLOCK - first, pairs = dtype == MEP_FLOAT32 ? 1 : 2;
        if (there > 0) {
            kernels()->transpose(MEP_PANEL, there / pairs, mep_matrix_at(b, first, column),
                                 b->stride * mep_dtype_size(dtype),
                                 (char *)panel + first * MEP_PANEL * mep_dtype_size(dtype), MEP_PANEL * 4);
            row += there;
        }
    }
    for (; row < end; row += BLOCK)
        pack_block(b, k, n, row, column, end - row < BLOCK ? end - row : BLOCK, dtype,
                   (char *)panel + row * MEP_PANEL * mep_dtype_size(dtype));
}

mep_status mep_packed_size(int64_t k, int64_t n, mep_dtype dtype, int64_t *size)
{
    return mep_multiply(mep_packed_rows(k, dtype), (n + MEP_PANEL - 1) / MEP_PANEL, MEP_PANEL * mep_dtype_size(dtype),
                        size);
}

mep_matrix mep_pack(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory)
{
    /* rows of B that lie beside each other are read together; columns are read to their end */
    int64_t rows = mep_packed_rows(k, dtype), part = b->transposed ? rows : 8 * BLOCK, parts = (rows + part - 1) / part,
            panels = (n + MEP_PANEL - 1) / MEP_PANEL;
#pragma omp parallel for
    for (int64_t i = 0; i < parts * panels; i++) {
        int64_t panel = i % panels;
        mep_pack_panel(b, k, n, panel * MEP_PANEL, i / panels * part, part, dtype, rows,
                       (char *)memory + panel * MEP_PANEL * rows * mep_dtype_size(dtype));
    }
    return (mep_matrix){memory, dtype, rows, 0, 1};
}

/* A transposed bfloat16 block: `depth` values, even, of each of `rows` rows. Pairs are interleaved, then turned. */
static void turn_halves(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t k_end, int64_t depth,
                        char *out, int64_t out_stride)
{
    static const mep_bf16 zeros[BLOCK];
    uint32_t pairs[BLOCK / 2 * BLOCK];
    for (int64_t i = 0; i < depth; i += 2)
        kernels()->interleave(rows, mep_matrix_at(a, row, k + i),
                              k + i + 1 < k_end ? mep_matrix_at(a, row, k + i + 1) : zeros, pairs + i / 2 * BLOCK);
    kernels()->transpose(depth / 2, rows, pairs, BLOCK * 4, out, out_stride);
}

void mep_pack_strip(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, void *strip)
{
    int64_t size = mep_dtype_size(a->dtype);
    if (!a->transposed) {
        for (int64_t r = 0; r < rows; r++)
            memcpy((char *)strip + r * k * size, mep_matrix_at(a, row + r, 0), (size_t)(k * size));
        return;
    }
    for (int64_t r = 0; r < rows; r += BLOCK)
        for (int64_t first = 0; first < depth; first += BLOCK) {
            int64_t high = rows - r < BLOCK ? rows - r : BLOCK, deep = depth - first < BLOCK ? depth - first : BLOCK;
            char *out = (char *)strip + (r * depth + first) * size;
            if (a->dtype == MEP_BFLOAT16)
                turn_halves(a, row + r, high, first, k, deep, out, depth * size);
            else
                kernels()->transpose(deep, high, mep_matrix_at(a, row + r, first), a->stride * size, out, depth * size);
        }
}
