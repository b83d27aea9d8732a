/* SPDX-License-Identifier: MIT */
/*
 * Attention of single queries: scores, softmax, weighted sum of values. There are two passes over the blocks, because
 * any thread can compute and sum a block's weights once the largest score of the nearer blocks is known.
 */
#include "attention/decode.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "base/error.h"
#include "base/memory.h"

enum {
    GROUP_BLOCKS = 16,    /* blocks that a thread takes at a time: 1024 keys */
    NEAR_BLOCKS = 16,     /* scored first; blocks far below their largest score are skipped */
    SERIAL_WORK = 1 << 20 /* keys x channels below which threads cost more than they gain */
};

/* Blocks are counted by n from the block with the query's own key, n = 0, towards older keys. */
static int64_t newest_block(const mep_decode *d)
{
    return d->position / BLOCK_KEYS;
}

static int64_t row_blocks(const mep_decode *d, const mep_decode_row *row)
{
    return newest_block(d) - row->source.first + 1;
}

/* Groups are aligned to multiples of GROUP_BLOCKS positions; group 0 has the newest block. */
static int64_t group_of(const mep_decode *d, int64_t n)
{
    return newest_block(d) / GROUP_BLOCKS - (newest_block(d) - n) / GROUP_BLOCKS;
}

/* The smallest n of a group. */
static int64_t group_first(const mep_decode *d, int64_t group)
{
    return group == 0 ? 0 : newest_block(d) % GROUP_BLOCKS + 1 + (group - 1) * GROUP_BLOCKS;
}

static int64_t group_end(const mep_decode *d, const mep_decode_row *row, int64_t group)
{
    int64_t end = group_first(d, group + 1), blocks = row_blocks(d, row);
    return end < blocks ? end : blocks;
}

/* Number of keys of block n up to the query's own. */
static int64_t key_count(const mep_decode *d, int64_t n)
{
    return n == 0 ? d->position % BLOCK_KEYS + 1 : BLOCK_KEYS;
}

/* The address of row 0 of block n in keys or values. */
static const void *block_rows(const mep_decode *d, const mep_decode_row *row, int64_t n, const void *data,
                              int64_t stride)
{
    int64_t first = (newest_block(d) - n) % row->source.capacity * BLOCK_KEYS;
    return (const char *)data + first * stride * mep_dtype_size(d->dtype);
}

/* Copy row i of q or keys into units, with zeros after the last channel. */
static void copy_row(const mep_decode *d, const void *rows, int64_t stride, int64_t i, float *to)
{
    const void *from = (const char *)rows + i * stride * mep_dtype_size(d->dtype);
    memset(to, 0, (size_t)d->units * sizeof *to);
    if (d->kernels->pair == 1 && d->dtype == MEP_BFLOAT16)
        d->kernels->from_bf16(d->head_dim, from, to);
    else
        memcpy(to, from, (size_t)(d->head_dim * mep_dtype_size(d->dtype)));
}

/* Transpose block n of keys into `out`. Rows are copied first where some are missing or where they are not units
 * already. */
static void transpose_keys(const mep_decode *d, const mep_decode_row *row, int64_t n, float *copy, float *out)
{
    int64_t stride = row->source.key_stride, size = mep_dtype_size(d->dtype), count = key_count(d, n);
    const void *keys = block_rows(d, row, n, row->source.keys, stride);
    if (count == BLOCK_KEYS && d->units * (int64_t)sizeof *out == d->head_dim * size) {
        d->kernels->transpose(d->units, keys, stride * size, out);
        return;
    }
    for (int64_t key = 0; key < count; key++) copy_row(d, keys, stride, key, copy + key * d->units);
    memset(copy + count * d->units, 0, (size_t)((BLOCK_KEYS - count) * d->units) * sizeof *copy);
    d->kernels->transpose(d->units, copy, d->units * (int64_t)sizeof *copy, out);
}

/* The bias of key 0 of block n; those of later keys follow. */
static const float *block_bias(const mep_decode *d, const mep_decode_row *row, int64_t n)
{
    return row->source.terms.bias + (newest_block(d) - n) * BLOCK_KEYS - d->position;
}

/* q.k of the keys of block n; the largest score that the bias alone gives. */
static float multiply(const mep_decode *d, int64_t r, int64_t n)
{
    const mep_decode_row *row = &d->row[r];
    float *scores = d->scores + (r * d->blocks + n) * BLOCK_KEYS, *q = d->q + r * d->units;
    if (row->source.transposed) {
        const void *keys = block_rows(d, row, n, row->source.keys, d->padded);
        int is_bf16 = d->kernels->pair == 1 && d->dtype == MEP_BFLOAT16;
        return d->kernels->score_block(d->units, q, keys, is_bf16, d->scale, block_bias(d, row, n), scores);
    }
    float *copy = d->copies + omp_get_thread_num() * 2 * BLOCK_KEYS * d->units, *keys = copy + BLOCK_KEYS * d->units;
    transpose_keys(d, row, n, copy, keys);
    return d->kernels->score_block(d->units, q, keys, 0, d->scale, block_bias(d, row, n), scores);
}

