/* SPDX-License-Identifier: MIT */
/*
 * Attention of single queries after many keys, as in generating token by token. Keys and values are read where they are
 * stored, in rows of float32 or bfloat16, and at most once.
 *
 * The bits are those of the same query in a tile (forward.c), for any number of threads, and whichever blocks are
 * skipped or have been dropped because they cannot matter. Any thread scores and weighs any block; the results of the
 * blocks are then combined as a tile does it from block to block, the nearest first.
 */
#ifndef MEP_ATTENTION_DECODE_H
#define MEP_ATTENTION_DECODE_H

#include "attention/plan.h"

/* Calls of up to this many queries are decoded row by row. */
enum { DECODE_QUERIES = 4 };

/* One query and what it sees. */
typedef struct mep_decode_row {
    const void *q;       /* [head_dim] */
    void *out;           /* [head_dim] */
    float *lse;          /* may be NULL */
    int64_t query;       /* index of its profiles and mixture weights in source.content */
    mep_segment segment; /* what it sees: from a key of block source.first on */
    mep_source source;
} mep_decode_row;

/* The rows of one position, and their workspace, which is kept from call to call and freed by mep_decode_free. */
typedef struct mep_decode {
    const mep_attention_kernels *kernels;
    mep_dtype dtype;
    int64_t head_dim;
    float scale;
    float margin; /* see mep_terms_margin */
    int threads;

    int64_t rows, position;
    const mep_decode_row *row; /* [rows] */

    /* The workspace, kept from call to call. Blocks of a row are counted from the nearest. */
    int64_t row_space, block_space;        /* rows, and blocks of each, that it has room for */
    int64_t padded, units, blocks, groups; /* head_dim up to CHANNEL_MULTIPLE, the same in units; of this call */
    float *q;                              /* [rows, units] */
    float *copies;              /* [threads, 2, BLOCK_KEYS, units]: a block of keys in rows, and transposed */
    float *scores;              /* [rows, blocks, BLOCK_KEYS]: q.k, then weights in units */
    float *highest;             /* [rows, blocks]: largest score; -inf where skipped */
    float *before;              /* [rows, blocks]: largest score of the nearer blocks */
    float *sum, *rescale, *out; /* [rows, blocks], the same, [rows, blocks, padded]: see softmax, weigh_block */
    mep_content_tile *content;  /* [rows] */
    int64_t *task, tasks;       /* [rows * groups]: row * groups + group, of those that have blocks to read */
} mep_decode;

/* Compute d->row[0 .. rows) at d->position. MEP_ERROR_MEMORY where the workspace cannot grow. */
mep_status mep_decode_rows(mep_decode *d);
void mep_decode_free(mep_decode *d);

/* mep_attention_plan_forward for calls with queries <= DECODE_QUERIES. */
mep_status mep_attention_decode(mep_attention_plan *plan, const mep_attention_call *call);

#endif
