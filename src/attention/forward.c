/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, forward. For each tile of queries, blocks of keys are visited from the nearest to the farthest with
 * an online softmax (FlashAttention, arXiv:2205.14135); far blocks that cannot matter are skipped (terms.h). A task is
 * a group of neighboring tiles of one head: it packs a few blocks at a time and takes all of its tiles past them, so
 * its memory does not grow with the length. A bidirectional task then goes through the blocks after its tiles in the
 * same way. Calls of few queries go to decode.c instead.
 */
#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/decode.h"
#include "attention/forward.h"
#include "base/error.h"
#include "base/integer.h"

/* Tiles first .. last of head (b, h), which is number n = b heads + h. */
typedef struct task {
    int64_t b, h, n, first, last;
    const mep_source *source;
} task;

/* Pack the queries of a tile, and set its maximum, sum and output to those of no keys. */
static void begin_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    float *q = w->q + number * TILE_ROWS * plan->units;
    mep_attention_pack(plan, &c->call->q, t->b, t->h, tile.first, tile.rows, q);
    if (t->source->norms != NULL) mep_attention_row_norms(plan, q, tile.rows, state->q_norm);
    if (mep_content_is_present(&t->source->content))
        mep_content_begin(&t->source->content, &t->source->terms, &tile, &state->content);
    for (int64_t r = 0; r < TILE_ROWS; r++) {
        state->maximum[r] = r < tile.rows ? -INFINITY : INFINITY; /* rows that do not exist must not prevent skipping */
        state->sum[r] = 0;
    }
    state->done = 0;
    state->segment = mep_segment_of_tile(c->call, plan->settings.bidirectional, t->b, &tile);
    memset(w->out + number * TILE_ROWS * plan->padded, 0, (size_t)(TILE_ROWS * plan->padded) * sizeof(float));
}

