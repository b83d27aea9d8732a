/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, backward. Weights are computed again tile by tile from the saved log-sum-exp; with P the weights,
 *
 *     dP = dout V^T,  dS = P (dP - delta),  delta_i = dout_i . out_i
 *     dV = P^T dout,  dQ = scale dS K,      dK = scale dS^T Q,   dbias(d) = sum of dS over its diagonal
 *
 * A task is a chunk of up to BACKWARD_BLOCKS blocks of keys of one head, against every tile of queries that sees them:
 * it has dK and dV of its keys for itself, and hands over its part of dQ and dbias. A head's chunks hand over in their
 * order, from the first keys to the last, so the sums are the same whatever the number of threads; where the cuts are
 * depends on shapes alone.
 */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <omp.h>

#include "attention/plan.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

typedef struct pass {
    mep_attention_plan *plan;
    const mep_attention_call *call;
    const mep_attention_gradient *gradient;
    int64_t first_tile, tiles, blocks; /* tiles first_tile .. first_tile + tiles - 1; blocks 0 .. blocks - 1 */
    int64_t chunk, chunks;             /* blocks a task, tasks a head */
    int64_t slots;                     /* heads under way at a time, each with its sum of dQ */
    float margin;
} pass;

/* Chunk number `chunk` of head (b, h), number n = b heads + h: blocks first .. last. */
typedef struct task {
    int64_t b, h, n, chunk, slot, turn, first, last;
    mep_head_terms terms;
    int skip;        /* far blocks are looked for */
    int64_t end;     /* first tile that was left out */
    int64_t longest; /* distances 0 .. longest of the diagonal are in use */
} task;

/* ---- Before the tasks: delta, and what tells where a chunk's tiles end ---- */

static void prepare_tile(const pass *c, mep_attention_buffers *w, int64_t n, int64_t index)
{
    const mep_attention_plan *plan = c->plan;
    int64_t heads = plan->settings.heads, b = n / heads, h = n % heads;
    mep_tile tile = mep_tile_at(c->first_tile + index, c->call->queries, c->call->keys);
    float dots[TILE_ROWS], norms[TILE_ROWS], *delta = (float *)plan->delta.data + n * c->call->queries + tile.first;
    const float *lse = c->call->lse + n * c->call->queries + tile.first;
    mep_attention_pack(plan, &c->gradient->dout, b, h, tile.first, tile.rows, w->dout);
    mep_attention_pack(plan, &c->call->out, b, h, tile.first, tile.rows, w->rows);
    plan->kernels->row_dots(tile.rows, plan->units, w->dout, w->rows, dots);
    memcpy(delta, dots, (size_t)tile.rows * sizeof *delta);
    if (!mep_attention_may_skip(plan, h, c->call->keys)) return;
    float *norm = (float *)plan->tile_norm.data + n * c->tiles + index, *lowest = (float *)plan->tile_lse.data;
    lowest += n * c->tiles + index;
    mep_attention_pack(plan, &c->call->q, b, h, tile.first, tile.rows, w->q);
    mep_attention_row_norms(plan, w->q, tile.rows, norms);
    *norm = 0, *lowest = INFINITY;
    for (int64_t r = 0; r < tile.rows; r++) {
        *norm = norms[r] > *norm || norms[r] != norms[r] ? norms[r] : *norm;
        *lowest = lse[r] < *lowest || lse[r] != lse[r] ? lse[r] : *lowest;
    }
}

/* Fill delta, tile_norm and tile_lse. */
static mep_status prepare(const pass *c)
{
    mep_attention_plan *plan = c->plan;
    int64_t all = c->call->batch * plan->settings.heads;
    MEP_TRY(mep_attention_share(&plan->delta, all, c->call->queries, sizeof(float)));
    MEP_TRY(mep_attention_share(&plan->tile_norm, all, c->tiles, sizeof(float)));
    MEP_TRY(mep_attention_share(&plan->tile_lse, all, c->tiles, sizeof(float)));
    MEP_TRY(mep_attention_norms(plan, &c->call->k, c->call->batch, c->call->keys));
#pragma omp parallel for collapse(2) num_threads(plan->threads)
    for (int64_t n = 0; n < all; n++)
        for (int64_t i = 0; i < c->tiles; i++) prepare_tile(c, &plan->buffers[omp_get_thread_num()], n, i);
    for (int64_t n = 0; n < all; n++) {
        float *norm = (float *)plan->tile_norm.data + n * c->tiles, *lowest = (float *)plan->tile_lse.data;
        lowest += n * c->tiles;
        for (int64_t i = c->tiles - 2; i >= 0; i--) {
            norm[i] = norm[i + 1] > norm[i] || norm[i + 1] != norm[i + 1] ? norm[i + 1] : norm[i];
            lowest[i] = lowest[i + 1] < lowest[i] || lowest[i + 1] != lowest[i + 1] ? lowest[i + 1] : lowest[i];
        }
    }
    return MEP_OK;
}

