/* SPDX-License-Identifier: MIT */
/*
 * What attention's drivers share: the plan, its workspace a thread, packing of the caller's tensors, and the bound by
 * which far blocks are left out.
 *
 * Positions are cut into tiles of TILE_ROWS queries and blocks of BLOCK_KEYS keys on one grid: tile t and block t both
 * begin at position 64 t, so block t is the nearest that tile t sees, and holds every query's own key: no row of a
 * block is masked whole before it has a maximum.
 *
 * The order of the table of biases is described in terms.h.
 */
#ifndef MEP_ATTENTION_PLAN_H
#define MEP_ATTENTION_PLAN_H

#include "attention/attention_backend.h"
#include "attention/kernels.h"
#include "attention/terms.h"

/* The most tiles of a forward task, blocks of keys packed at a time by it, and blocks of a backward task. */
enum { FORWARD_TILES = 16, FORWARD_BLOCKS = 8, BACKWARD_BLOCKS = 16 };

/* The keys and values that a head's queries see, and what is known of them. Key r of block b is row
 * (b % ring) * BLOCK_KEYS + r. */
typedef struct mep_source {
    const void *keys, *values;        /* rows of head_dim elements of the plan's type, unless `transposed` */
    int64_t key_stride, value_stride; /* elements from row to row */
    int transposed; /* keys are blocks [units][BLOCK_KEYS], channels up to `padded`: as kernels read them, but
                       of bfloat16 also where their units are float32. Keys to come are 0. */
    int64_t ring;   /* blocks that there is room for; INT64_MAX where keys are not in a ring */
    int64_t first;  /* oldest block that is there */
    mep_head_terms terms;
    const float *norms;        /* [block % ring]: largest |k| of a block; NULL: nothing is skipped */
    const float *prefix_norms; /* [block]: largest norm up to it; NULL: not known */
} mep_source;

/* Online softmax of a tile of the forward pass. */
typedef struct mep_tile_state {
    float maximum[TILE_ROWS], sum[TILE_ROWS], q_norm[TILE_ROWS];
    int64_t done; /* no farther block can matter */
} mep_tile_state;

/* One thread's buffers. In units (kernels.h), a packed tile or block is [64, units]. */
typedef struct mep_attention_buffers {
    float *rows;           /* a packed tile or block on its way */
    float *kt, *v;         /* forward: FORWARD_BLOCKS blocks, keys transposed, values interleaved */
    float *q;              /* forward: FORWARD_TILES tiles */
    float *out;            /* forward: FORWARD_TILES x [TILE_ROWS, padded] sums */
    mep_tile_state *state; /* forward: FORWARD_TILES */
    float *s;              /* [TILE_ROWS, BLOCK_KEYS] */

    float *chunk_kt, *chunk_k,
        *chunk_vt;                      /* backward: BACKWARD_BLOCKS blocks; K transposed, interleaved; V transposed */
    float *dk, *dv;                     /* backward: BACKWARD_BLOCKS x [BLOCK_KEYS, padded] sums */
    float *dout, *q_pairs, *dout_pairs; /* backward: tiles; the last two interleaved */
    float *dp, *ds;                     /* [TILE_ROWS, BLOCK_KEYS] */
    float *dq;                          /* backward: [keys, padded] sums of one task */
    float *diagonal;                    /* backward: [mep_terms_head_size] sums of one task, laid out like the table */
    int64_t blocks_computed;
} mep_attention_buffers;

/* Memory shared by the threads of a call, kept for the next one. */
typedef struct mep_shared {
    void *data;
    int64_t bytes;
} mep_shared;

struct mep_attention_plan {
    mep_attention_settings settings;
    const mep_attention_kernels *kernels;
    int64_t padded;  /* head_dim rounded up to CHANNEL_MULTIPLE */
    int64_t units;   /* of a packed row: padded / kernels->pair */
    int64_t keys;    /* max_length rounded up to BLOCK_KEYS */
    mep_terms terms; /* for `keys` distances */
    int threads;
    int backward_threads; /* threads whose buffers of the backward pass are allocated */
    mep_attention_buffers *buffers;
    double computed_fraction;
    mep_watch *watch; /* of forward calls on the CPU; NULL: none */

