/* SPDX-License-Identifier: MIT */
/*
 * The table of tile kernels that fused attention is made of. A tile is up to TILE_ROWS queries against a block of
 * BLOCK_KEYS keys; scores of a tile are S[row * BLOCK_KEYS + key]. One variant a CPU level fills the table
 * (kernels_*.c, all from kernels_body.h); the drivers (forward.c, backward.c, decode.c) are written once above it.
 * docs/kernels.md is the contract.
 */
#ifndef MEP_ATTENTION_KERNELS_H
#define MEP_ATTENTION_KERNELS_H

#include <stdint.h>

#include "base/cpu.h"

enum { TILE_ROWS = 64, BLOCK_KEYS = 64, CHANNEL_MULTIPLE = 16 };

typedef struct mep_attention_kernels {
    const char *name;
    int lanes; /* floats a vector */

    /* C[rows x columns] = A B, or += with accumulate; columns a multiple of CHANNEL_MULTIPLE, A strided either way. */
    void (*product)(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate);

    /* Online softmax of a tile. In: S = scaled q.k; bias: of row 0 at key 0 of the block, contiguous in the key, row r
     * at bias - r. Out: S = exp(S + bias - maximum); maximum and sum brought up to date; rescale[r] = exp(old - new
     * maximum), by which the row's output so far must be multiplied. */
    void (*softmax)(int64_t rows, float *s, const float *bias, float *maximum, float *sum, float *rescale);

    /* Row r of o[rows x columns] times factor[r]. */
    void (*scale_rows)(int64_t rows, int64_t columns, float *o, int64_t o_row, const float *factor);

    /* In: S = scaled q.k, DP = dout.v. Out: S = P = exp(S + bias - lse), DP = dS = P (DP - delta), and dS added to
     * diagonal[- r + key], laid out like bias. */
    void (*gradient)(int64_t rows, float *s, float *dp, const float *bias, const float *lse, const float *delta,
                     float *diagonal);

    /* Sum of a[i] b[i]; y[i] += x a[i]; y[i] = exp(y[i] - shift), returning the sum. Any n. */
    float (*dot)(int64_t n, const float *a, const float *b);
    void (*add_scaled)(int64_t n, float x, const float *a, float *y);
    float (*exponentials)(int64_t n, float shift, float *y);
} mep_attention_kernels;

/* The variant for a level: the highest one that exists at or below it. */
const mep_attention_kernels *mep_attention_kernels_for(mep_cpu_level level);

extern const mep_attention_kernels mep_attention_kernels_c;
#if defined(__x86_64__)
extern const mep_attention_kernels mep_attention_kernels_avx2;
extern const mep_attention_kernels mep_attention_kernels_avx512;
#endif

#endif
