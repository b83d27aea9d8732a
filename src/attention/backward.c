/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, backward. Weights are computed again tile by tile from the saved log-sum-exp. With P the weights,
 *
 *     out = P V, P = softmax(scale Q K^T + table)                                                     (forward.c)
 *     dP = dout V^T,  dS = P (dP - delta),  delta_i = dout_i . out_i
 *     dV = P^T dout,  dQ = scale dS K,      dK = scale dS^T Q,   dtable(d) = sum of dS over its diagonal
 *
 * A task is a chunk of up to BACKWARD_BLOCKS blocks of keys of one head of k and v, against every tile of queries that
 * sees them, for each query head that reads that head in turn. It owns dK and dV of its keys, and adds its
 * contributions to dQ, dtable and the gradients of content terms to those of the query head. The chunks of a head do so
 * in order, from the first keys to the last, so the sums have the same bits for any number of threads; where chunks
 * begin depends on shapes alone.
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
    int64_t chunk, chunks;             /* blocks per task, tasks per head */
    int64_t slots; /* heads of k that are computed at a time; each of their query heads has a sum of dQ */
    int64_t group; /* query heads per head of k */
    float margin;
} pass;

/* Chunk number `chunk` of head (b, kv) of k: blocks first .. last; the query head that is computed, n = b heads + h. */
typedef struct task {
    int64_t b, kv, chunk, slot, turn, first, last;
    int64_t h, n;
    mep_head_terms terms;
    mep_content content;
    int skip;        /* test whether blocks can be skipped */
    int64_t end;     /* the first tile that is left out */
    int64_t longest; /* distances 0 .. longest of the diagonal are in use */
    int64_t ahead;   /* and -1 .. -ahead */
} task;

/* ---- Before the tasks: delta, and the norms that tell where a chunk's tiles end ---- */

/* Compute delta = dout . out of a tile's rows and, for the skip test, its largest query norm and the lowest log-sum-exp
 * without the terms of the query. */
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
    if (!mep_attention_may_skip(plan, c->call, h)) return;
    float *norm = (float *)plan->tile_norm.data + n * c->tiles + index;
    double *lowest = (double *)plan->tile_lse.data + n * c->tiles + index;
    const mep_head_terms terms = mep_terms_of_head(&plan->terms, h);
    const mep_content content = mep_attention_content(plan, c->call, n);
    mep_content_tile query_terms;
    mep_content_begin(&content, &terms, &tile, &query_terms);
    mep_attention_pack(plan, &c->call->q, b, h, tile.first, tile.rows, w->q);
    mep_attention_row_norms(plan, w->q, tile.rows, norms);
    *norm = 0, *lowest = INFINITY;
    for (int64_t r = 0; r < tile.rows; r++) {
        *norm = norms[r] > *norm || norms[r] != norms[r] ? norms[r] : *norm;
        double x = (double)lse[r] - (double)query_terms.gate[r] - query_terms.base - (double)query_terms.profile[r];
        *lowest = x < *lowest || x != x ? x : *lowest;
    }
}

/* Compute delta, the norms of the keys and, for the skip test, tile_norm and tile_lse: the largest norm and the
 * smallest log-sum-exp of a tile and all tiles after it. A NaN stays, so that nothing is skipped. */
static mep_status prepare(const pass *c)
{
    mep_attention_plan *plan = c->plan;
    int64_t all = c->call->batch * plan->settings.heads;
    MEP_TRY(mep_attention_reserve(&plan->delta, all, c->call->queries, sizeof(float)));
    MEP_TRY(mep_attention_reserve(&plan->tile_norm, all, c->tiles, sizeof(float)));
    MEP_TRY(mep_attention_reserve(&plan->tile_lse, all, c->tiles, sizeof(double)));
    MEP_TRY(mep_attention_norms(plan, c->call));
#pragma omp parallel for collapse(2) num_threads(plan->threads)
    for (int64_t n = 0; n < all; n++)
        for (int64_t i = 0; i < c->tiles; i++) prepare_tile(c, &plan->buffers[omp_get_thread_num()], n, i);
    for (int64_t n = 0; n < all; n++) {
        float *norm = (float *)plan->tile_norm.data + n * c->tiles;
        double *lowest = (double *)plan->tile_lse.data + n * c->tiles;
        for (int64_t i = c->tiles - 2; i >= 0; i--) {
            norm[i] = norm[i + 1] > norm[i] || norm[i + 1] != norm[i + 1] ? norm[i + 1] : norm[i];
            lowest[i] = lowest[i + 1] < lowest[i] || lowest[i + 1] != lowest[i + 1] ? lowest[i + 1] : lowest[i];
        }
    }
    return MEP_OK;
}

