/* SPDX-License-Identifier: MIT */
/*
 * The table of compute kernels for fused attention. A tile is up to TILE_ROWS queries against a block of BLOCK_KEYS
 * keys; the scores of a tile are S[row * BLOCK_KEYS + key]. Each CPU level fills one table (kernels_*.c, all from
 * kernels_body.h); the passes above (forward.c, backward.c, decode.c) are written once. docs/kernels.md is the
 * contract. Kernels take plain arguments, also more than eight: a struct would have to be written to memory for each
 * tile.
 *
 * Operands of products are packed in units of 32 bits: one float32, or in the bfloat16 variants two neighbors along the
 * index that the product sums over. Buffers of units are declared as float; C is always float32.
 */
#ifndef MEP_ATTENTION_KERNELS_H
#define MEP_ATTENTION_KERNELS_H

#include <stdint.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "mep/types.h"

enum { TILE_ROWS = 64, BLOCK_KEYS = 64, CHANNEL_MULTIPLE = 16 };

/* What is added to the scores of a tile, and what multiplies its weights. Pointers to terms that are absent are NULL.
 */
typedef struct mep_score_rows {
    const float *bias;         /* of row 0 at key 0 of the block, contiguous in the key; row r at bias - r */
    const float *gate_queries; /* [rows] */
    const float *gate_keys;    /* [BLOCK_KEYS]: subtracted; NULL with gate_queries */
    const float *add;          /* [rows, BLOCK_KEYS] */
    const float *factor;       /* [rows, BLOCK_KEYS] */
} mep_score_rows;

/* The other operands of the gradient of a tile with terms. */
typedef struct mep_score_gradient {
    const float *lse, *delta; /* [rows] */
    float *diagonal;          /* laid out like bias; NULL: not wanted */
    float *scores;            /* out: [rows, BLOCK_KEYS], dS in float32; NULL: not wanted */
    float *before_factor;     /* out where factor is not NULL: [rows, BLOCK_KEYS], dS / factor */
} mep_score_gradient;

/* Operands of toeplitz_gradient. */
typedef struct mep_toeplitz_gradient {
    int64_t rows, rank, c_row, table_row;
    const float *c, *table, *g;
    float *dc, *dtable;
} mep_toeplitz_gradient;

/* Operands of fire and fire_gradient: the function of fire.h for a tile, x = logarithm scale. */
typedef struct mep_fire_rows {
    int64_t rows, pieces;
    const float *logarithm;      /* of row 0 at key 0 of the block, contiguous in the key; row r at logarithm - r */
    const float *scale;          /* [rows]: 1 / log(1 + c max(p, T)) */
    const float *knots;          /* [pieces - 1], ascending */
    const float *slope, *offset; /* [pieces] */
    const float *rate;           /* gradient: d / (1 + c d), laid out like logarithm */
    const float *decline;        /* gradient: [rows], scale p' / (1 + c p') with p' = max(p, T) */
} mep_fire_rows;