/* Divide the output of a tile by the sum of its weights, and write it with the log-sum-exp. */
static void end_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number)
{
    const mep_attention_plan *plan = c->plan;
    mep_tile tile = mep_tile_at(t->first + number, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    float *out = w->out + number * TILE_ROWS * plan->padded, factor[TILE_ROWS], lse[TILE_ROWS];
    for (int64_t r = 0; r < tile.rows; r++)
        lse[r] = mep_terms_finish(t->source->terms.sink, state->maximum[r], state->sum[r], &factor[r]);
    plan->kernels->scale_rows(tile.rows, plan->padded, out, plan->padded, factor);
    mep_attention_write_rows(plan, &c->call->out, t->b, t->h, tile.first, tile.rows, 1.0f, out);
    if (c->call->lse != NULL)
        memcpy(c->call->lse + t->n * c->call->queries + tile.first, lse, (size_t)tile.rows * sizeof *lse);
}

/* Whether the block can be skipped for the tile; sets done where no farther one can matter either. */
static int negligible(const mep_forward *c, const task *t, mep_tile_state *state, int64_t position, int64_t block)
{
    const mep_attention_kernels *kernels = c->plan->kernels;
    const mep_source *source = t->source;
    int64_t distance = position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
    if (source->norms == NULL || distance <= 0) return 0;
    float bound = mep_terms_bound(&source->terms, distance), all = bound, floor[TILE_ROWS], *lowest = state->maximum;
    if (mep_content_is_present(&source->content)) {
        bound = all = state->content.far_bias[distance];
        for (int64_t r = 0; r < TILE_ROWS; r++)
            floor[r] = state->maximum[r] - mep_content_row_bound(&state->content, &source->terms, r, distance);
        lowest = floor;
        if (source->prefix_norms != NULL) all += mep_content_block_bound(&source->content, &state->content, block, 1);
        bound += mep_content_block_bound(&source->content, &state->content, block, 0);
    }
    if (source->prefix_norms != NULL)
        state->done =
            kernels->all_below(state->q_norm, source->prefix_norms[block], lowest, mep_skip_limit(all, c->margin));
    return state->done || kernels->all_below(state->q_norm, source->norms[block % source->capacity], lowest,
                                             mep_skip_limit(bound, c->margin));
}

/* One tile against the packed block in `slot`. */
static void forward_block(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number, int64_t block,
                          int64_t slot)
{
    const mep_attention_plan *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    int64_t units = plan->units, padded = plan->padded;
    mep_tile tile = mep_tile_at(t->first + number, c->call->queries, c->call->keys);
    mep_tile_state *state = &w->state[number];
    const float *kt = w->kt + slot * TILE_ROWS * units, *v = w->v + slot * TILE_ROWS * units;
    float *q = w->q + number * TILE_ROWS * units, *out = w->out + number * TILE_ROWS * padded;
    float rescale[TILE_ROWS] = {0}, scale = (float)plan->settings.scale;
    w->blocks_computed++;
    /* S = Q K^T; S = softmax numerators; out = out rescaled + S V */
    kernels->product(tile.rows, BLOCK_KEYS, units, q, units, 1, kt, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
    mep_segment_mask(c->call, plan->settings.bidirectional, t->b, &tile, block, scale, w->s);
    if (mep_content_is_present(&t->source->content)) {
        const mep_score_rows x = mep_content_block(kernels, &t->source->content, &t->source->terms, &state->content,
                                                   &tile, block, &w->content);
        kernels->softmax_terms(tile.rows, w->s, scale, &x, state->maximum, state->sum, rescale);
    } else {
        kernels->softmax(tile.rows, w->s, scale, t->source->terms.bias + block * BLOCK_KEYS - tile.position,
                         state->maximum, state->sum, rescale);
    }
    kernels->scale_rows(tile.rows, padded, out, padded, rescale);
    kernels->product(tile.rows, padded, BLOCK_KEYS / kernels->pair, w->s, BLOCK_KEYS, 1, v, padded, out, padded, 1);
}

/* One tile against the blocks last .. first, which are packed from slot 0, up to the block of its own keys. */
static void forward_tile(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number, int64_t first,
                         int64_t last)
{
    int64_t index = t->first + number, position = mep_tile_at(index, c->call->queries, c->call->keys).position;
    mep_tile_state *state = &w->state[number];
    for (int64_t block = min_i64(last, index); block >= first && !state->done; block--) {
        state->done = (block + 1) * BLOCK_KEYS <= state->segment.first;
        if (!state->done && !negligible(c, t, state, position, block))
            forward_block(c, w, t, number, block, block - first);
    }
}

/* Whether a block after the tile, whose last row is at `position`, can be skipped. */
static int negligible_ahead(const mep_forward *c, const task *t, const mep_tile_state *state, int64_t position,
                            int64_t block)
{
    const mep_source *source = t->source;
    if (block * BLOCK_KEYS >= state->segment.end) return 1;
    if (source->norms == NULL) return 0;
    float bound = mep_terms_bound(&source->terms, block * BLOCK_KEYS - position);
    return c->plan->kernels->all_below(state->q_norm, source->norms[block], state->maximum,
                                       mep_skip_limit(bound, c->margin));
}

/* One tile against those of the packed blocks first .. last that are after its own. */
static void forward_tile_ahead(const mep_forward *c, mep_attention_buffers *w, const task *t, int64_t number,
                               int64_t first, int64_t last)
{
    int64_t index = t->first + number;
    mep_tile tile = mep_tile_at(index, c->call->queries, c->call->keys);
    for (int64_t block = max_i64(first, index + 1); block <= last; block++)
        if (!negligible_ahead(c, t, &w->state[number], tile.position + tile.rows - 1, block))
            forward_block(c, w, t, number, block, block - first);
}

/* Read a block of keys that is stored transposed, into units. */
static void read_keys(const mep_attention_plan *plan, const mep_source *source, int64_t block, float *out)
{
    int64_t values = BLOCK_KEYS * plan->padded, size = mep_dtype_size(plan->settings.dtype);
    const char *from = (const char *)source->keys + block % source->capacity * values * size;
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
    memcpy(&k.data, &source->keys, sizeof k.data); /* views are not const, but these are only read */
    memcpy(&v.data, &source->values, sizeof v.data);
    for (int64_t block = first; block <= last; block++) {
        int64_t slot = (block - first) * TILE_ROWS * c->plan->units, left = c->call->keys - block * BLOCK_KEYS;
        int64_t row = block % source->capacity * BLOCK_KEYS, rows = left < BLOCK_KEYS ? left : BLOCK_KEYS;
        if (source->transposed)
            read_keys(c->plan, source, block, w->kt + slot);
        else
            mep_attention_pack_transposed(c->plan, &k, 0, 0, row, rows, w->rows, w->kt + slot);
        mep_attention_pack_interleaved(c->plan, &v, 0, 0, row, rows, w->rows, w->v + slot);
    }
}

/* Whether the call is to stop. The calling thread, number 0, reports that the fraction `done` of the tasks has begun.
 */
static int is_stopped(const mep_forward *c, double done)
{
    mep_watch *watch = c->plan->watch;
    if (watch == NULL) return 0;
    return omp_get_thread_num() == 0 ? mep_watch_ask(watch, done) : mep_watch_stopped(watch);
}

/* Process the tiles of a task with all blocks, from the nearest to the farthest. The task ends early when a watch stops
 * it, or when no tile can gain weight any more. */
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
    int64_t blocks = c->plan->settings.bidirectional ? ceil_div(c->call->keys, BLOCK_KEYS) : 0;
    for (int64_t first = t->first + 1; first < blocks; first += FORWARD_BLOCKS) {
        if (is_stopped(c, done)) return;
        int64_t last = min_i64(first + FORWARD_BLOCKS, blocks) - 1;
        pack_blocks(c, w, t, first, last);
        for (int64_t i = 0; i < count; i++) forward_tile_ahead(c, w, t, i, first, last);
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
        /* The longest tasks, those of the last queries, come first. Each thread takes them in this order, so reports
         * only grow. */
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(plan->threads)
    for (int64_t i = 0; i < groups * all; i++) {
        int64_t n = i % all, last = tiles - i / all * size - 1, first = last - size + 1 > 0 ? last - size + 1 : 0;
        task t = {.b = n / heads,
                  .h = n % heads,
                  .n = n,
                  .first = first_tile + first,
                  .last = first_tile + last,
                  .source = &c->source[n]};
        run_task(c, &plan->buffers[omp_get_thread_num()], &t, (double)i / (double)(groups * all));
    }
    for (int t = 0; t < plan->threads; t++) computed += plan->buffers[t].blocks_computed;
    int64_t seen = plan->settings.bidirectional ? tiles * tiles : tiles * (2 * first_tile + tiles + 1) / 2;
    plan->computed_fraction = (double)computed / (double)(seen * all);
    return mep_watch_status(plan->watch);
}

/* The keys and values of (batch, head) number n of a call. */
static mep_source source_of(const mep_attention_plan *plan, const mep_attention_call *call, int64_t n)
{
    int64_t heads = plan->settings.heads, b = n / heads, h = n % heads, blocks = ceil_div(call->keys, BLOCK_KEYS);
    int64_t kv = mep_kv_head(plan, h), at = (b * plan->kv_heads + kv) * blocks;
    int skip = mep_attention_may_skip(plan, call, h);
    return (mep_source){.keys = mep_attention_row(plan, &call->k, b, kv, 0),
                        .values = mep_attention_row(plan, &call->v, b, kv, 0),
                        .key_stride = call->k.token_stride,
                        .value_stride = call->v.token_stride,
                        .capacity = INT64_MAX,
                        .terms = mep_terms_of_head(&plan->terms, h),
                        .content = mep_attention_content(plan, call, n),
                        .norms = skip ? (float *)plan->block_norm.data + at : NULL,
                        .prefix_norms = skip ? (float *)plan->prefix_norm.data + at : NULL};
}

mep_status mep_attention_plan_forward(mep_attention_plan *plan, const mep_attention_call *call)
{
    MEP_TRY(mep_attention_prepare_content(plan, call));
    if (call->queries <= DECODE_QUERIES && !plan->settings.bidirectional) return mep_attention_decode(plan, call);
    int64_t all = call->batch * plan->settings.heads;
    MEP_TRY(mep_attention_norms(plan, call));
    MEP_TRY(mep_attention_reserve(&plan->sources, all, 1, sizeof(mep_source)));
    mep_source *sources = plan->sources.data;
    for (int64_t n = 0; n < all; n++) sources[n] = source_of(plan, call, n);
    const mep_forward pass = {
        .plan = plan, .call = call, .source = sources, .margin = mep_attention_margin(plan, call->keys)};
    return mep_forward_run(&pass);
}
