/* SPDX-License-Identifier: MIT */
/*
 * Score terms that depend on the content: a gate per token, profiles and mixture weights per query. This file turns
 * what a call gives for one head into the operands of the kernels, tile by tile and block by block, and bounds it for
 * the skip test of terms.h. The drivers (forward.c, backward.c, decode.c) call it only where a call has such terms.
 */
#ifndef MEP_ATTENTION_CONTENT_H
#define MEP_ATTENTION_CONTENT_H

#include "attention/kernels.h"
#include "attention/terms.h"

/* What a call gives for one head. All pointers NULL: nothing. */
typedef struct mep_content {
    const double *gate;        /* key r of block b: gate[b % capacity * BLOCK_KEYS + r] */
    int64_t capacity;          /* blocks; INT64_MAX where the keys are not in a ring */
    int64_t keys;              /* keys that there are, counted from position 0 */
    const double *gate_low;    /* [block % capacity]: smallest gate of a block; NULL: nothing is skipped */
    const double *gate_lowest; /* [block]: smallest gate up to it; NULL: not known */
    const float *profiles;     /* [queries][rank], rows profile_row apart */
    const float *mixture;      /* [queries][kernels]: weights, which sum to 1 */
    int64_t profile_row, mixture_row;
    int fire;        /* 1: some query computes the function of fire.h */
    int approximate; /* the skip test is for a tolerance: the largest score must be below the log-sum-exp */
} mep_content;

static inline int mep_content_is_present(const mep_content *c)
{
    return c->gate != NULL || c->profiles != NULL || c->mixture != NULL || c->fire;
}

/* The queries of a tile in a call: `rows` from absolute `position`, `first` counted from the call's first query. */
typedef struct mep_tile {
    int64_t position, first, rows;
} mep_tile;

/* What a tile's rows bring to every block. */
typedef struct mep_content_tile {
    double base;              /* gate at the first position of the tile on the grid; differences are taken from it */
    float gate[TILE_ROWS];    /* gate of the row minus base */
    float profile[TILE_ROWS]; /* upper bound of the row's profiles at any distance */
    float slack[TILE_ROWS];   /* upper bound of what a score's bound needs besides: -log of the mixture's factor, where
                                 `approximate`, and the rounding of a far gate */
    int has_far;              /* 1: some gate[r] is large, and its float32 differences need a correction */
    const float *bias, *far_bias; /* as in mep_head_terms: of the table, or the mask of fire */
    const mep_fire_tables *fire;  /* NULL: the rows do not compute fire */
    float scale[TILE_ROWS];       /* of fire: x is the logarithm times it */
} mep_content_tile;

void mep_content_begin(const mep_content *c, const mep_head_terms *terms, const mep_tile *rows, mep_content_tile *tile);

/* One thread's memory for a block: [TILE_ROWS, BLOCK_KEYS] each but gate_keys. */
typedef struct mep_content_buffers {
    float *add, *factor;
    float gate_keys[BLOCK_KEYS];
} mep_content_buffers;

/* The operands for the rows of a tile against a block. They are good until the next call with these buffers. */
mep_score_rows mep_content_block(const mep_attention_kernels *kernels, const mep_content *c,
                                 const mep_head_terms *terms, const mep_content_tile *tile, const mep_tile *rows,
                                 int64_t block, mep_content_buffers *buffers);

/* Upper bounds for the skip test, of the terms of row r, and of those of all rows, at a block or, with `all` set, at it
 * and all blocks farther away. `distance` is that of the block's last key from the tile's first row. */
float mep_content_fire_bound(const mep_content_tile *tile, const mep_head_terms *terms, int64_t r, int64_t distance);

static inline float mep_content_row_bound(const mep_content_tile *tile, const mep_head_terms *terms, int64_t r,
                                          int64_t distance)
{
    float bound = tile->gate[r] + tile->slack[r] + (distance < terms->extent ? tile->profile[r] : 0);
    return tile->fire != NULL ? bound + mep_content_fire_bound(tile, terms, r, distance) : bound;
}

static inline float mep_content_block_bound(const mep_content *c, const mep_content_tile *tile, int64_t block, int all)
{
    if (c->gate == NULL) return 0;
    return (float)(tile->base - (all ? c->gate_lowest[block] : c->gate_low[block % c->capacity]));
}

/* The gradient of fire: sums [pieces, 3] are increased, see mep_attention_kernels.fire_gradient. g is the gradient of
 * the scores of a tile and a block. */
void mep_content_fire_backward(const mep_attention_kernels *kernels, const mep_head_terms *terms,
                               const mep_content_tile *tile, const mep_tile *rows, int64_t block, const float *g,
                               double *sums);

/* weights[m] = softmax of a[0 .. count). */
void mep_content_softmax(int64_t count, const float *a, float *weights);

#endif
