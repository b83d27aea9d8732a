/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, forward: for each tile of queries, blocks of keys from the nearest to the farthest with an online
 * softmax (FlashAttention, arXiv:2205.14135), the bias read from the reversed table, far blocks left out where they
 * cannot matter. A task is a group of neighbouring tiles of one head; it packs a few blocks at a time and takes all of
 * its tiles past them, so that its memory does not grow with the length. Few queries go to decode.c instead.
 */
#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/decode.h"
#include "attention/plan.h"
#include "base/error.h"

typedef struct call {
    mep_attention *plan;
    int64_t queries, keys;
    mep_tensor_view q, k, v, out;
    float *lse;
    int64_t first_tile, tiles; /* tiles of a head: first_tile .. first_tile + tiles - 1 */
    float margin;
} call;

/* Tiles first .. last of head (b, h), number n = b heads + h. */
typedef struct task {
    int64_t b, h, n, first, last;
    int skip; /* far blocks are looked for */
} task;

static void begin_tile(const call *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->queries, c->keys);
    mep_tile_state *state = &w->state[number];
    float *q = w->q + number * TILE_ROWS * plan->units;
    mep_attention_pack(plan, &c->q, t->b, t->h, tile.first, tile.rows, q);
    if (t->skip) mep_attention_row_norms(plan, q, tile.rows, state->q_norm);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        state->maximum[r] = r < tile.rows ? -INFINITY : INFINITY; /* rows that are not there stop no skipping */
        state->sum[r] = 0;
    }
    state->done = 0;
    memset(w->out + number * TILE_ROWS * plan->padded, 0, (size_t)(TILE_ROWS * plan->padded) * sizeof(float));
}

static void end_tile(const call *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->queries, c->keys);
    mep_tile_state *state = &w->state[number];
    float *out = w->out + number * TILE_ROWS * plan->padded, inverse[TILE_ROWS];
    for (int64_t r = 0; r < tile.rows; r++) inverse[r] = 1 / state->sum[r];
    plan->kernels->scale_rows(tile.rows, plan->padded, out, plan->padded, inverse);
    mep_attention_write_rows(plan, &c->out, t->b, t->h, tile.first, tile.rows, 1.0f, out);
    for (int64_t r = 0; c->lse != NULL && r < tile.rows; r++)
        c->lse[t->n * c->queries + tile.first + r] = state->maximum[r] + logf(state->sum[r]);
}

/* Whether the block cannot matter to the tile; sets done when no farther one can. */
static int negligible(const call *c, const task *t, mep_tile_state *state, int64_t position, int64_t block)
{
    const mep_attention *plan = c->plan;
    int64_t distance = position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
    int64_t at = t->n * ((c->keys + BLOCK_KEYS - 1) / BLOCK_KEYS) + block;
    if (!t->skip || distance <= 0) return 0;
    float limit = -c->margin - plan->far_bias[t->h * plan->keys + distance];
    const float *own = plan->block_norm.data, *prefix = plan->prefix_norm.data;
    state->done = plan->kernels->all_below(state->q_norm, prefix[at], state->maximum, limit);
    return state->done || plan->kernels->all_below(state->q_norm, own[at], state->maximum, limit);
}