/* One row's memory for the content terms of a block. */
typedef struct row_buffers {
    mep_content_buffers buffers;
    float add[BLOCK_KEYS], factor[BLOCK_KEYS];
} row_buffers;

static mep_tile row_tile(const mep_decode *d, const mep_decode_row *row)
{
    return (mep_tile){.position = d->position, .first = row->query, .rows = 1};
}

static mep_score_rows content_of(const mep_decode *d, int64_t r, int64_t n, row_buffers *b)
{
    const mep_source *source = &d->row[r].source;
    const mep_tile tile = row_tile(d, &d->row[r]);
    b->buffers.add = b->add;
    b->buffers.factor = b->factor;
    return mep_content_block(d->kernels, &source->content, &source->terms, &d->content[r], &tile, newest_block(d) - n,
                             &b->buffers);
}

/* Scores of block n; its largest. */
static float score(const mep_decode *d, int64_t r, int64_t n)
{
    row_buffers b;
    float highest = multiply(d, r, n);
    int64_t key = (newest_block(d) - n) * BLOCK_KEYS;
    int masked = d->row[r].segment.first > key;
    if (masked) mep_segment_mask_row(d->row[r].segment, key, d->scale, d->scores + (r * d->blocks + n) * BLOCK_KEYS);
    if (!masked && !mep_content_is_present(&d->row[r].source.content)) return highest;
    const mep_score_rows x = content_of(d, r, n, &b);
    return d->kernels->highest_score(d->scores + (r * d->blocks + n) * BLOCK_KEYS, d->scale, &x);
}

/* Whether no key of the block can have a weight: the test of terms.h. */
static int negligible(const mep_decode *d, int64_t r, int64_t n, float q_norm, float floor)
{
    const mep_source *source = &d->row[r].source;
    int64_t block = newest_block(d) - n, nearest = d->position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
    if (n == 0) return 0;
    int content = mep_content_is_present(&source->content);
    float bound = content ? d->content[r].far_bias[nearest] : mep_terms_bound(&source->terms, nearest);
    if (bound == -INFINITY) return 1; /* beyond the window */
    if (source->norms == NULL) return 0;
    if (content)
        bound += mep_content_row_bound(&d->content[r], &source->terms, 0, nearest) +
                 mep_content_block_bound(&source->content, &d->content[r], block, 0);
    return mep_can_skip(q_norm, source->norms[block % source->capacity], floor, mep_skip_limit(bound, d->margin));
}

/* 1. Score the nearest blocks, and mark with highest = 0 which of the others may matter. */
static void score_near(const mep_decode *d, int64_t r)
{
    const mep_decode_row *row = &d->row[r];
    float *q = d->q + r * d->units, *highest = d->highest + r * d->blocks, floor = -INFINITY, square;
    const mep_tile tile = row_tile(d, row);
    copy_row(d, row->q, 0, 0, q);
    if (mep_content_is_present(&row->source.content) || row->segment.first > 0) /* score takes operands from it */
        mep_content_begin(&row->source.content, &row->source.terms, &tile, &d->content[r]);
    d->kernels->row_dots(1, d->units, q, q, &square);
    float q_norm = d->scale * sqrtf(square);
    for (int64_t n = 0; n < row_blocks(d, row); n++) {
        highest[n] = -INFINITY;
        if (negligible(d, r, n, q_norm, floor)) continue;
        highest[n] = n < NEAR_BLOCKS ? score(d, r, n) : 0;
        if (n < NEAR_BLOCKS) floor = highest[n] > floor ? highest[n] : floor;
    }
}

/* Whether a group has a block to read. */
static int has_blocks(const mep_decode *d, int64_t r, int64_t group)
{
    for (int64_t n = group_first(d, group); n < group_end(d, &d->row[r], group); n++)
        if (d->highest[r * d->blocks + n] != -INFINITY) return 1;
    return 0;
}

/* 2. List the groups that have blocks to read. */
static void list_tasks(mep_decode *d)
{
    d->tasks = 0;
    for (int64_t i = 0; i < d->rows * d->groups; i++)
        if (has_blocks(d, i / d->groups, i % d->groups)) d->task[d->tasks++] = i;
}

