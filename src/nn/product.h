/* SPDX-License-Identifier: MIT */
/*
 * The table of kernels for matrix products: one variant per CPU level (product_*.c, from product_body.h, or for AMX
 * from product_amx_body.h). gemm.c divides products into tiles and blocks; pack.c brings operands into the form that
 * these kernels read. Kernels take plain arguments, also more than eight: a struct would have to be written to memory
 * for each block.
 *
 * Operands are packed in units of 32 bits: one float32, or, in the variant with bfloat16 arithmetic, two bfloat16
 * values that are neighbors along the summed index. Buffers of units are declared as float; sums are float32.
 */
#ifndef MEP_NN_PRODUCT_H
#define MEP_NN_PRODUCT_H

#include <stdint.h>

#include "base/cpu.h"
#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of all variants: the smallest and the largest panel; the most floats per vector; the units of the summed index that
 * are multiplied at a time; the most rows for which B is not packed. */
enum { MEP_SMALLEST_PANEL = 8, MEP_LARGEST_PANEL = 64, MEP_LARGEST_VECTOR = 16, MEP_DEPTH = 384, MEP_FEW_ROWS = 4 };

typedef struct mep_product_kernels {
    const char *name;
    int64_t panel; /* columns of B that are packed together; divides MEP_LARGEST_PANEL */
    int64_t pair;  /* values per unit: 1 (float32) or 2 (bfloat16) */
    int64_t rows;  /* rows that blocks and tiles of C have a multiple of; divides MEP_MOST_ROWS (nn/pack.h) */
    int a_in_rows; /* 1: rows of A have to be contiguous (a_column is 1) and evenly spaced */

    /* C[rows x columns] = A B, or += with accumulate (base/tile.h). columns is at most `panel`, and C has room for the
     * next multiple of MEP_LARGEST_VECTOR; A can be strided both ways; B is a packed panel. */
    void (*product)(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, float *c, int64_t c_row, int accumulate);

    /* All blocks of the summed index for few rows, 1 to MEP_FEW_ROWS, of a contiguous A and a B that is stored
     * transposed and not packed: column c of B is at b + c * b_stride, in bytes. Reads B once. Returns the number of
     * columns, from the first, that it has computed: 0 where it does not support the depth. */
    int64_t (*few_rows)(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, const char *b,
                        int64_t b_stride, float *c, int64_t c_row, int accumulate);

    /* low[i] and high[i] are the two values of pair i, as float32. NULL at amx_bf16, where no
     * pair is converted. */
    void (*split)(int64_t n, const void *pairs, float *low, float *high);
} mep_product_kernels;

/* The variant for a CPU level and the operands' type: the highest one at or below the level. */
const mep_product_kernels *mep_product_kernels_for(mep_cpu_level level, mep_dtype dtype);

extern const mep_product_kernels mep_product_kernels_c;
#if defined(__x86_64__)
extern const mep_product_kernels mep_product_kernels_avx2;
extern const mep_product_kernels mep_product_kernels_avx512;
extern const mep_product_kernels mep_product_kernels_avx512_bf16;
extern const mep_product_kernels mep_product_kernels_amx_bf16;
#elif defined(__aarch64__)
extern const mep_product_kernels mep_product_kernels_neon;
#endif

#ifdef __cplusplus
}
#endif

#endif
