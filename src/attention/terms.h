/* SPDX-License-Identifier: MIT */
/*
 * Score terms: the tables that they are prepared in, their upper bound over a block of keys, and the test by which far
 * blocks are skipped. It knows nothing of tiles and tensors; forward.c, backward.c, decode.c and cache.c read tables
 * through it. CUDA has its own copy of the tables (cuda/attention_prepare.cu); margin and test are those of this file.
 *
 * The skip test (Cauchy-Schwarz). A block of keys at distances >= d cannot matter to a query r where
 *
 *     scale |q_r| max|k| + bound(d) < floor_r - margin
 *
 * bound(d) is at least the sum of all terms at distances >= d, and floor_r is a lower bound of the row's log-sum-exp.
 */
#ifndef MEP_ATTENTION_TERMS_H
#define MEP_ATTENTION_TERMS_H

#include "attention/fire.h"
#include "mep/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Tables of values of the distance, `rank` of them, that queries combine with weights of their own. They are reversed
 * like the table of mep_terms, but read 0 where they have no value. */
typedef struct mep_toeplitz {
    int64_t heads, rank, extent; /* distances 0 .. extent - 1 */
    int64_t row;                 /* floats of one table */
    float *tables;               /* [heads, rank, row] */
    float *largest;              /* [heads, rank]: largest magnitude */
} mep_toeplitz;

/* The prepared function of fire.h. Tables of the distance are laid out like that of mep_terms, of one head. */
typedef struct mep_fire_tables {
    int64_t pieces;           /* 0: there is none */
    int64_t room;             /* pieces that there is memory for */
    int64_t threshold, first; /* see mep_fire */
    double c;
    float *knots;            /* [pieces - 1] */
    float *slope, *offset;   /* [heads, pieces] */
    float *highest;          /* [heads, pieces]: the largest value at knot g and beyond, up to x = 1 */
    float *error;            /* [heads]: a bound of rounding in a value */
    float *mask, *mask_far;  /* 0, or -inf before distance 0 and beyond the window; [distances]: 0 or -inf */
    float *logarithm, *rate; /* log(1 + c d), d / (1 + c d) */
} mep_fire_tables;

/* Prepared terms of all heads.
 *
 * The table is stored reversed: bias[key - position] of a head is the value for a key and the query at `position`. So
 * the biases of a row of scores are contiguous in the key, and those of the next query begin one value earlier.
 * Distances below 0 (keys of the future, and padding after the last key) read -inf: the causal mask is part of the
 * table. A bidirectional table has `ahead` of them. */
typedef struct mep_terms {
    int64_t heads, distances; /* sizes that there is room for */
    int64_t ahead;            /* 0, or distances: those below 0 */
    int has_ahead;            /* values at distances below 0 are not those of the table */
    int64_t head_size;        /* floats of one head in `reversed` */
    float *reversed;          /* [heads, head_size]: table + max_m log K_m, -inf beyond the window */
    float *far_bias;          /* [heads, distances] */
    float *sink;              /* [heads]: -inf where there is none */
    mep_toeplitz bank;        /* of all heads: heads is 1 */
    mep_toeplitz ratios;      /* K_m / max_n K_n */
    int64_t window;           /* 0: none */
    mep_fire_tables fire;
} mep_terms;

/* One head's terms. */
typedef struct mep_head_terms {
    const float *bias;     /* bias[-d] at distance d; BLOCK_KEYS values of -inf after the last that there is */
    const float *far_bias; /* [d]: the largest bias at distances >= d and <= -d */
    float sink;
    int64_t rank, extent, bank_row, kernels, ratio_row;
    const float *bank, *ratios;  /* table m at distance d: bank[m bank_row - d] */
    const float *largest;        /* [rank]: of the bank */
    const mep_fire_tables *fire; /* NULL: none */
    int64_t distances, head;     /* of fire's tables */
} mep_head_terms;

/* MEP_ERROR_NUMERIC, MEP_ERROR_ARGUMENT where the terms cannot be used with so many heads. terms may be NULL. */
mep_status mep_terms_check(const mep_attention_terms *terms, int64_t heads);

/* Make room for heads and distances; what was prepared is lost. On failure there is no room. */
mep_status mep_terms_reserve(mep_terms *prepared, int64_t heads, int64_t distances, int bidirectional);
void mep_terms_free(mep_terms *prepared);

/* Prepare terms that mep_terms_check accepts; NULL: none. Distances that a table does not have are masked. On failure
 * (MEP_ERROR_MEMORY) what was prepared before is kept. */
mep_status mep_terms_prepare(mep_terms *prepared, const mep_attention_terms *terms);

/* Prepare the function of fire.h for the terms that are prepared (fire.c). On failure there is none. */
mep_status mep_terms_prepare_fire(mep_terms *prepared, const mep_fire *fire);
void mep_fire_free(mep_fire_tables *fire);

/* Whether a query computes the function rather than the table. It is at `position` from the first key. */
static inline int mep_fire_applies(const mep_fire_tables *fire, int64_t position)
{
    return fire->pieces > 0 && fire->first + (position | 63) > fire->threshold;
}

mep_head_terms mep_terms_of_head(const mep_terms *prepared, int64_t head);

/* Floats of one head's reversed table, and the address of its distance 0: for other tables of the same layout. The same
 * for one table of a mep_toeplitz. */
int64_t mep_terms_head_size(int64_t distances, int64_t ahead);
float *mep_terms_origin(int64_t distances, float *reversed);
int64_t mep_toeplitz_row(int64_t extent);
float *mep_toeplitz_origin(int64_t extent, float *table);

/* The end of an online softmax: lse of a row of which the largest score and the sum of weights relative to it are
 * known, and by what its output so far is multiplied. The sink joins the sum here. */
float mep_terms_finish(float sink, float maximum, float sum, float *factor);

/* ---- The skip test ---- */

/* Margin in nats for `keys` keys: 104 where the result must be exact, since exp(-104) is below half the smallest
 * float32; log(1/t) + log(keys), at most 104, with a tolerance t. */
float mep_terms_margin(double tolerance, double keys);

/* Whether the terms of a head fall far enough over `keys` keys that blocks can be skipped. Otherwise nothing is tested.
 */
int mep_terms_may_skip(const mep_head_terms *terms, int64_t keys, float margin);

/* Upper bound of all terms at distances >= `distance` >= 0. */
static inline float mep_terms_bound(const mep_head_terms *terms, int64_t distance)
{
    return terms->far_bias[distance];
}

#if defined(__CUDACC__)
#define MEP_TERMS_INLINE static __host__ __device__ __forceinline__
#else
#define MEP_TERMS_INLINE static inline
#endif

/* What the test compares with, and the test; scale |q| is q_norm, max|k| is k_norm. A NaN is never skipped. The kernel
 * all_below (attention/kernels.h) is the test of all rows of a tile. */
MEP_TERMS_INLINE float mep_skip_limit(float bound, float margin)
{
    return -margin - bound;
}

MEP_TERMS_INLINE int mep_can_skip(float q_norm, float k_norm, float floor, float limit)
{
    return q_norm * k_norm - floor < limit;
}

#ifdef __cplusplus
}
#endif

#endif
