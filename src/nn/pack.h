/* SPDX-License-Identifier: MIT */
/*
 * The form in which the kernels of matrix products (nn/product.h) read their operands.
 *
 * B is packed in panels of `panel` columns. In float32 a panel contains rows 0, 1, ... of `panel` values; in bfloat16
 * it contains pairs of rows with interleaved values. Zeros follow the last row and column. Packing converts between
 * float32 and bfloat16 where needed.
 */
#ifndef MEP_NN_PACK_H
#define MEP_NN_PACK_H

#include "nn/gemm.h"

/* Bytes of op(B) [k x n] packed completely for products of `dtype`. MEP_ERROR_ARGUMENT where they exceed 2^63. */
mep_status mep_packed_size(int64_t k, int64_t n, mep_dtype dtype, int64_t *size);

/* Pack op(B) [k x n] for products of `dtype` into `memory` of mep_packed_size bytes, with all threads. Returns the
 * matrix to use as B, which refers to `memory` and is valid at the CPU level in force. */
mep_matrix mep_pack(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype, void *memory);

/* Rows of A in groups of MEP_ROW_GROUP; at most MEP_MOST_ROWS in a block. */
enum { MEP_ROW_GROUP = 12, MEP_MOST_ROWS = 192 };

/* A block of A as kernels read it: unit (row, column) is data[row / MEP_ROW_GROUP * group_stride + row % MEP_ROW_GROUP
 * * row_stride + column * column_stride]. */
typedef struct mep_block {
    const float *data;
    int64_t row_stride, column_stride, group_stride;
} mep_block;

/* 1 where kernels can read rows of op(A), in columns k .. k + depth, where they are stored. */
int mep_reads_in_place(const mep_matrix *a, int64_t k, int64_t depth);

/* Rows row .. row + rows and columns k .. k + depth of op(A), at most MEP_MOST_ROWS x MEP_DEPTH units: in place where
 * kernels can read them so, otherwise copied into `memory`, which has room for the largest block. */
mep_block mep_block_of_a(const mep_matrix *a, int64_t row, int64_t rows, int64_t k, int64_t depth, float *memory);

/* Rows k .. k + depth of the panel of op(B) [k_end x n] at `column`: in place where B is packed completely, otherwise
 * packed into `memory`, which has room for MEP_DEPTH units of MEP_LARGEST_PANEL columns. */
const float *mep_block_of_b(const mep_matrix *b, int64_t n, int64_t k, int64_t depth, int64_t column, float *memory);

#endif