typedef struct mep_attention_kernels {
    const char *name;
    int lanes; /* floats per vector */
    int pair;  /* values per unit: 1 (float32) or 2 (bfloat16) */

    /* C[rows x columns] = A B, or += with accumulate. columns is a multiple of CHANNEL_MULTIPLE, depth is in units. A
     * has contiguous rows (a_column is 1), or it is transposed (a_row is 1) and has at most TILE_ROWS rows and
     * TILE_ROWS / pair units. */
    void (*product)(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row, int64_t a_column,
                    const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate);

    /* Packed rows are [64][units]. transpose: out[unit * 64 + row], for products that sum over channels; rows are
     * `stride` bytes apart. interleave: units of neighboring rows, out[row / pair][channel], for products that sum over
     * rows; NULL where the packed rows have that form already (float32). */
    void (*transpose)(int64_t units, const void *rows, int64_t stride, float *out);
    void (*interleave)(int64_t units, const float *rows, float *out);

    /* out[r] = dot product of rows a[r], b[r] of `units` units each. */
    void (*row_dots)(int64_t rows, int64_t units, const float *a, const float *b, float *out);

    /* The online softmax of a tile. In: S = q.k; bias: that of row 0 and the block's key 0, contiguous in the key, with
     * row r at bias - r. Out: S = exp(scale S + bias - maximum) in units along the keys, rows still BLOCK_KEYS apart;
     * the new maximum and sum; rescale[r] = exp(old maximum - new maximum), the factor of the row's output so far. */
    void (*softmax)(int64_t rows, float *s, float scale, const float *bias, float *maximum, float *sum, float *rescale);

    /* Multiply row r of o[rows x columns] by factor[r]. */
    void (*scale_rows)(int64_t rows, int64_t columns, float *o, int64_t o_row, const float *factor);

    /* In: S = q.k, DP = dout.v. P = exp(scale S + bias - lse), dS = P (DP - delta). Out, in units: S = P and DP = dS
     * with units along the rows [row / pair][key]; ds = dS with units along the keys, rows BLOCK_KEYS apart (not
     * written where a unit is one value: DP has that form). dS is added to diagonal[- r + key], laid out like bias,
     * unless it is NULL. */
    void (*gradient)(int64_t rows, float *s, float *dp, float *ds, float scale, const float *bias, const float *lse,
                     const float *delta, float *diagonal);

    /* 1 where x[r] y - floor[r] < limit for all TILE_ROWS rows: mep_can_skip (terms.h) for a tile. */
    int (*all_below)(const float *x, float y, const float *floor, float limit);

    /* y = factor x, rounded to bfloat16. */
    void (*to_bf16)(int64_t n, float factor, const float *x, mep_bf16 *y);

    void (*from_bf16)(int64_t n, const mep_bf16 *x, float *y);

    /* y[i] = exp(y[i]) by the exponential of softmax; for tests. */
    void (*exponentials)(int64_t n, float *y);

    /* Decoding: one query against the BLOCK_KEYS keys of a block, with the bits of product and softmax on a tile.
     * score_block: s = q.k of a packed query of `units` units and keys [units][BLOCK_KEYS], in units or, with `is_bf16`
     * (where a unit is one value), in bfloat16; returns the largest scale s + bias. softmax with a sum of 0 then makes
     * weights of them. weigh_block: out = the weighted sum of `count` values, rows of `channels` elements, `stride`
     * elements apart, bfloat16 with `is_bf16`, else float32; weights in units. add_block: the row's sum of weights, and
     * its output of `columns` channels, times factor, plus those of the block. */
    float (*score_block)(int64_t units, const float *q, const void *keys, int is_bf16, float scale, const float *bias,
                         float *s);
    void (*weigh_block)(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                        int is_bf16, float *out);
    void (*add_block)(int64_t columns, float factor, float block_sum, const float *block, float *sum, float *out);

    /* Score terms. softmax and gradient with them: a score is scale s + bias + gate_queries - gate_keys + add, a weight
     * exp(score - maximum) factor. highest_score: the largest score of row 0. */
    void (*softmax_terms)(int64_t rows, float *s, float scale, const mep_score_rows *x, float *maximum, float *sum,
                          float *rescale);
    void (*gradient_terms)(int64_t rows, float *s, float *dp, float *ds, float scale, const mep_score_rows *x,
                           const mep_score_gradient *y);
    float (*highest_score)(const float *s, float scale, const mep_score_rows *x);

    /* out[r, key] = sum over m < rank of c[r, m] table_m[key - r]: rows of c are c_row apart, table m is `table` + m
     * table_row, laid out like bias. toeplitz_gradient, with g the gradient of out: dc[r, m] (rows of `rank`) and,
     * where dtable is not NULL, dtable_m (m table_row apart) are increased by their gradients. */
    void (*toeplitz)(int64_t rows, int64_t rank, const float *c, int64_t c_row, const float *table, int64_t table_row,
                     float *out);
    void (*toeplitz_gradient)(const mep_toeplitz_gradient *x);

    /* add[r, key] = the function of fire.h, or += it with `accumulate`. fire_gradient, with g [rows, BLOCK_KEYS] the
     * gradient of that: in each piece, sums[piece, 3] += the sums of g, g x and g dx/dc. */
    void (*fire)(const mep_fire_rows *x, int accumulate, float *add);
    void (*fire_gradient)(const mep_fire_rows *x, const float *g, double *sums);

    /* row_sums[r] and column_sums[key] += the sums of x [rows, BLOCK_KEYS]. */
    void (*add_sums)(int64_t rows, const float *x, float *row_sums, float *column_sums);
} mep_attention_kernels;

/* The variant for a CPU level and the tensors' type: the highest one at or below the level. */
const mep_attention_kernels *mep_attention_kernels_for(mep_cpu_level level, mep_dtype dtype);

extern const mep_attention_kernels mep_attention_kernels_c;
#if defined(__x86_64__)
extern const mep_attention_kernels mep_attention_kernels_avx2;
extern const mep_attention_kernels mep_attention_kernels_avx512;
extern const mep_attention_kernels mep_attention_kernels_avx512_bf16;
extern const mep_attention_kernels mep_attention_kernels_amx_bf16;
#elif defined(__aarch64__)
extern const mep_attention_kernels mep_attention_kernels_neon;
#endif

#endif
