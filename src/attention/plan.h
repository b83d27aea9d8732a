/* SPDX-License-Identifier: MIT */
/*
 * What the passes of attention share on the CPU: the plan, its workspace per thread, and packing of the caller's
 * tensors.
 *
 * Positions are divided into tiles of TILE_ROWS queries and blocks of BLOCK_KEYS keys on one grid: tile t and block t
 * both begin at position 64 t. So block t is the nearest one that tile t sees and contains every query's own key, and
 * no row of a block is masked completely before it has a maximum.
 */
#ifndef MEP_ATTENTION_PLAN_H
#define MEP_ATTENTION_PLAN_H

#include "attention/attention_backend.h"
#include "attention/content.h"
#include "attention/kernels.h"
#include "attention/segments.h"
#include "attention/terms.h"
#include "base/assertion.h"

static_assert((int)TILE_ROWS == (int)BLOCK_KEYS, "tiles and blocks are on one grid");

/* Upper limits: tiles per forward task, blocks of keys that it packs at a time, and blocks per backward task. */
enum { FORWARD_TILES = 16, FORWARD_BLOCKS = 8, BACKWARD_BLOCKS = 16 };

/* The keys and values that a head's queries see. Key r of block b is row (b % capacity) * BLOCK_KEYS + r. */
typedef struct mep_source {
    const void *keys, *values;        /* rows of head_dim elements of the plan's type, unless `transposed` */
    int64_t key_stride, value_stride; /* elements from row to row */
    int transposed; /* 1 where keys are blocks [units][BLOCK_KEYS] of `padded` channels, in the form that kernels read,
                       except that they are bfloat16 also where the kernels' units are float32. Keys that do not exist
                       yet are 0. */
    int64_t capacity; /* blocks that there is room for; INT64_MAX where keys are not in a ring */
    int64_t first;    /* the oldest block */
    mep_head_terms terms;
    mep_content content;
    const float *norms;        /* [block % capacity]: largest |k| of the block; NULL: nothing is skipped */
    const float *prefix_norms; /* [block]: largest |k| up to the block; NULL: unknown */
} mep_source;

/* The online softmax of one tile. */
typedef struct mep_tile_state {
    float maximum[TILE_ROWS], sum[TILE_ROWS], q_norm[TILE_ROWS];
    int64_t done;        /* 1 where no farther block can matter */
    mep_segment segment; /* what the rows of the tile see */
    mep_content_tile content;
} mep_tile_state;

/* Memory that is kept from call to call. */
typedef struct mep_shared {
    void *data;
    int64_t bytes;
} mep_shared;

/* Sums of the gradients of content terms in a task of the backward pass. Rows are those of its tiles. */
typedef struct mep_content_gradients {
    mep_shared row_sums;    /* [rows]: of dS */
    mep_shared column_sums; /* [BACKWARD_BLOCKS * BLOCK_KEYS]: of dS */
    mep_shared profiles,
        mixture;             /* [rows, rank], [rows, kernels]: of the coefficients of mep_attention_kernels.toeplitz */
    mep_shared bank, ratios; /* [rank, bank_row], [kernels, ratio_row]: of its tables */
    mep_shared fire;         /* [pieces, 3] float64, see fire.h */
} mep_content_gradients;

/* One thread's buffers. In units (kernels.h), a packed tile or block is [64, units]. */
typedef struct mep_attention_buffers {
    float *rows;           /* one packed tile or block */
    float *kt, *v;         /* forward: FORWARD_BLOCKS blocks, keys transposed, values interleaved */
    float *q;              /* forward: FORWARD_TILES tiles */
    float *out;            /* forward: FORWARD_TILES x [TILE_ROWS, padded] sums */
    mep_tile_state *state; /* forward: FORWARD_TILES */
    float *s;              /* [TILE_ROWS, BLOCK_KEYS] */
    mep_content_buffers content;

    float *chunk_kt, *chunk_k,
        *chunk_vt;                      /* backward: BACKWARD_BLOCKS blocks; K transposed, interleaved; V transposed */
    float *dk, *dv;                     /* backward: BACKWARD_BLOCKS x [BLOCK_KEYS, padded] sums */
    float *dout, *q_pairs, *dout_pairs; /* backward: tiles; the last two interleaved */
    float *dp, *ds;                     /* [TILE_ROWS, BLOCK_KEYS] */
    float *dq;                          /* backward: [keys, padded] sums of one task */
    float *diagonal;                    /* backward: [mep_terms_head_size] sums of one task, laid out like the table */
    float *scores, *before_factor;      /* backward, with content terms: see mep_score_gradient */
    mep_content_gradients gradients;    /* backward, with content terms: sums of one task */
    int64_t blocks_computed;
} mep_attention_buffers;

struct mep_attention_plan {
    mep_attention_settings settings;
    const mep_attention_kernels *kernels;
    int64_t kv_heads;
    int64_t padded;  /* head_dim rounded up to CHANNEL_MULTIPLE */
    int64_t units;   /* of a packed row: padded / kernels->pair */
    int64_t keys;    /* max_length rounded up to BLOCK_KEYS */
    mep_terms terms; /* for `keys` distances */
    int threads;
    int backward_threads; /* threads whose buffers of the backward pass are allocated */
    mep_attention_buffers *buffers;
    double computed_fraction;
    mep_watch *watch; /* of forward calls on the CPU; NULL: none */