/* 3. Score a group's blocks in the order of their addresses. */
static void score_group(const mep_decode *d, int64_t task)
{
    int64_t r = task / d->groups, group = task % d->groups;
    float *highest = d->highest + r * d->blocks;
    for (int64_t n = group_end(d, &d->row[r], group) - 1; n >= group_first(d, group); n--)
        if (n >= NEAR_BLOCKS && highest[n] == 0) highest[n] = score(d, r, n);
}

/* 4. Find the largest score before each block. A NaN does not count: it makes the weights of its own block NaN. */
static void find_maxima(const mep_decode *d, int64_t r)
{
    float most = -INFINITY;
    for (int64_t n = 0; n < row_blocks(d, &d->row[r]); n++) {
        d->before[r * d->blocks + n] = most;
        if (d->highest[r * d->blocks + n] > most) most = d->highest[r * d->blocks + n];
    }
}

/* 5. Compute a group's weights and weighted values, relative to the largest score so far. */
static void weigh_group(const mep_decode *d, int64_t task)
{
    int64_t r = task / d->groups, group = task % d->groups;
    const mep_decode_row *row = &d->row[r];
    for (int64_t n = group_end(d, row, group) - 1; n >= group_first(d, group); n--) {
        int64_t i = r * d->blocks + n;
        float *weights = d->scores + i * BLOCK_KEYS, maximum = d->before[i], rescale[BLOCK_KEYS] = {0};
        if (d->highest[i] == -INFINITY) continue;
        d->sum[i] = 0;
        if (mep_content_is_present(&row->source.content)) {
            row_buffers b;
            const mep_score_rows x = content_of(d, r, n, &b);
            d->kernels->softmax_terms(1, weights, d->scale, &x, &maximum, &d->sum[i], rescale);
        } else {
            d->kernels->softmax(1, weights, d->scale, block_bias(d, row, n), &maximum, &d->sum[i], rescale);
        }
        d->rescale[i] = rescale[0];
        if (d->sum[i] == 0) continue;
        d->kernels->weigh_block(key_count(d, n), d->head_dim, weights,
                                block_rows(d, row, n, row->source.values, row->source.value_stride),
                                row->source.value_stride, d->dtype == MEP_BFLOAT16, d->out + i * d->padded);
    }
}

/* 6. Combine the blocks, the nearest first. */
static void finish(const mep_decode *d, int64_t r)
{
    const mep_decode_row *row = &d->row[r];
    float sum = 0, most = -INFINITY, *out = d->out + r * d->blocks * d->padded; /* of the nearest block */
    for (int64_t n = 0; n < row_blocks(d, row); n++) {
        int64_t i = r * d->blocks + n;
        if (d->highest[i] == -INFINITY) continue;
        if (d->highest[i] > most) most = d->highest[i];
        if (n == 0) {
            sum = d->sum[i];
            for (int64_t c = 0; c < d->padded; c++) out[c] += 0.0f; /* as a tile adds it to 0, which makes -0 a +0 */
        } else if (d->sum[i] != 0) {
            d->kernels->add_block(d->padded, d->rescale[i], d->sum[i], d->out + i * d->padded, &sum, out);
        }
    }
    float factor, lse = mep_terms_finish(row->source.terms.sink, most, sum, &factor);
    d->kernels->scale_rows(1, d->padded, out, d->padded, &factor);
    if (d->dtype == MEP_BFLOAT16)
        d->kernels->to_bf16(d->head_dim, 1.0f, out, row->out);
    else
        memcpy(row->out, out, (size_t)d->head_dim * sizeof *out);
    if (row->lse != NULL) *row->lse = lse;
}

/* Make room for `blocks` blocks per row, at least twice as many as before where it grows. */
static mep_status reserve(mep_decode *d, int64_t blocks)
{
    d->padded = (d->head_dim + CHANNEL_MULTIPLE - 1) / CHANNEL_MULTIPLE * CHANNEL_MULTIPLE;
    d->units = d->padded / d->kernels->pair;
    if (d->rows <= d->row_space && blocks <= d->block_space) return MEP_OK;
    int64_t rows = d->rows, all, size;
    if (blocks < 2 * d->block_space) blocks = 2 * d->block_space;
    mep_decode_free(d);
    MEP_TRY(mep_multiply(rows, blocks, 1, &all));
    MEP_TRY(MEP_ALLOC(&d->q, rows * d->units));
    MEP_TRY(MEP_ALLOC(&d->copies, d->threads * 2 * BLOCK_KEYS * d->units));
    MEP_TRY(mep_multiply(all, BLOCK_KEYS, 1, &size));
    MEP_TRY(MEP_ALLOC(&d->scores, size));
    MEP_TRY(MEP_ALLOC(&d->highest, all));
    MEP_TRY(MEP_ALLOC(&d->before, all));
    MEP_TRY(MEP_ALLOC(&d->sum, all));
    MEP_TRY(MEP_ALLOC(&d->rescale, all));
    MEP_TRY(MEP_ALLOC(&d->task, rows * (blocks / GROUP_BLOCKS + 2)));
    MEP_TRY(mep_multiply(all, d->padded, 1, &size));
    MEP_TRY(MEP_ALLOC(&d->out, size));
    MEP_TRY(MEP_ALLOC(&d->content, rows));
    d->row_space = rows;
    d->block_space = blocks;
    return MEP_OK;
}