/* Whether neither tile t nor any behind it gives the chunk's keys a weight that matters. */
static int out_of_reach(const pass *c, const task *t, int64_t tile)
{
    const mep_attention_plan *plan = c->plan;
    int64_t at = t->n * c->tiles + tile - c->first_tile;
    int64_t distance = tile * TILE_ROWS - (t->last * BLOCK_KEYS + BLOCK_KEYS - 1);
    if (!t->skip || distance <= 0) return 0;
    const float *norm = plan->tile_norm.data, *lowest = plan->tile_lse.data, *prefix = plan->prefix_norm.data;
    float limit = mep_skip_limit(mep_terms_bound(&t->terms, distance), c->margin);
    return mep_can_skip(norm[at], prefix[t->n * c->blocks + t->last], lowest[at], limit);
}

/* ---- A task ---- */

/* One block of keys against the tile in w (q, dout and their interleaved forms, with row sums in w->dq). */
static void backward_block(const pass *c, mep_attention_buffers *w, const task *t, const mep_tile *tile, int64_t block,
                           const float *lse, const float *delta, float *dq)
{
    const mep_attention_plan *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    int64_t units = plan->units, padded = plan->padded, rows = tile->rows, key = block * BLOCK_KEYS;
    int64_t slot = (block - t->first) * TILE_ROWS * units, sums = (block - t->first) * BLOCK_KEYS * padded;
    int64_t row_units = (rows + kernels->pair - 1) / kernels->pair, at = key - tile->position;
    int pairs = kernels->interleave != NULL;
    const float *bias = t->terms.bias + at;
    float *diagonal = c->gradient->dtable != NULL ? mep_terms_origin(plan->keys, w->diagonal) + at : NULL;
    kernels->product(rows, BLOCK_KEYS, units, w->q, units, 1, w->chunk_kt + slot, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
    kernels->product(rows, BLOCK_KEYS, units, w->dout, units, 1, w->chunk_vt + slot, BLOCK_KEYS, w->dp, BLOCK_KEYS, 0);
    kernels->gradient(rows, w->s, w->dp, w->ds, (float)plan->settings.scale, bias, lse, delta, diagonal);
    kernels->product(BLOCK_KEYS, padded, row_units, w->s, 1, BLOCK_KEYS, pairs ? w->dout_pairs : w->dout, padded,
                     w->dv + sums, padded, 1);
    kernels->product(BLOCK_KEYS, padded, row_units, w->dp, 1, BLOCK_KEYS, pairs ? w->q_pairs : w->q, padded,
                     w->dk + sums, padded, 1);
    kernels->product(rows, padded, BLOCK_KEYS / kernels->pair, pairs ? w->ds : w->dp, BLOCK_KEYS, 1, w->chunk_k + slot,
                     padded, dq, padded, 1);
}

/* Bring the diagonal's distances up to `longest` into use. */
static void extend_diagonal(const pass *c, mep_attention_buffers *w, task *t, int64_t longest)
{
    if (c->gradient->dtable == NULL || longest <= t->longest) return;
    float *origin = mep_terms_origin(c->plan->keys, w->diagonal);
    memset(origin - longest, 0, (size_t)(longest - t->longest) * sizeof *origin);
    t->longest = longest;
}

static void backward_tile(const pass *c, mep_attention_buffers *w, task *t, int64_t index)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(index, c->call->queries, c->call->keys);
    const float *lse = c->call->lse + t->n * c->call->queries + tile.first, *own = plan->block_norm.data;
    const float *delta = (const float *)plan->delta.data + t->n * c->call->queries + tile.first;
    float q_norm[TILE_ROWS], floor[TILE_ROWS], *dq = w->dq + (index - c->first_tile) * TILE_ROWS * plan->padded;
    mep_attention_pack(plan, &c->call->q, t->b, t->h, tile.first, tile.rows, w->q);
    mep_attention_pack(plan, &c->gradient->dout, t->b, t->h, tile.first, tile.rows, w->dout);
    if (plan->kernels->interleave != NULL) {
        plan->kernels->interleave(plan->units, w->q, w->q_pairs);
        plan->kernels->interleave(plan->units, w->dout, w->dout_pairs);
    }
    if (t->skip) mep_attention_row_norms(plan, w->q, tile.rows, q_norm);
    for (int64_t r = 0; r < TILE_ROWS; r++) floor[r] = r < tile.rows ? lse[r] : INFINITY;
    extend_diagonal(c, w, t, tile.position + tile.rows - 1 - t->first * BLOCK_KEYS);
    memset(dq, 0, (size_t)(TILE_ROWS * plan->padded) * sizeof *dq);
    for (int64_t block = index < t->last ? index : t->last; block >= t->first; block--) {
        int64_t distance = tile.position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
        if (t->skip && distance > 0 &&
            plan->kernels->all_below(q_norm, own[t->n * c->blocks + block], floor,
                                     mep_skip_limit(mep_terms_bound(&t->terms, distance), c->margin)))
            continue;
        backward_block(c, w, t, &tile, block, lse, delta, dq);
    }
}