/* One tile against blocks last .. first, which are packed from slot 0 on. */
static void forward_tile(const call *c, mep_attention_buffers *w, const task *t, int64_t number, int64_t first,
                         int64_t last)
{
    const mep_attention *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    const float *reversed = mep_reversed_origin(plan, plan->reversed + t->h * plan->table_size);
    int64_t units = plan->units, padded = plan->padded, index = t->first + number;
    mep_tile tile = mep_tile_at(index, c->queries, c->keys);
    mep_tile_state *state = &w->state[number];
    float *q = w->q + number * TILE_ROWS * units, *out = w->out + number * TILE_ROWS * padded;
    float rescale[TILE_ROWS] = {0}, scale = (float)plan->settings.scale;
    for (int64_t block = last < index ? last : index; block >= first && !state->done; block--) {
        const float *kt = w->kt + (block - first) * TILE_ROWS * units, *v = w->v + (block - first) * TILE_ROWS * units;
        if (negligible(c, t, state, tile.position, block)) continue;
        w->blocks_computed++;
        /* S = Q K^T; S = softmax numerators; out = out rescaled + S V */
        kernels->product(tile.rows, BLOCK_KEYS, units, q, units, 1, kt, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
        kernels->softmax(tile.rows, w->s, scale, reversed + block * BLOCK_KEYS - tile.position, state->maximum,
                         state->sum, rescale);
        kernels->scale_rows(tile.rows, padded, out, padded, rescale);
        kernels->product(tile.rows, padded, BLOCK_KEYS / kernels->pair, w->s, BLOCK_KEYS, 1, v, padded, out, padded, 1);
    }
}

/* Pack keys and values of blocks first .. last. */
static void pack_blocks(const call *c, mep_attention_buffers *w, const task *t, int64_t first, int64_t last)
{
    const mep_attention *plan = c->plan;
    for (int64_t block = first; block <= last; block++) {
        int64_t key = block * BLOCK_KEYS, slot = (block - first) * TILE_ROWS * plan->units;
        int64_t rows = c->keys - key < BLOCK_KEYS ? c->keys - key : BLOCK_KEYS;
        mep_attention_pack_transposed(plan, &c->k, t->b, t->h, key, rows, w->rows, w->kt + slot);
        mep_attention_pack_interleaved(plan, &c->v, t->b, t->h, key, rows, w->rows, w->v + slot);
    }
}

static void run_task(const call *c, mep_attention_buffers *w, const task *t)
{
    int64_t count = t->last - t->first + 1, open = count;
    for (int64_t i = 0; i < count; i++) begin_tile(c, w, t, i);
    for (int64_t last = t->last; last >= 0 && open > 0; last -= FORWARD_BLOCKS) {
        int64_t first = last - FORWARD_BLOCKS + 1 > 0 ? last - FORWARD_BLOCKS + 1 : 0;
        pack_blocks(c, w, t, first, last);
        open = 0;
        for (int64_t i = 0; i < count; i++) {
            forward_tile(c, w, t, i, first, last);
            open += !w->state[i].done;
        }
    }
    for (int64_t i = 0; i < count; i++) end_tile(c, w, t, i);
}

/* Tiles of a task: enough tasks for the threads, but not so few tiles that packing costs more than a few percent. */
static int64_t group_size(int64_t tiles, int64_t heads)
{
    int64_t size = tiles * heads / 24;
    return size < 4 ? 4 : size > FORWARD_TILES ? FORWARD_TILES : size;
}

mep_status mep_attention_forward(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                 mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse)
{
    MEP_TRY(mep_attention_check(plan, batch, queries, keys));
    if (queries <= DECODE_QUERIES) return mep_attention_decode(plan, batch, queries, keys, q, k, v, out, lse);
    call c = {plan, queries, keys, q, k, v, out, lse, .margin = mep_attention_margin(plan, keys)};
    c.first_tile = (keys - queries) / TILE_ROWS;
    c.tiles = (keys - 1) / TILE_ROWS - c.first_tile + 1;
    int64_t heads = plan->settings.heads, all = batch * heads, size = group_size(c.tiles, all);
    int64_t groups = (c.tiles + size - 1) / size, computed = 0;
    MEP_TRY(mep_attention_norms(plan, &k, batch, keys));
    for (int t = 0; t < plan->threads; t++) plan->buffers[t].blocks_computed = 0;
        /* the longest tasks, those of the last queries, first */
#pragma omp parallel for schedule(dynamic) num_threads(plan->threads)
    for (int64_t i = 0; i < groups * all; i++) {
        int64_t n = i % all, last = c.tiles - i / all * size - 1, first = last - size + 1 > 0 ? last - size + 1 : 0;
        task t = {n / heads,
                  n % heads,
                  n,
                  c.first_tile + first,
                  c.first_tile + last,
                  mep_attention_may_skip(plan, n % heads, keys)};
        run_task(&c, &plan->buffers[omp_get_thread_num()], &t);
    }
    for (int t = 0; t < plan->threads; t++) computed += plan->buffers[t].blocks_computed;
    int64_t seen = c.tiles * (2 * c.first_tile + c.tiles + 1) / 2;
    plan->computed_share = (double)computed / (double)(seen * all);
    return MEP_OK;
}
