/* SPDX-License-Identifier: MIT */
/*
 * Attention of single queries at the end of many keys, as in generating token by token. Keys and values are read where
 * they lie, in rows of float32 or bfloat16, each once at most.
 *
 * Sums are made in an order that follows from the keys' absolute positions: blocks of BLOCK_KEYS, the nearest first,
 * within groups of GROUP_BLOCKS, and a block whose weights are all exactly 0 adds nothing. So neither the number of
 * threads, nor blocks that are skipped or no longer there because they cannot matter, change a bit.
 */
#ifndef MEP_ATTENTION_DECODE_H
#define MEP_ATTENTION_DECODE_H

#include "attention/plan.h"

/* Up to this many queries a call are decoded row by row. */
enum { DECODE_QUERIES = 4 };

/* One query and what it sees. */
typedef struct mep_decode_row {
    const void *q; /* [head_dim] */
    void *out;     /* [head_dim] */
    float *lse;    /* NULL where not wanted */
    mep_source source;
} mep_decode_row;

/* Rows of one position, and their workspace, which is kept from call to call; mep_decode_free frees it. */
typedef struct mep_decode {
    const mep_attention_kernels *kernels;
    mep_dtype dtype;
    int64_t head_dim;
    float scale;
    float margin; /* see mep_attention_margin */
    int threads;

    int64_t rows, position;
    const mep_decode_row *row; /* [rows] */

    int64_t row_space, block_space; /* rows, and blocks a row, that the workspace has */
    int64_t padded, blocks, groups; /* head_dim up to CHANNEL_MULTIPLE; blocks and groups a row of this call */
    float *q;                       /* [rows, padded] */
    float *scores;                  /* [rows, blocks, BLOCK_KEYS], the nearest block first */
    float *highest;                 /* [rows, blocks]: largest score; -inf where skipped */
    float *group_highest;           /* [rows, groups] */
    float *sum, *out;               /* [rows, groups], [rows, groups, padded] */
    int64_t *task, tasks;           /* [rows * groups]: row * groups + group, of those that have blocks to read */
} mep_decode;

/* Attention of d->row[0 .. rows) at d->position. MEP_ERROR_MEMORY when the workspace cannot grow. */
mep_status mep_decode_rows(mep_decode *d);
void mep_decode_free(mep_decode *d);

/* mep_attention_forward for queries <= DECODE_QUERIES; arguments are checked already. */
mep_status mep_attention_decode(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse);

#endif