static void pack_chunk(const pass *c, mep_attention_buffers *w, const task *t)
{
    const mep_attention_plan *plan = c->plan;
    for (int64_t block = t->first; block <= t->last; block++) {
        int64_t key = block * BLOCK_KEYS, slot = (block - t->first) * TILE_ROWS * plan->units;
        int64_t rows = c->call->keys - key < BLOCK_KEYS ? c->call->keys - key : BLOCK_KEYS;
        mep_attention_pack_interleaved(plan, &c->call->k, t->b, t->h, key, rows, w->rows, w->chunk_k + slot);
        mep_attention_pack_transposed(plan, &c->call->k, t->b, t->h, key, rows, w->rows, w->chunk_kt + slot);
        mep_attention_pack_transposed(plan, &c->call->v, t->b, t->h, key, rows, w->rows, w->chunk_vt + slot);
    }
}

static void write_keys(const pass *c, const mep_attention_buffers *w, const task *t)
{
    const mep_attention_plan *plan = c->plan;
    int64_t first = t->first * BLOCK_KEYS, end = (t->last + 1) * BLOCK_KEYS;
    int64_t rows = (end < c->call->keys ? end : c->call->keys) - first;
    mep_attention_write_rows(plan, &c->gradient->dk, t->b, t->h, first, rows, (float)plan->settings.scale, w->dk);
    mep_attention_write_rows(plan, &c->gradient->dv, t->b, t->h, first, rows, 1.0f, w->dv);
}

static void write_queries(const pass *c, const task *t, const float *dq)
{
    const mep_attention_plan *plan = c->plan;
    for (int64_t i = 0; i < c->tiles; i++) {
        mep_tile tile = mep_tile_at(c->first_tile + i, c->call->queries, c->call->keys);
        mep_attention_write_rows(plan, &c->gradient->dq, t->b, t->h, tile.first, tile.rows, (float)plan->settings.scale,
                                 dq + i * TILE_ROWS * plan->padded);
    }
}

/* Add the task's part of dQ and of the bias gradient to its head's, when its turn has come. `from`: the task's first
 * tile. Nobody waits for long: tasks begin in the order of their turns, the longest of a head first. */
static void hand_over(const pass *c, mep_attention_buffers *w, const task *t, int64_t from)
{
    const mep_attention_plan *plan = c->plan;
    int64_t tile = TILE_ROWS * plan->padded, begin = (from - c->first_tile) * tile,
            end = (t->end - c->first_tile) * tile;
    float *sum = c->chunks > 1 ? (float *)plan->dq_sums.data + t->slot * c->tiles * tile : w->dq;
    atomic_llong *turn = (atomic_llong *)plan->turns.data + t->slot;
    while (atomic_load_explicit(turn, memory_order_acquire) != t->turn) sched_yield();
    if (t->chunk == 0) { /* which begins at the first tile of all */
        if (sum != w->dq) memcpy(sum, w->dq, (size_t)end * sizeof *sum);
        memset(sum + end, 0, (size_t)(c->tiles * tile - end) * sizeof *sum);
    } else {
        for (int64_t i = begin; i < end; i++) sum[i] += w->dq[i];
    }
    if (c->gradient->dtable != NULL) {
        const float *origin = mep_terms_origin(plan->keys, w->diagonal);
        double *diagonal = (double *)plan->diagonals.data + t->n * c->call->keys;
        for (int64_t d = 0; d <= t->longest; d++) diagonal[d] += (double)origin[-d];
    }
    if (t->chunk == c->chunks - 1) write_queries(c, t, sum);
    atomic_store_explicit(turn, t->turn + 1, memory_order_release);
}

