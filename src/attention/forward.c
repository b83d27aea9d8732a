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
#include "attention/forward.h"
#include "base/error.h"
#include "base/integer.h"

/* Tiles first .. last of head (b, h), number n = b heads + h. */
typedef struct task {
    int64_t b, h, n, first, last;
    const mep_source *source;
} task;

static void begin_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    float *q = w->q + number * TILE_ROWS * plan->units;
    mep_attention_pack(plan, &c->call->q, t->b, t->h, tile.first, tile.rows, q);
    if (t->source->norms != NULL) mep_attention_row_norms(plan, q, tile.rows, state->q_norm);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        state->maximum[r] = r < tile.rows ? -INFINITY : INFINITY; /* rows that are not there stop no skipping */
        state->sum[r] = 0;
    }
    state->done = 0;
    memset(w->out + number * TILE_ROWS * plan->padded, 0, (size_t)(TILE_ROWS * plan->padded) * sizeof(float));
}

static void end_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    float *out = w->out + number * TILE_ROWS * plan->padded, inverse[TILE_ROWS];
    for (int64_t r = 0; r < tile.rows; r++) inverse[r] = 1 / state->sum[r];
    plan->kernels->scale_rows(tile.rows, plan->padded, out, plan->padded, inverse);
    mep_attention_write_rows(plan, &c->call->out, t->b, t->h, tile.first, tile.rows, 1.0f, out);
    for (int64_t r = 0; c->call->lse != NULL && r < tile.rows; r++)
        c->call->lse[t->n * c->call->queries + tile.first + r] = state->maximum[r] + logf(state->sum[r]);
}

/* Whether the block cannot matter to the tile; sets done when no farther one can. */
static int negligible(const mep_forward *c, const task *t, mep_tile_state *state, int64_t position, int64_t block)
{
    const mep_attention_kernels *kernels = c->plan->kernels;
    const mep_source *source = t->source;
    int64_t distance = position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
    if (source->norms == NULL || distance <= 0) return 0;
    float limit = mep_skip_limit(mep_terms_bound(&source->terms, distance), c->margin);
    if (source->prefix_norms != NULL)
        state->done = kernels->all_below(state->q_norm, source->prefix_norms[block], state->maximum, limit);
    return state->done || kernels->all_below(state->q_norm, source->norms[block % source->ring], state->maximum, limit);
}