static int64_t kv_number(const pass *c, const task *t)
{
    return t->b * c->plan->kv_heads + t->kv;
}

/* Whether neither tile t nor any after it gives the chunk's keys a weight that matters. */
static int out_of_reach(const pass *c, const task *t, int64_t tile)
{
    const mep_attention_plan *plan = c->plan;
    int64_t at = t->n * c->tiles + tile - c->first_tile;
    int64_t distance = tile * TILE_ROWS - (t->last * BLOCK_KEYS + BLOCK_KEYS - 1);
    if (!t->skip || distance <= 0) return 0;
    if (t->content.fire)
        return 0; /* its bounds are those of a row and a distance; blocks are still tested one by one */
    const float *norm = plan->tile_norm.data, *prefix = plan->prefix_norm.data;
    double gate = t->content.gate != NULL ? t->content.gate_lowest[t->last] : 0;
    float floor = (float)(((const double *)plan->tile_lse.data)[at] + gate);
    float limit = mep_skip_limit(mep_terms_bound(&t->terms, distance), c->margin);
    return mep_can_skip(norm[at], prefix[kv_number(c, t) * c->blocks + t->last], floor, limit);
}

/* ---- A task ---- */

/* The first row of a tile in the rows of the task's sums. */
static int64_t sum_row(const pass *c, const mep_tile *tile)
{
    return (tile->position / TILE_ROWS - c->first_tile) * TILE_ROWS;
}

/* Whether gradients of terms are sums of dS; those of a mixture are of dS / factor. */
static int needs_scores(const mep_content *content)
{
    return content->gate != NULL || content->profiles != NULL || content->fire;
}

/* mep_attention_kernels.gradient for scores with content terms, and the gradients of these. */
static void content_gradient(const pass *c, mep_attention_buffers *w, const task *t, const mep_tile *tile,
                             int64_t block, mep_score_gradient *y)
{
    const mep_attention_kernels *kernels = c->plan->kernels;
    const mep_content *content = &t->content;
    const mep_head_terms *terms = &t->terms;
    mep_content_gradients *g = &w->gradients;
    int64_t at = block * BLOCK_KEYS - tile->position, row = sum_row(c, tile);
    const mep_content_tile *rows = &w->state[0].content;
    const mep_score_rows x = mep_content_block(kernels, content, terms, rows, tile, block, &w->content);
    if (rows->fire != NULL) y->diagonal = NULL; /* the table has no part in these scores */
    kernels->gradient_terms(tile->rows, w->s, w->dp, w->ds, (float)c->plan->settings.scale, &x, y);
    if (content->gate != NULL)
        kernels->add_sums(tile->rows, y->scores, (float *)g->row_sums.data + row,
                          (float *)g->column_sums.data + (block - t->first) * BLOCK_KEYS);
    if (rows->fire != NULL && c->plan->fire_gradient != NULL)
        mep_content_fire_backward(kernels, terms, rows, tile, block, y->scores, g->fire.data);
    if (content->profiles != NULL && -at - (BLOCK_KEYS - 1) < terms->extent) {
        float *bank = g->bank.data;
        kernels->toeplitz_gradient(&(mep_toeplitz_gradient){
            .rows = tile->rows,
            .rank = terms->rank,
            .c_row = content->profile_row,
            .table_row = terms->bank_row,
            .c = content->profiles + tile->first * content->profile_row,
            .table = terms->bank + at,
            .g = y->scores,
            .dc = (float *)g->profiles.data + row * terms->rank,
            .dtable = c->gradient->dbank != NULL ? mep_toeplitz_origin(terms->extent, bank) + at : NULL});
    }
    if (x.factor != NULL) {
        float *ratios = g->ratios.data;
        kernels->toeplitz_gradient(&(mep_toeplitz_gradient){
            .rows = tile->rows,
            .rank = terms->kernels,
            .c_row = content->mixture_row,
            .table_row = terms->ratio_row,
            .c = content->mixture + tile->first * content->mixture_row,
            .table = terms->ratios + at,
            .g = y->before_factor,
            .dc = (float *)g->mixture.data + row * terms->kernels,
            .dtable = c->gradient->dlog_kernels != NULL ? mep_toeplitz_origin(c->plan->keys, ratios) + at : NULL});
    }
}