static void run_task(const pass *c, mep_attention_buffers *w, task *t)
{
    size_t sums = (size_t)((t->last - t->first + 1) * BLOCK_KEYS * c->plan->padded) * sizeof(float);
    int64_t from = t->first > c->first_tile ? t->first : c->first_tile, behind = c->first_tile + c->tiles;
    pack_chunk(c, w, t);
    memset(w->dk, 0, sums);
    memset(w->dv, 0, sums);
    t->longest = -BLOCK_KEYS;
    for (t->end = from; t->end < behind && !out_of_reach(c, t, t->end); t->end++) backward_tile(c, w, t, t->end);
    write_keys(c, w, t);
    hand_over(c, w, t, from);
}

/* ---- The call ---- */

/* dbias[h, d] += sum over the batch of the heads' diagonals. */
static void add_diagonals(const pass *c)
{
    int64_t heads = c->plan->settings.heads;
    const double *diagonals = c->plan->diagonals.data;
#pragma omp parallel for num_threads(c->plan->threads)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t b = 0; b < c->call->batch; b++)
            for (int64_t d = 0; d < c->call->keys; d++)
                c->gradient->dtable[h * c->call->keys + d] += diagonals[(b * heads + h) * c->call->keys + d];
}

/* Cut the work, and make room for what the tasks hand over. */
static mep_status divide(pass *c)
{
    mep_attention_plan *plan = c->plan;
    int64_t all = c->call->batch * plan->settings.heads;
    c->chunk = mep_task_size(c->blocks, all, BACKWARD_BLOCKS);
    c->chunks = (c->blocks + c->chunk - 1) / c->chunk;
    c->slots = c->chunks == 1 || all < plan->threads ? all : plan->threads;
    if (c->chunks > 1)
        MEP_TRY(mep_attention_share(&plan->dq_sums, c->slots, c->tiles * TILE_ROWS * plan->padded, sizeof(float)));
    MEP_TRY(mep_attention_share(&plan->turns, c->slots, 1, sizeof(atomic_llong)));
    for (int64_t i = 0; i < c->slots; i++) atomic_init((atomic_llong *)plan->turns.data + i, 0);
    if (c->gradient->dtable == NULL) return MEP_OK;
    MEP_TRY(mep_attention_share(&plan->diagonals, all, c->call->keys, sizeof(double)));
    memset(plan->diagonals.data, 0, (size_t)(all * c->call->keys) * sizeof(double));
    return MEP_OK;
}

/* Task number i: heads in rounds of `slots`, in a round the first chunk of each, then the second of each. */
static task task_at(const pass *c, int64_t i)
{
    int64_t heads = c->plan->settings.heads, all = c->call->batch * heads, per_round = c->slots * c->chunks;
    int64_t round = i / per_round, before = round * c->slots,
            in_round = all - before < c->slots ? all - before : c->slots;
    task t = {.chunk = i % per_round / in_round, .slot = i % per_round % in_round};
    t.n = before + t.slot, t.b = t.n / heads, t.h = t.n % heads;
    t.turn = round * c->chunks + t.chunk;
    t.first = t.chunk * c->chunk;
    t.last = (t.first + c->chunk < c->blocks ? t.first + c->chunk : c->blocks) - 1;
    t.terms = mep_terms_of_head(&c->plan->terms, t.h);
    t.skip = mep_attention_may_skip(c->plan, t.h, c->call->keys);
    return t;
}

mep_status mep_attention_plan_backward(mep_attention_plan *plan, const mep_attention_call *call,
                                       const mep_attention_gradient *gradient)
{
    MEP_TRY(mep_attention_need_backward(plan));
    pass c = {.plan = plan, .call = call, .gradient = gradient, .margin = mep_attention_margin(plan, call->keys)};
    c.first_tile = (call->keys - call->queries) / TILE_ROWS;
    c.tiles = (call->keys - 1) / TILE_ROWS - c.first_tile + 1;
    c.blocks = ceil_div(call->keys, BLOCK_KEYS);
    MEP_TRY(divide(&c));
    MEP_TRY(prepare(&c));
    int64_t tasks = call->batch * plan->settings.heads * c.chunks;
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(plan->threads)
    for (int64_t i = 0; i < tasks; i++) {
        task t = task_at(&c, i);
        run_task(&c, &plan->buffers[omp_get_thread_num()], &t);
    }
    if (gradient->dtable != NULL) add_diagonals(&c);
    return MEP_OK;
}