/* One tile against blocks last .. first, which are packed from slot 0 on. */
static void forward_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number, int64_t first,
                         int64_t last)
{
    const mep_attention_plan *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    int64_t units = plan->units, padded = plan->padded, index = t->first + number;
    mep_tile tile = mep_tile_at(index, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    float *q = w->q + number * TILE_ROWS * units, *out = w->out + number * TILE_ROWS * padded;
    float rescale[TILE_ROWS] = {0}, scale = (float)plan->settings.scale;
    for (int64_t block = last < index ? last : index; block >= first && !state->done; block--) {
        const float *kt = w->kt + (block - first) * TILE_ROWS * units, *v = w->v + (block - first) * TILE_ROWS * units;
        if (negligible(c, t, state, tile.position, block)) continue;
        w->blocks_computed++;
        /* S = Q K^T; S = softmax numerators; out = out rescaled + S V */
        kernels->product(tile.rows, BLOCK_KEYS, units, q, units, 1, kt, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
        kernels->softmax(tile.rows, w->s, scale, t->source->terms.bias + block * BLOCK_KEYS - tile.position,
                         state->maximum, state->sum, rescale);
        kernels->scale_rows(tile.rows, padded, out, padded, rescale);
        kernels->product(tile.rows, padded, BLOCK_KEYS / kernels->pair, w->s, BLOCK_KEYS, 1, v, padded, out, padded, 1);
    }
}

/* A block of keys that is transposed already, in units. */
static void read_keys(const mep_attention_plan *plan, const mep_source *source, int64_t block, float *out)
{
    int64_t values = BLOCK_KEYS * plan->padded, size = mep_dtype_size(plan->settings.dtype);
    const char *from = (const char *)source->keys + block % source->ring * values * size;
    if (plan->kernels->pair == 1 && plan->settings.dtype == MEP_BFLOAT16)
        plan->kernels->from_bf16(values, (const mep_bf16 *)(const void *)from, out);
    else
        memcpy(out, from, (size_t)(values * size));
}

/* Pack keys and values of blocks first .. last. */
static void pack_blocks(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t first, int64_t last)
{
    const mep_source *source = t->source;
    mep_tensor_view k = {.token_stride = source->key_stride}, v = {.token_stride = source->value_stride};
    memcpy(&k.data, &source->keys, sizeof k.data); /* views are not const; these are only read */
    memcpy(&v.data, &source->values, sizeof v.data);
    for (int64_t block = first; block <= last; block++) {
        int64_t slot = (block - first) * TILE_ROWS * c->plan->units, left = c->call->keys - block * BLOCK_KEYS;
        int64_t row = block % source->ring * BLOCK_KEYS, rows = left < BLOCK_KEYS ? left : BLOCK_KEYS;
        if (source->transposed)
            read_keys(c->plan, source, block, w->kt + slot);
        else
            mep_attention_pack_transposed(c->plan, &k, 0, 0, row, rows, w->rows, w->kt + slot);
        mep_attention_pack_interleaved(c->plan, &v, 0, 0, row, rows, w->rows, w->v + slot);
    }
}

/* Whether the call is to stop; the calling thread, number 0, asks. `done` is the fraction of the tasks begun. */
static int is_stopped(const mep_forward *c, double done)
{
    mep_watch *watch = c->plan->watch;
    if (watch == NULL) return 0;
    return omp_get_thread_num() == 0 ? mep_watch_ask(watch, done) : mep_watch_stopped(watch);
}

static void run_task(const mep_forward *c, mep_attention_buffers *w, const task *t, double done)
{
    int64_t count = t->last - t->first + 1, open = count;
    for (int64_t i = 0; i < count; i++) begin_tile(c, w, t, i);
    for (int64_t last = t->last; last >= t->source->first && open > 0; last -= FORWARD_BLOCKS) {
        if (is_stopped(c, done)) return;
        int64_t first = last - FORWARD_BLOCKS + 1 > t->source->first ? last - FORWARD_BLOCKS + 1 : t->source->first;
        pack_blocks(c, w, t, first, last);
        open = 0;
        for (int64_t i = 0; i < count; i++) {
            forward_tile(c, w, t, i, first, last);
            open += !w->state[i].done;
        }
    }
    for (int64_t i = 0; i < count; i++) end_tile(c, w, t, i);
}

mep_status mep_forward_run(const mep_forward *c)
{
    mep_attention_plan *plan = c->plan;
    int64_t first_tile = (c->call->keys - c->call->queries) / TILE_ROWS,
            tiles = (c->call->keys - 1) / TILE_ROWS - first_tile + 1;
    int64_t heads = plan->settings.heads, all = c->call->batch * heads, size = mep_task_size(tiles, all, FORWARD_TILES);
    int64_t groups = (tiles + size - 1) / size, computed = 0;
    for (int t = 0; t < plan->threads; t++) plan->buffers[t].blocks_computed = 0;
        /* the longest tasks, those of the last queries, first; on a thread in this order, so that reports only grow */
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(plan->threads)
    for (int64_t i = 0; i < groups * all; i++) {
        int64_t n = i % all, last = tiles - i / all * size - 1, first = last - size + 1 > 0 ? last - size + 1 : 0;
        task t = {n / heads, n % heads, n, first_tile + first, first_tile + last, &c->source[n]};
        run_task(c, &plan->buffers[omp_get_thread_num()], &t, (double)i / (double)(groups * all));
    }
    for (int t = 0; t < plan->threads; t++) computed += plan->buffers[t].blocks_computed;
    int64_t seen = tiles * (2 * first_tile + tiles + 1) / 2;
    plan->computed_fraction = (double)computed / (double)(seen * all);
    return mep_watch_status(plan->watch);
}

/* The keys and values of (batch, head) number n of a call. */
static mep_source source_of(const mep_attention_plan *plan, const mep_attention_call *call, int64_t n)
{
    int64_t heads = plan->settings.heads, b = n / heads, h = n % heads, blocks = ceil_div(call->keys, BLOCK_KEYS);
    int skip = mep_attention_may_skip(plan, h, call->keys);
    return (mep_source){.keys = mep_attention_row(plan, &call->k, b, h, 0),
                        .values = mep_attention_row(plan, &call->v, b, h, 0),
                        .key_stride = call->k.token_stride,
                        .value_stride = call->v.token_stride,
                        .ring = INT64_MAX,
                        .terms = mep_terms_of_head(&plan->terms, h),
                        .norms = skip ? (float *)plan->block_norm.data + n * blocks : NULL,
                        .prefix_norms = skip ? (float *)plan->prefix_norm.data + n * blocks : NULL};
}

mep_status mep_attention_plan_forward(mep_attention_plan *plan, const mep_attention_call *call)
{
    if (call->queries <= DECODE_QUERIES) return mep_attention_decode(plan, call);
    int64_t all = call->batch * plan->settings.heads;
    MEP_TRY(mep_attention_norms(plan, &call->k, call->batch, call->keys));
    MEP_TRY(mep_attention_share(&plan->sources, all, 1, sizeof(mep_source)));
    mep_source *sources = plan->sources.data;
    for (int64_t n = 0; n < all; n++) sources[n] = source_of(plan, call, n);
    const mep_forward pass = {
        .plan = plan, .call = call, .source = sources, .margin = mep_attention_margin(plan, call->keys)};
    return mep_forward_run(&pass);
}