static int wants_table(const pass *c)
{
    return c->gradient->dtable != NULL || c->gradient->dtable_ahead != NULL;
}

/* One block of keys against the tile in w: q and dout, also interleaved; dq is the tile's sum. */
static void backward_block(const pass *c, mep_attention_buffers *w, const task *t, const mep_tile *tile, int64_t block,
                           const float *lse, const float *delta, float *dq)
{
    const mep_attention_plan *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    int64_t units = plan->units, padded = plan->padded, rows = tile->rows, key = block * BLOCK_KEYS;
    int64_t slot = (block - t->first) * TILE_ROWS * units, sums = (block - t->first) * BLOCK_KEYS * padded;
    int64_t row_units = (rows + kernels->pair - 1) / kernels->pair, at = key - tile->position;
    int pairs = kernels->interleave != NULL;
    float *diagonal = wants_table(c) ? mep_terms_origin(plan->keys, w->diagonal) + at : NULL;
    kernels->product(rows, BLOCK_KEYS, units, w->q, units, 1, w->chunk_kt + slot, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
    mep_segment_mask(c->call, plan->settings.bidirectional, t->b, tile, block, (float)plan->settings.scale, w->s);
    kernels->product(rows, BLOCK_KEYS, units, w->dout, units, 1, w->chunk_vt + slot, BLOCK_KEYS, w->dp, BLOCK_KEYS, 0);
    if (mep_content_is_present(&t->content))
        content_gradient(c, w, t, tile, block,
                         &(mep_score_gradient){.lse = lse,
                                               .delta = delta,
                                               .diagonal = diagonal,
                                               .scores = needs_scores(&t->content) ? w->scores : NULL,
                                               .before_factor = w->before_factor});
    else
        kernels->gradient(rows, w->s, w->dp, w->ds, (float)plan->settings.scale, t->terms.bias + at, lse, delta,
                          diagonal);
    kernels->product(BLOCK_KEYS, padded, row_units, w->s, 1, BLOCK_KEYS, pairs ? w->dout_pairs : w->dout, padded,
                     w->dv + sums, padded, 1);
    kernels->product(BLOCK_KEYS, padded, row_units, w->dp, 1, BLOCK_KEYS, pairs ? w->q_pairs : w->q, padded,
                     w->dk + sums, padded, 1);
    kernels->product(rows, padded, BLOCK_KEYS / kernels->pair, pairs ? w->ds : w->dp, BLOCK_KEYS, 1, w->chunk_k + slot,
                     padded, dq, padded, 1);
}

/* Clear the diagonal's distances up to `longest` that are not in use yet. */
static void extend_diagonal(const pass *c, mep_attention_buffers *w, task *t, int64_t longest)
{
    if (!wants_table(c) || longest <= t->longest) return;
    float *origin = mep_terms_origin(c->plan->keys, w->diagonal);
    memset(origin - longest, 0, (size_t)(longest - t->longest) * sizeof *origin);
    t->longest = longest;
}

/* Whether a block cannot matter to the tile's rows, whose log-sum-exp is lse. */
static int negligible(const pass *c, const task *t, const mep_content_tile *tile, int64_t block, int64_t distance,
                      const float *q_norm, float k_norm, const float *lse)
{
    float floor[TILE_ROWS], bound = mep_terms_bound(&t->terms, distance);
    const float *lowest = lse;
    if (mep_content_is_present(&t->content)) {
        bound = tile->far_bias[distance];
        for (int64_t r = 0; r < TILE_ROWS; r++) floor[r] = lse[r] - mep_content_row_bound(tile, &t->terms, r, distance);
        lowest = floor;
        bound += mep_content_block_bound(&t->content, tile, block, 0);
    }
    return c->plan->kernels->all_below(q_norm, k_norm, lowest, mep_skip_limit(bound, c->margin));
}

/* Add what the queries of a tile contribute to dk and dv of the task's blocks and to the tile's own dq, from the
 * nearest block to the farthest. Blocks without weight are skipped. */
static void backward_tile(const pass *c, mep_attention_buffers *w, task *t, int64_t index)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(index, c->call->queries, c->call->keys);
    const float *lse = c->call->lse + t->n * c->call->queries + tile.first, *own = plan->block_norm.data;
    const float *delta = (const float *)plan->delta.data + t->n * c->call->queries + tile.first;
    float q_norm[TILE_ROWS], floor[TILE_ROWS], *dq = w->dq + (index - c->first_tile) * TILE_ROWS * plan->padded;
    const mep_segment segment = mep_segment_of_tile(c->call, plan->settings.bidirectional, t->b, &tile);
    int64_t first_block = max_i64(t->first, segment.first / BLOCK_KEYS), last_block = min_i64(t->last, index);
    if (plan->settings.bidirectional) last_block = min_i64(t->last, (segment.end - 1) / BLOCK_KEYS);
    memset(dq, 0, (size_t)(TILE_ROWS * plan->padded) * sizeof *dq);
    if (first_block > last_block) return;
    mep_attention_pack(plan, &c->call->q, t->b, t->h, tile.first, tile.rows, w->q);
    mep_attention_pack(plan, &c->gradient->dout, t->b, t->h, tile.first, tile.rows, w->dout);
    if (plan->kernels->interleave != NULL) {
        plan->kernels->interleave(plan->units, w->q, w->q_pairs);
        plan->kernels->interleave(plan->units, w->dout, w->dout_pairs);
    }
    if (t->skip) mep_attention_row_norms(plan, w->q, tile.rows, q_norm);
    for (int64_t r = 0; r < TILE_ROWS; r++) floor[r] = r < tile.rows ? lse[r] : INFINITY;
    if (mep_content_is_present(&t->content)) mep_content_begin(&t->content, &t->terms, &tile, &w->state[0].content);
    extend_diagonal(c, w, t, tile.position + tile.rows - 1 - t->first * BLOCK_KEYS);
    for (int64_t block = last_block; block >= first_block; block--) {
        int64_t distance = block <= index ? tile.position - (block * BLOCK_KEYS + BLOCK_KEYS - 1)
                                          : block * BLOCK_KEYS - (tile.position + tile.rows - 1);
        if (t->skip && distance > 0 &&
            negligible(c, t, &w->state[0].content, block, distance, q_norm, own[kv_number(c, t) * c->blocks + block],
                       floor))
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
        mep_attention_pack_interleaved(plan, &c->call->k, t->b, t->kv, key, rows, w->rows, w->chunk_k + slot);
        mep_attention_pack_transposed(plan, &c->call->k, t->b, t->kv, key, rows, w->rows, w->chunk_kt + slot);
        mep_attention_pack_transposed(plan, &c->call->v, t->b, t->kv, key, rows, w->rows, w->chunk_vt + slot);
    }
}

