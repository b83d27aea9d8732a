/* SPDX-License-Identifier: MIT */
/*
 * Matrix products: C = op(A) op(B), float32 or bfloat16 operands, float32 sums, and what a layer does with the sums
 * before they are stored: bias, residual, GELU.
 *
 * Bits: the summed index is divided into blocks of MEP_DEPTH units (nn/product.h). An element is the sum, in order, of
 * its blocks' chains of multiply-adds (base/tile.h); with `accumulate` the sum begins with the value of C. So it
 * depends only on its row of A, its column of B, k and the CPU level: not on m or n, on how operands are stored, on the
 * number of threads, or on the tiles that the product is divided into.
 */
#ifndef MEP_NN_GEMM_H
#define MEP_NN_GEMM_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row-major matrix; `stride` elements between rows. transposed: op(X) is the transpose of the stored matrix. */
typedef struct mep_matrix {
    void *data;
    mep_dtype dtype; /* MEP_FLOAT32 or MEP_BFLOAT16 */
    int64_t stride;
    int transposed;
    int packed; /* of B only: op(B) in the form of mep_pack, in panels of `stride` rows */
} mep_matrix;

/* The function f of a product's epilogue: x (1 + erf(x / sqrt 2)) / 2, or its approximation by tanh (nn/rows.h). */
typedef enum mep_epilogue { MEP_EPILOGUE_GELU = 0, MEP_EPILOGUE_GELU_TANH = 1 } mep_epilogue;

/* x = op(A) op(B) (+ bias) (+ residual) (+ C) (times f'(slope_input)). The members after `c` can be 0. */
typedef struct mep_gemm {
    int64_t m, n, k;         /* C[m x n] = op(A)[m x k] op(B)[k x n] */
    mep_matrix a, b;         /* of the same dtype */
    mep_matrix c;            /* x; not transposed */
    const float *bias;       /* [n], added to every row, or NULL */
    int accumulate;          /* add to the values of C */
    const float *residual;   /* [m x n] with C's stride, added, or NULL; may be C's data */
    mep_epilogue epilogue;   /* f */
    void *activated;         /* f(x), like C, or NULL; may be C's data: then x itself is not kept */
    const void *slope_input; /* like C, or NULL */
} mep_gemm;

/* Memory for products, used by one caller at a time. It grows up to 3.8 MB per thread; a product of a shape and a
 * number of threads seen before allocates nothing. */
typedef struct mep_gemm_workspace mep_gemm_workspace;

mep_status mep_gemm_workspace_create(mep_gemm_workspace **workspace);
void mep_gemm_workspace_destroy(mep_gemm_workspace **workspace); /* NULL inside is allowed; it becomes NULL */

/* Compute the product with all of OpenMP's threads. MEP_ERROR_MEMORY is the only failure. */
mep_status mep_gemm_run(mep_gemm_workspace *workspace, const mep_gemm *gemm);

/* Address of element (row, column) of op(X). */
static inline void *mep_matrix_at(const mep_matrix *x, int64_t row, int64_t column)
{
    int64_t at = x->transposed ? column * x->stride + row : row * x->stride + column;
    return (char *)x->data + at * (x->dtype == MEP_FLOAT32 ? 4 : 2);
}

#ifdef __cplusplus
}
#endif

#endif