    /* [batch * heads, ...] */
    mep_shared sources;                 /* one mep_source each */
    mep_shared block_norm, prefix_norm; /* [blocks]: largest |k| of the block; of the blocks up to it */
    mep_shared delta;                   /* backward: [queries], dout.out */
    mep_shared tile_norm, tile_lse;   /* backward: [tiles], of the tile and those after it: largest |scale q|, smallest
                                         lse minus the query's terms */
    mep_shared diagonals;             /* backward: [keys] float64, gradient of the bias */
    mep_shared diagonals_ahead;       /* the same at distances below 0, of a bidirectional plan */
    mep_shared dq_sums, turns;        /* backward: see hand_over in backward.c */
    mep_shared gate_low, gate_lowest; /* [blocks] float64: smallest gate of the block, smallest up to the block */
    mep_shared mixture;               /* [queries, kernels]: softmax of the call's mixture */
    mep_shared bank_sums, ratio_sums; /* backward: [rank, extent], [kernels, keys] float64 */
    mep_shared fire_sums;             /* backward: [pieces, 3] float64 */
    double *fire_gradient;            /* the caller's, see mep_attention_set_fire; NULL: not wanted */
    int64_t fire_row;
};

mep_status mep_attention_plan_create(mep_attention_plan **plan, const mep_attention_settings *settings);
void mep_attention_plan_destroy(mep_attention_plan **plan);

/* The passes (forward.c, backward.c). */
mep_status mep_attention_plan_forward(mep_attention_plan *plan, const mep_attention_call *call);
mep_status mep_attention_plan_backward(mep_attention_plan *plan, const mep_attention_call *call,
                                       const mep_attention_gradient *gradient);

/* The queries of tile t in a call. */
static inline mep_tile mep_tile_at(int64_t t, int64_t queries, int64_t keys)
{
    int64_t begin = t * TILE_ROWS, end = begin + TILE_ROWS;
    if (begin < keys - queries) begin = keys - queries;
    if (end > keys) end = keys;
    return (mep_tile){begin, begin - (keys - queries), end - begin};
}

/* Tiles or blocks per task, where each of `heads` heads has `count` of them: enough tasks for the threads, but not so
 * small that packing costs more than a few percent. */
static inline int64_t mep_task_size(int64_t count, int64_t heads, int64_t most)
{
    int64_t size = count * heads / 24;
    return size < 4 ? 4 : size > most ? most : size;
}

/* Make room for rows x columns elements of `size` bytes. Where the memory grows, its contents are lost. */
mep_status mep_attention_reserve(mep_shared *shared, int64_t rows, int64_t columns, size_t size);

/* Allocate the buffers that only the backward pass needs, at its first call. */
mep_status mep_attention_need_backward(mep_attention_plan *plan);

/* Pack up to 64 rows from (batch b, head h, token `first`) into units [64, units]; channels and rows after the last are
 * 0. */
void mep_attention_pack(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t first, int64_t rows, float *out);

/* The same with units of neighboring rows, for products that sum over rows; `scratch` holds a packed tile. */
void mep_attention_pack_interleaved(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                    int64_t first, int64_t rows, float *scratch, float *out);

/* The same transposed, for products that sum over channels. */
void mep_attention_pack_transposed(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                   int64_t first, int64_t rows, float *scratch, float *out);

/* Read or write `rows` rows of head_dim channels from (batch b, head h, token `first`), times `factor`. The rows of
 * `out` and `in` are float32, `padded` apart; channels from head_dim are 0. */
void mep_attention_read_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                             int64_t first, int64_t rows, float factor, float *out);
void mep_attention_write_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                              int64_t first, int64_t rows, float factor, const float *in);

/* The head of k and v that query head h reads. */
static inline int64_t mep_kv_head(const mep_attention_plan *plan, int64_t h)
{
    return h / (plan->settings.heads / plan->kv_heads);
}

/* plan->mixture = the softmax of the mixture of a call, [batch, heads, queries, kernels]. */
mep_status mep_attention_weigh_mixture(mep_attention_plan *plan, const mep_attention_call *call, int64_t kernels);

/* Prepare the content terms of a call; then those of (batch, head) number n = b heads + h. */
mep_status mep_attention_prepare_content(mep_attention_plan *plan, const mep_attention_call *call);
mep_content mep_attention_content(const mep_attention_plan *plan, const mep_attention_call *call, int64_t n);

/* Row i of (batch, head) number n in a view of float32. */
float *mep_attention_float_row(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t n, int64_t i);

/* The address of (batch b, head h, token, channel 0). */
char *mep_attention_row(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t token);

/* ---- Norms, for the skip test of terms.h ---- */

/* The plan's margin for `keys` keys, and whether blocks of head h can be skipped in a call. */
float mep_attention_margin(const mep_attention_plan *plan, int64_t keys);
int mep_attention_may_skip(const mep_attention_plan *plan, const mep_attention_call *call, int64_t h);

/* Compute block_norm and prefix_norm of a call, [batch * kv_heads], for heads that can skip. */
mep_status mep_attention_norms(mep_attention_plan *plan, const mep_attention_call *call);

/* scale |q_r| of packed rows; 0 for rows from `rows`. */
void mep_attention_row_norms(const mep_attention_plan *plan, const float *q, int64_t rows, float *norms);

#endif