static void write_keys(const pass *c, const mep_attention_buffers *w, const task *t)
{
    const mep_attention_plan *plan = c->plan;
    int64_t first = t->first * BLOCK_KEYS, end = (t->last + 1) * BLOCK_KEYS;
    int64_t rows = (end < c->call->keys ? end : c->call->keys) - first;
    mep_attention_write_rows(plan, &c->gradient->dk, t->b, t->kv, first, rows, (float)plan->settings.scale, w->dk);
    mep_attention_write_rows(plan, &c->gradient->dv, t->b, t->kv, first, rows, 1.0f, w->dv);
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

/* dgate, dprofiles and dmixture of the query head += the task's; the first task of a head sets them. Rows are those of
 * tiles `from` to t->end - 1. */
static void add_content_rows(const pass *c, const mep_attention_buffers *w, const task *t, int64_t from)
{
    const mep_attention_gradient *g = c->gradient;
    const mep_attention_plan *plan = c->plan;
    int64_t rank = t->terms.rank, kernels = t->terms.kernels, queries = c->call->queries, keys = c->call->keys;
    const float *sums = w->gradients.row_sums.data, *dprofile = w->gradients.profiles.data,
                *dmixture = w->gradients.mixture.data;
    for (int64_t i = 0; t->chunk == 0 && i < queries; i++) {
        if (g->dprofiles.data != NULL)
            memset(mep_attention_float_row(plan, &g->dprofiles, t->n, i), 0, (size_t)rank * sizeof(float));
        if (g->dmixture.data != NULL)
            memset(mep_attention_float_row(plan, &g->dmixture, t->n, i), 0, (size_t)kernels * sizeof(float));
    }
    for (int64_t index = from; index < t->end; index++) {
        mep_tile tile = mep_tile_at(index, queries, keys);
        for (int64_t r = 0; r < tile.rows; r++) {
            int64_t row = sum_row(c, &tile) + r;
            if (g->dgate != NULL) g->dgate[t->n * keys + tile.position + r] += (double)sums[row];
            if (g->dprofiles.data != NULL) {
                float *to = mep_attention_float_row(plan, &g->dprofiles, t->n, tile.first + r);
                for (int64_t m = 0; m < rank; m++) to[m] += dprofile[row * rank + m];
            }
            if (g->dmixture.data != NULL) { /* the backward pass of w = softmax(a) */
                const float *weights = t->content.mixture + (tile.first + r) * t->content.mixture_row,
                            *dw = dmixture + row * kernels;
                float *to = mep_attention_float_row(plan, &g->dmixture, t->n, tile.first + r), mean = 0;
                for (int64_t m = 0; m < kernels; m++) mean += weights[m] * dw[m];
                for (int64_t m = 0; m < kernels; m++) to[m] += weights[m] * (dw[m] - mean);
            }
        }
    }
}

/* sums[m, d] += the gradients of tables, d < count. */
static void add_tables(int64_t rank, int64_t count, const float *origin, int64_t row, double *sums, int64_t length)
{
    for (int64_t m = 0; m < rank; m++)
        for (int64_t d = 0; d < count; d++) sums[m * length + d] += (double)origin[m * row - d];
}

/* The gradients of the content terms of the query head += the task's. */
static void hand_over_content(const pass *c, mep_attention_buffers *w, const task *t, int64_t from)
{
    const mep_head_terms *terms = &t->terms;
    const mep_attention_gradient *g = c->gradient;
    int64_t keys = c->call->keys, first = t->first * BLOCK_KEYS, end = min_i64((t->last + 1) * BLOCK_KEYS, keys);
    if (t->chunk == 0 && g->dgate != NULL) memset(g->dgate + t->n * keys, 0, (size_t)keys * sizeof *g->dgate);
    add_content_rows(c, w, t, from);
    for (int64_t key = first; g->dgate != NULL && key < end; key++)
        g->dgate[t->n * keys + key] -= (double)((float *)w->gradients.column_sums.data)[key - first];
    if (t->content.fire && c->plan->fire_gradient != NULL) {
        int64_t size = 3 * terms->fire->pieces;
        const double *own = w->gradients.fire.data;
        double *sums = (double *)c->plan->fire_sums.data + t->n * size;
        for (int64_t i = 0; i < size; i++) sums[i] += own[i];
    }
    if (terms->rank > 0 && g->dbank != NULL)
        add_tables(terms->rank, min_i64(terms->extent, keys),
                   mep_toeplitz_origin(terms->extent, w->gradients.bank.data), terms->bank_row,
                   (double *)c->plan->bank_sums.data + t->n * terms->rank * terms->extent, terms->extent);
    if (terms->kernels > 0 && g->dlog_kernels != NULL)
        add_tables(terms->kernels, keys, mep_toeplitz_origin(c->plan->keys, w->gradients.ratios.data), terms->ratio_row,
                   (double *)c->plan->ratio_sums.data + t->n * terms->kernels * keys, keys);
}

/* Set the sums for the gradients of score terms to 0, as far as the task uses them. */
static void clear_content(const pass *c, mep_attention_buffers *w, const task *t)
{
    const mep_content_gradients *g = &w->gradients;
    const mep_shared *all[] = {&g->row_sums, &g->column_sums, &g->profiles, &g->mixture, &g->bank, &g->ratios};
    int64_t rows = c->tiles * TILE_ROWS, columns = BACKWARD_BLOCKS * BLOCK_KEYS;
    int64_t counts[] = {rows,
                        columns,
                        rows * t->terms.rank,
                        rows * t->terms.kernels,
                        c->gradient->dbank != NULL ? t->terms.rank * t->terms.bank_row : 0,
                        c->gradient->dlog_kernels != NULL ? t->terms.kernels * t->terms.ratio_row : 0};
    for (int i = 0; i < 6; i++)
        if (counts[i] > 0) memset(all[i]->data, 0, (size_t)counts[i] * sizeof(float));
    if (t->content.fire) memset(g->fire.data, 0, (size_t)(3 * t->terms.fire->pieces) * sizeof(double));
}

/* Add the task's contributions to dQ, dtable and the gradients of content terms to its head's when its turn has come.
 * `from`: the task's first tile. Waiting is short, because tasks begin in the order of their turns, the longest of a
 * head first. */
static void hand_over(const pass *c, mep_attention_buffers *w, const task *t, int64_t from)
{
    const mep_attention_plan *plan = c->plan;
    int64_t tile = TILE_ROWS * plan->padded, begin = (from - c->first_tile) * tile,
            end = (t->end - c->first_tile) * tile;
    int64_t slot = t->slot * c->group + t->h % c->group;
    float *sum = c->chunks > 1 ? (float *)plan->dq_sums.data + slot * c->tiles * tile : w->dq;
    atomic_llong *turn = (atomic_llong *)plan->turns.data + slot;
    while (atomic_load_explicit(turn, memory_order_acquire) != t->turn) sched_yield();
    if (t->chunk == 0) { /* this chunk begins at the first tile of all */
        if (sum != w->dq) memcpy(sum, w->dq, (size_t)end * sizeof *sum);
        memset(sum + end, 0, (size_t)(c->tiles * tile - end) * sizeof *sum);
    } else {
        for (int64_t i = begin; i < end; i++) sum[i] += w->dq[i];
    }
    if (wants_table(c)) {
        const float *origin = mep_terms_origin(plan->keys, w->diagonal);
        double *diagonal = (double *)plan->diagonals.data + t->n * c->call->keys,
               *ahead = (double *)plan->diagonals_ahead.data + t->n * c->call->keys;
        for (int64_t d = 0; d <= t->longest; d++) diagonal[d] += (double)origin[-d];
        for (int64_t d = 1; d <= t->ahead; d++) ahead[d] += (double)origin[d];
    }
    if (mep_content_is_present(&t->content)) hand_over_content(c, w, t, from);
    if (t->chunk == c->chunks - 1) write_queries(c, t, sum);
    atomic_store_explicit(turn, t->turn + 1, memory_order_release);
}

/* The task's keys against query head h, which begins at tile `from`. */
static void run_head(const pass *c, mep_attention_buffers *w, task *t, int64_t h, int64_t from)
{
    int64_t end = c->first_tile + c->tiles;
    t->h = h, t->n = t->b * c->plan->settings.heads + h;
    t->terms = mep_terms_of_head(&c->plan->terms, h);
    t->content = mep_attention_content(c->plan, c->call, t->n);
    t->skip = mep_attention_may_skip(c->plan, c->call, h);
    t->longest = -BLOCK_KEYS, t->ahead = 0;
    if (c->plan->settings.bidirectional && wants_table(c)) {
        memset(w->diagonal, 0, (size_t)c->plan->terms.head_size * sizeof *w->diagonal);
        t->longest = t->ahead = c->call->keys - 1;
    }
    if (mep_content_is_present(&t->content)) clear_content(c, w, t);
    for (t->end = from; t->end < end && !out_of_reach(c, t, t->end); t->end++) backward_tile(c, w, t, t->end);
    hand_over(c, w, t, from);
}

static void run_task(const pass *c, mep_attention_buffers *w, task *t)
{
    size_t sums = (size_t)((t->last - t->first + 1) * BLOCK_KEYS * c->plan->padded) * sizeof(float);
    int64_t from = c->plan->settings.bidirectional ? c->first_tile : max_i64(t->first, c->first_tile);
    pack_chunk(c, w, t);
    memset(w->dk, 0, sums);
    memset(w->dv, 0, sums);
    for (int64_t g = 0; g < c->group; g++) run_head(c, w, t, t->kv * c->group + g, from);
    write_keys(c, w, t);
}

/* ---- The call ---- */

/* sums[h, d] += sum over the batch of the heads' diagonals. */
static void add_diagonals(const pass *c, const double *diagonals, double *sums)
{
    int64_t heads = c->plan->settings.heads;
    if (sums == NULL) return;
#pragma omp parallel for num_threads(c->plan->threads)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t b = 0; b < c->call->batch; b++)
            for (int64_t d = 0; d < c->call->keys; d++)
                sums[h * c->call->keys + d] += diagonals[(b * heads + h) * c->call->keys + d];
}

/* dtable and dtable_ahead; where the terms have no table_ahead, the table serves both directions. */
static void add_tables_of_distance(const pass *c)
{
    const mep_attention_plan *plan = c->plan;
    const mep_attention_gradient *g = c->gradient;
    if (!wants_table(c)) return;
    add_diagonals(c, plan->diagonals.data, g->dtable);
    if (plan->settings.bidirectional)
        add_diagonals(c, plan->diagonals_ahead.data, plan->terms.has_ahead ? g->dtable_ahead : g->dtable);
}

/* dbank and dlog_kernels += the sums of all heads; the tables of a mixture were the kernels' ratios to the largest. */
static void add_content_tables(const pass *c)
{
    const mep_attention_plan *plan = c->plan;
    int64_t heads = plan->settings.heads, keys = c->call->keys, all = c->call->batch * heads;
    const mep_head_terms first = mep_terms_of_head(&plan->terms, 0);
    int64_t size = c->gradient->dbank != NULL ? first.rank * first.extent : 0;
    const double *bank = plan->bank_sums.data, *ratios = plan->ratio_sums.data;
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t i = 0; i < size; i++)
        for (int64_t n = 0; n < all; n++) c->gradient->dbank[i] += bank[n * size + i];
    if (first.kernels == 0 || c->gradient->dlog_kernels == NULL) return;
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t h = 0; h < heads; h++) {
        const mep_head_terms t = mep_terms_of_head(&plan->terms, h);
        for (int64_t b = 0; b < c->call->batch; b++)
            for (int64_t i = 0; i < t.kernels * keys; i++)
                c->gradient->dlog_kernels[h * t.kernels * keys + i] +=
                    ratios[(b * heads + h) * t.kernels * keys + i] *
                    (double)t.ratios[i / keys * t.ratio_row - i % keys];
    }
}

