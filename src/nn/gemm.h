/* SPDX-License-Identifier: MIT */
/*
 * Matrix products: C = op(A) op(B), float32 or bfloat16 in, float32 sums, by oneDNN where the build has it, and what a
 * layer does to the sums before they are stored: bias, residual, GELU.
 *
 * The output is cut into tiles whose sizes depend on the shapes alone, and each tile is one single-threaded product, so
 * that results are the same bits for any number of threads. Nothing is allocated once a shape has been seen.
 */
#ifndef MEP_NN_GEMM_H
#define MEP_NN_GEMM_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row-major matrix; `stride` elements from row to row. transposed: op(X) is the transpose of what is stored. */
typedef struct mep_matrix {
    void *data;
    mep_dtype dtype; /* MEP_FLOAT32 or MEP_BFLOAT16 */
    int64_t stride;
    int transposed;
    int packed; /* a B only: op(B) as mep_pack leaves it, in panels of `stride` rows */
} mep_matrix;

/* The members behind `c` may be left 0. x = op(A) op(B) (+ bias) (+ residual) (+ C) (times gelu'(gelu_input)). */
typedef struct mep_gemm {
    int64_t m, n, k;        /* C[m x n] = op(A)[m x k] op(B)[k x n] */
    mep_matrix a, b;        /* of one dtype; beside a packed B, A is not transposed and its rows are contiguous */
    mep_matrix c;           /* x; not transposed */
    const float *bias;      /* [n], added to every row, or NULL */
    int accumulate;         /* add to what C holds */
    const float *residual;  /* [m x n] with C's stride, added, or NULL */
    void *gelu;             /* gelu(x), like C, or NULL; may be C's data: then x itself is not kept */
    const void *gelu_input; /* like C, or NULL */
    int gelu_tanh;          /* GELU is that by tanh, in either place */
} mep_gemm;

/* Carry out the product. Fails only when memory or oneDNN does. Thread-safe: calls of several threads
 * take turns, since each uses all of OpenMP's threads. */
mep_status mep_gemm_run(const mep_gemm *gemm);

/* Whether products of this type gain from a B that was packed beforehand (mep_pack in nn/pack.h), at this CPU level. */
int mep_gemm_packs(mep_dtype dtype);

/* "oneDNN 2.6.3" or "plain C". */
const char *mep_gemm_backend(void);

/* ---- Backends: who computes the sums of a tile ---- */

/* sums[rows x columns] (+)= op(A) op(B), sums contiguous, float32. */
typedef struct mep_gemm_tile {
    int64_t rows, columns, depth;
    mep_matrix a, b;
    int accumulate;
} mep_gemm_tile;

typedef struct mep_gemm_backend_table {
    const char *(*name)(void);
    /* Whether products of this type gain from a packed B; all backends read one. */
    int (*packs)(mep_dtype dtype);
    /* Make ready what tiles of these shapes need; called by one thread. MEP_ERROR_UNSUPPORTED hands the product to the
     * plain backend. */
    mep_status (*prepare)(const mep_gemm_tile *tiles, int count);
    /* Compute a tile of one of these shapes; called by any thread of the team, sets no message. */
    mep_status (*run)(const mep_gemm_tile *tile, float *sums);
} mep_gemm_backend_table;

extern const mep_gemm_backend_table mep_gemm_plain;
#if MEP_HAVE_ONEDNN
extern const mep_gemm_backend_table mep_gemm_onednn;
#endif

/* The same product by a backend of one's choice, for tests. */
mep_status mep_gemm_run_with(const mep_gemm_backend_table *backend, const mep_gemm *gemm);

/* Element address of op(X) at (row, column). */
static inline void *mep_matrix_at(const mep_matrix *x, int64_t row, int64_t column)
{
    int64_t at = x->transposed ? column * x->stride + row : row * x->stride + column;
    return (char *)x->data + at * (x->dtype == MEP_FLOAT32 ? 4 : 2);
}

#ifdef __cplusplus
}
#endif

#endif