void mep_decode_free(mep_decode *d)
{
    d->row_space = d->block_space = 0;
    mep_free(&d->q);
    mep_free(&d->copies);
    mep_free(&d->scores);
    mep_free(&d->highest);
    mep_free(&d->before);
    mep_free(&d->sum);
    mep_free(&d->rescale);
    mep_free(&d->task);
    mep_free(&d->content);
    mep_free(&d->out);
}

static int worth_threads(const mep_decode *d, int64_t blocks)
{
    return blocks * BLOCK_KEYS * d->head_dim < SERIAL_WORK ? 1 : d->threads;
}

mep_status mep_decode_rows(mep_decode *d)
{
    d->blocks = 0;
    for (int64_t r = 0; r < d->rows; r++)
        if (row_blocks(d, &d->row[r]) > d->blocks) d->blocks = row_blocks(d, &d->row[r]);
    MEP_ASSERT(d->blocks >= 1);
    MEP_TRY(reserve(d, d->blocks));
    d->groups = group_of(d, d->blocks - 1) + 1;
    int64_t near_blocks = d->blocks < NEAR_BLOCKS ? d->blocks : NEAR_BLOCKS;
    int threads = worth_threads(d, d->rows * near_blocks);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t r = 0; r < d->rows; r++) score_near(d, r);
    list_tasks(d);
    threads = worth_threads(d, d->tasks * GROUP_BLOCKS);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < d->tasks; t++) score_group(d, d->task[t]);
#pragma omp for
        for (int64_t r = 0; r < d->rows; r++) find_maxima(d, r);
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < d->tasks; t++) weigh_group(d, d->task[t]);
#pragma omp for
        for (int64_t r = 0; r < d->rows; r++) finish(d, r);
    }
    return MEP_OK;
}

/* Row (batch b, head h, query i) of a call. */
static mep_decode_row row_of(const mep_attention_plan *plan, const mep_attention_call *call, int64_t b, int64_t h,
                             int64_t i)
{
    int64_t kv = mep_kv_head(plan, h), n = b * plan->settings.heads + h;
    const mep_segment segment = mep_segment_of(call, 0, b, i);
    return (mep_decode_row){.q = mep_attention_row(plan, &call->q, b, h, i),
                            .out = mep_attention_row(plan, &call->out, b, h, i),
                            .lse = call->lse == NULL ? NULL
                                                     : call->lse + (b * plan->settings.heads + h) * call->queries + i,
                            .query = i,
                            .segment = segment,
                            .source = {.first = segment.first / BLOCK_KEYS,
                                       .keys = mep_attention_row(plan, &call->k, b, kv, 0),
                                       .values = mep_attention_row(plan, &call->v, b, kv, 0),
                                       .key_stride = call->k.token_stride,
                                       .value_stride = call->v.token_stride,
                                       .capacity = INT64_MAX,
                                       .terms = mep_terms_of_head(&plan->terms, h),
                                       .content = mep_attention_content(plan, call, n)}};
}

mep_status mep_attention_decode(mep_attention_plan *plan, const mep_attention_call *call)
{
    const mep_attention_settings *s = &plan->settings;
    mep_decode_row *rows;
    MEP_TRY(MEP_ALLOC(&rows, s->heads));
    mep_decode d = {.kernels = plan->kernels,
                    .dtype = s->dtype,
                    .head_dim = s->head_dim,
                    .scale = (float)s->scale,
                    .threads = plan->threads,
                    .rows = s->heads,
                    .row = rows};
    mep_status status = MEP_OK;
    for (int64_t n = 0; n < call->batch * call->queries && status == MEP_OK; n++) {
        int64_t i = n % call->queries;
        for (int64_t h = 0; h < s->heads; h++) rows[h] = row_of(plan, call, n / call->queries, h, i);
        d.position = call->keys - call->queries + i;
        status = mep_decode_rows(&d);
    }
    mep_decode_free(&d);
    mep_free(&rows);
    plan->computed_fraction = 1;
    return status;
}