/* The sums of fire.h += those of all heads. */
static void add_fire(const pass *c)
{
    const mep_attention_plan *plan = c->plan;
    int64_t heads = plan->settings.heads, size = 3 * plan->terms.fire.pieces;
    const double *sums = plan->fire_sums.data;
    for (int64_t n = 0; n < c->call->batch * heads; n++)
        for (int64_t i = 0; i < size; i++)
            plan->fire_gradient[n % heads * 3 * plan->fire_row + i] += sums[n * size + i];
}

/* dsink[h] -= sum of exp(sink - lse) delta. */
static void add_sink(const pass *c)
{
    int64_t heads = c->plan->settings.heads, queries = c->call->queries;
    const float *delta = c->plan->delta.data;
#pragma omp parallel for num_threads(c->plan->threads)
    for (int64_t h = 0; h < heads; h++) {
        double sink = (double)mep_terms_of_head(&c->plan->terms, h).sink;
        for (int64_t b = 0; b < c->call->batch && sink > -INFINITY; b++)
            for (int64_t i = (b * heads + h) * queries; i < (b * heads + h + 1) * queries; i++)
                c->gradient->dsink[h] -= exp(sink - (double)c->call->lse[i]) * (double)delta[i];
    }
}

/* Memory for `all` heads of sums in float64, set to 0. */
static mep_status zero_sums(mep_shared *sums, int64_t all, int64_t count)
{
    MEP_TRY(mep_attention_reserve(sums, all, count, sizeof(double)));
    memset(sums->data, 0, (size_t)(all * count) * sizeof(double));
    return MEP_OK;
}

