/* SPDX-License-Identifier: MIT */
/*
 * What attention's drivers share: the plan, its workspace a thread, and packing of keys and values.
 *
 * The bias is kept reversed: reversed(h)[j - position] for key j and a query at absolute position is the bias at
 * distance position - j. So the biases of a row are contiguous in the key, the next query's begin one place earlier,
 * and distances below zero (keys of the future, and keys padded at the end) read -inf: the causal mask is part of the
 * table.
 */
#ifndef MEP_ATTENTION_PLAN_H
#define MEP_ATTENTION_PLAN_H

#include "attention/kernels.h"
#include "mep/attention.h"

/* Rows of float32 channels: the caller's own memory where it has that form, else a packed copy. */
typedef struct mep_float_rows {
    const float *data;
    int64_t stride;
} mep_float_rows;

/* One thread's buffers, for one head at a time. padded: head_dim rounded up to CHANNEL_MULTIPLE; keys: max_length
 * rounded up to BLOCK_KEYS. */
typedef struct mep_attention_buffers {
    float *kt, *vt;             /* keys, values transposed a block: [keys / BLOCK_KEYS, padded, BLOCK_KEYS] */
    float *k_copy, *v_copy;     /* [keys, padded], used where the caller's tensors cannot be read in place */
    float *dk, *dv;             /* [keys, padded] sums */
    float *key_norm;            /* [keys / BLOCK_KEYS]: largest |k| of each block */
    float *q, *out, *dout, *dq; /* [TILE_ROWS, padded] */
    float *s, *dp;              /* [TILE_ROWS, BLOCK_KEYS] */
    float *scores;              /* [keys], decoding only */
    int64_t blocks_seen, blocks_computed;
} mep_attention_buffers;

struct mep_attention {
    mep_attention_settings settings;
    const mep_attention_kernels *kernels;
    int64_t padded;     /* channels of packed rows */
    int64_t keys;       /* max_length rounded up to BLOCK_KEYS */
    int64_t table_size; /* floats a head of reversed tables: TILE_ROWS + keys + TILE_ROWS + BLOCK_KEYS */
    float *reversed;    /* [heads, table_size] */
    float *far_bias;    /* [heads, keys]: max of the bias over distances >= d */
    float *diagonals;   /* [diagonal_tasks, table_size]: gradients of the reversed table, a (batch, head) each */
    int64_t diagonal_tasks;
    int threads;
    int backward_threads; /* threads whose buffers of the backward pass are allocated */
    mep_attention_buffers *buffers;
    double computed_share;
    int64_t bias_length; /* longest number of keys the bias table serves */
};

/* Pointer p such that p[j - position] is the entry for key j and a query at `position`, in a head's reversed table. */
static inline float *mep_reversed_origin(const mep_attention *plan, float *table)
{
    return table + TILE_ROWS + plan->keys;
}

/* Rows of the tile that begins at absolute `position` with `left` queries to go: tiles end at multiples of TILE_ROWS,
 * so that the nearest block of keys holds every query's own key, and no row of a block is masked whole before it has a
 * maximum. */
static inline int64_t mep_tile_rows(int64_t position, int64_t left)
{
    int64_t rows = TILE_ROWS - position % TILE_ROWS;
    return rows < left ? rows : left;
}

/* Check the sizes of a call. */
mep_status mep_attention_check(const mep_attention *plan, int64_t batch, int64_t queries, int64_t keys);

/* Buffers that only the backward pass needs, with `tasks` diagonals; allocated at its first call. */
mep_status mep_attention_need_backward(mep_attention *plan, int64_t tasks);

/* Read / write `rows` rows of channels [head_dim] at (batch b, head h, first token) times `factor`; rows in float32 are
 * `padded` apart, channels from head_dim on are zero. */
void mep_attention_read_rows(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                             int64_t first, int64_t rows, float factor, float *out);
void mep_attention_write_rows(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                              int64_t first, int64_t rows, float factor, const float *in);

/* Float32 rows of a whole head: in place, or copied to `copy`. */
mep_float_rows mep_attention_rows(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                  int64_t keys, float *copy);

/* Transpose rows by blocks: out[block][channel][key]; keys beyond the last are zero. */
void mep_attention_transpose(const mep_attention *plan, mep_float_rows rows, int64_t keys, float *out);

/* Largest |k| of each block. */
void mep_attention_key_norms(const mep_attention *plan, mep_float_rows rows, int64_t keys, float *norms);

/*
 * Whether no query of a tile can give a key of the block more than a negligible weight (the score bound of
 * Cauchy-Schwarz): |q_r| max|k| + far_bias < floor[r] - margin for every row. q has the scale in it. far_bias is the
 * largest bias at the block's smallest distance or beyond.
 */
int mep_attention_negligible(const float *q_norm, const float *floor, int64_t rows, float key_norm, float far_bias,
                             float margin);

/* Margin of the bound, in nats, for `keys` keys (exact: 104; with a tolerance t: log(1/t) + log(keys), at most 104). */
float mep_attention_margin(const mep_attention *plan, int64_t keys);

/* |q_r| of packed rows. */
void mep_attention_row_norms(const mep_attention *plan, const float *q, int64_t rows, float *norms);

#endif
