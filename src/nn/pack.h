/* SPDX-License-Identifier: MIT */
/*
 * The order in which oneDNN's inner kernels read their operands. A packed B lies in panels of 64 columns; a panel holds
 * rows 0, 1, ... of 64 values in float32, and pairs of rows with their values interleaved in bfloat16, with zeros
 * behind the last row and column (oneDNN's BA16a64b and BA16a64b2a). Packing converts float32 to bfloat16 where that is
 * wanted.
 */
#ifndef MEP_NN_PACK_H
#define MEP_NN_PACK_H

#include "base/bf16.h"
#include "nn/gemm.h"

enum { MEP_PANEL = 64 };

/* Bytes of op(B) [k x n] when packed for products of `dtype`. MEP_ERROR_ARGUMENT where they pass 2^63. */
mep_status mep_packed_size(int64_t k, int64_t n, mep_dtype dtype, int64_t *size);

/* Pack op(B) [k x n] for products of `dtype` into `memory` of mep_packed_size bytes, with all threads. Returns what a
 * product takes as its B; it refers to `memory`. */
mep_matrix mep_pack(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory);

/* Rows of a panel for a depth: the next multiple of 16 or, in bfloat16, 32. */
int64_t mep_packed_rows(int64_t depth, mep_dtype dtype);

/* Where a packed matrix has op(B)'s element. */
static inline void *mep_packed_at(const mep_matrix *b, int64_t row, int64_t column)
{
    int64_t start = column / MEP_PANEL * b->stride * MEP_PANEL, within = column % MEP_PANEL;
    if (b->dtype == MEP_FLOAT32) return (float *)b->data + start + row * MEP_PANEL + within;
    return (mep_bf16 *)b->data + start + (row / 2 * MEP_PANEL + within) * 2 + row % 2;
}

/* Rows first .. first + count of the panel of columns column .. column + 64 of op(B) [k x n] into `panel`, which has
 * `packed_rows` rows. first and count are multiples of 64; count may reach beyond the end. */
void mep_pack_panel(const mep_matrix *b, int64_t k, int64_t n, int64_t column, int64_t first, int64_t count,
                    mep_dtype dtype, int64_t packed_rows, void *panel);

/* Rows row .. row + rows of op(A) [.. x k] as a contiguous [rows x depth] of A's type, zeros behind k; depth is k or,
 * of a transposed bfloat16 A, the next even number. */
void mep_pack_strip(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, void *strip);

#endif