/* Room for the gradients of content terms. */
static mep_status reserve_content(const pass *c)
{
    mep_attention_plan *plan = c->plan;
    const mep_head_terms terms = mep_terms_of_head(&plan->terms, 0);
    int64_t all = c->call->batch * plan->settings.heads, rows = c->tiles * TILE_ROWS;
    int fire = mep_attention_content(plan, c->call, 0).fire;
    if (c->call->gate == NULL && terms.rank == 0 && terms.kernels == 0 && !fire) return MEP_OK;
    for (int i = 0; i < plan->threads; i++) {
        mep_content_gradients *g = &plan->buffers[i].gradients;
        MEP_TRY(mep_attention_reserve(&g->row_sums, rows, 1, sizeof(float)));
        MEP_TRY(mep_attention_reserve(&g->column_sums, BACKWARD_BLOCKS, BLOCK_KEYS, sizeof(float)));
        MEP_TRY(mep_attention_reserve(&g->profiles, rows, terms.rank, sizeof(float)));
        MEP_TRY(mep_attention_reserve(&g->mixture, rows, terms.kernels, sizeof(float)));
        MEP_TRY(mep_attention_reserve(&g->bank, terms.rank, terms.bank_row, sizeof(float)));
        MEP_TRY(mep_attention_reserve(&g->ratios, terms.kernels, terms.ratio_row, sizeof(float)));
        if (fire) MEP_TRY(mep_attention_reserve(&g->fire, terms.fire->pieces, 3, sizeof(double)));
    }
    if (fire) MEP_TRY(zero_sums(&plan->fire_sums, all, 3 * terms.fire->pieces));
    if (terms.rank > 0 && c->gradient->dbank != NULL)
        MEP_TRY(zero_sums(&plan->bank_sums, all, terms.rank * terms.extent));
    if (terms.kernels > 0 && c->gradient->dlog_kernels != NULL)
        MEP_TRY(zero_sums(&plan->ratio_sums, all, terms.kernels * c->call->keys));
    return MEP_OK;
}