    /* [batch * heads, ...]; a block's norm is its largest |k| */
    mep_shared sources;                 /* mep_source */
    mep_shared block_norm, prefix_norm; /* [blocks]: of the block, largest up to the block */
    mep_shared delta;                   /* backward: [queries], dout.out */
    mep_shared tile_norm, tile_lse;     /* backward: [tiles], largest |q|, smallest lse of the tile and those behind */
    mep_shared diagonals;               /* backward: [keys] float64, gradient of the bias */
    mep_shared dq_sums, turns;          /* backward: see backward.c */
};

mep_status mep_attention_plan_create(mep_attention_plan **plan, const mep_attention_settings *settings);
void mep_attention_plan_destroy(mep_attention_plan **plan);

/* The passes (forward.c, backward.c). */
mep_status mep_attention_plan_forward(mep_attention_plan *plan, const mep_attention_call *call);
mep_status mep_attention_plan_backward(mep_attention_plan *plan, const mep_attention_call *call,
                                       const mep_attention_gradient *gradient);

/* The queries of tile t in a call: `rows` from absolute `position`, `first` counted from the call's first query. */
typedef struct mep_tile {
    int64_t position, first, rows;
} mep_tile;

static inline mep_tile mep_tile_at(int64_t t, int64_t queries, int64_t keys)
{
    int64_t begin = t * TILE_ROWS, end = begin + TILE_ROWS;
    if (begin < keys - queries) begin = keys - queries;
    if (end > keys) end = keys;
    return (mep_tile){begin, begin - (keys - queries), end - begin};
}

/* Tiles or blocks of a task, where each of `heads` heads has `count` of them: enough tasks for the threads, but not so
 * small that packing costs more than a few percent. */
static inline int64_t mep_task_size(int64_t count, int64_t heads, int64_t most)
{
    int64_t size = count * heads / 24;
    return size < 4 ? 4 : size > most ? most : size;
}

/* Make room for rows x columns elements of `size` bytes; what was there is lost where it grows. */
mep_status mep_attention_share(mep_shared *shared, int64_t rows, int64_t columns, size_t size);

/* Buffers that only the backward pass needs, allocated at its first call. */
mep_status mep_attention_need_backward(mep_attention_plan *plan);

/* Pack up to 64 rows at (batch b, head h, first token) into units [64, units]; channels and rows beyond the last are 0.
 */
void mep_attention_pack(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t first, int64_t rows, float *out);

/* The same with units of neighbouring rows, for products that sum over rows; `scratch` takes a packed tile. */
void mep_attention_pack_interleaved(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                    int64_t first, int64_t rows, float *scratch, float *out);

/* The same transposed, for products that sum over channels. */
void mep_attention_pack_transposed(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                   int64_t first, int64_t rows, float *scratch, float *out);

/* Read / write `rows` rows of channels [head_dim] at (batch b, head h, first token) times `factor`; rows in float32 are
 * `padded` apart, channels from head_dim on are zero. */
void mep_attention_read_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                             int64_t first, int64_t rows, float factor, float *out);
void mep_attention_write_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                              int64_t first, int64_t rows, float factor, const float *in);

/* Element 0 of (batch b, head h, token). */
char *mep_attention_row(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t token);

/* ---- Norms, for the skip test of terms.h ---- */

/* The plan's margin for `keys` keys, and whether blocks of head h can be skipped. */
float mep_attention_margin(const mep_attention_plan *plan, int64_t keys);
int mep_attention_may_skip(const mep_attention_plan *plan, int64_t h, int64_t keys);

/* Fill block_norm and prefix_norm of a call, for heads that may skip. */
mep_status mep_attention_norms(mep_attention_plan *plan, const mep_tensor_view *k, int64_t batch, int64_t keys);

/* |q_r| scale of packed rows, 0 for rows beyond `rows`. */
void mep_attention_row_norms(const mep_attention_plan *plan, const float *q, int64_t rows, float *norms);

#endif