/* Cut the work, and make room for what the tasks hand over. */
static mep_status divide(pass *c)
{
    mep_attention_plan *plan = c->plan;
    int64_t all = c->call->batch * plan->kv_heads;
    c->group = plan->settings.heads / plan->kv_heads;
    c->chunk = mep_task_size(c->blocks, all, BACKWARD_BLOCKS);
    c->chunks = (c->blocks + c->chunk - 1) / c->chunk;
    c->slots = c->chunks == 1 || all < plan->threads ? all : plan->threads;
    int64_t sums = c->slots * c->group;
    if (c->chunks > 1)
        MEP_TRY(mep_attention_reserve(&plan->dq_sums, sums, c->tiles * TILE_ROWS * plan->padded, sizeof(float)));
    MEP_TRY(mep_attention_reserve(&plan->turns, sums, 1, sizeof(atomic_llong)));
    for (int64_t i = 0; i < sums; i++) atomic_init((atomic_llong *)plan->turns.data + i, 0);
    MEP_TRY(reserve_content(c));
    if (!wants_table(c)) return MEP_OK;
    if (plan->settings.bidirectional) MEP_TRY(zero_sums(&plan->diagonals_ahead, all * c->group, c->call->keys));
    return zero_sums(&plan->diagonals, all * c->group, c->call->keys);
}

/* Task number i: heads of k in rounds of `slots`, in a round the first chunk of each, then the second of each. */
static task task_at(const pass *c, int64_t i)
{
    int64_t heads = c->plan->kv_heads, all = c->call->batch * heads, per_round = c->slots * c->chunks;
    int64_t round = i / per_round, before = round * c->slots,
            in_round = all - before < c->slots ? all - before : c->slots;
    task t = {.chunk = i % per_round / in_round, .slot = i % per_round % in_round};
    t.b = (before + t.slot) / heads, t.kv = (before + t.slot) % heads;
    t.turn = round * c->chunks + t.chunk;
    t.first = t.chunk * c->chunk;
    t.last = (t.first + c->chunk < c->blocks ? t.first + c->chunk : c->blocks) - 1;
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
    MEP_TRY(mep_attention_prepare_content(plan, call));
    MEP_TRY(divide(&c));
    MEP_TRY(prepare(&c));
    int64_t tasks = call->batch * plan->kv_heads * c.chunks;
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(plan->threads)
    for (int64_t i = 0; i < tasks; i++) {
        task t = task_at(&c, i);
        run_task(&c, &plan->buffers[omp_get_thread_num()], &t);
    }
    add_tables_of_distance(&c);
    if (gradient->dsink != NULL) add_sink(&c);
    add_content_tables(&c);
    if (mep_attention_content(plan, call, 0).fire && plan->fire_gradient != NULL) add_fire(&c);
    return MEP_OK;
}
