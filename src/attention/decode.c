/* SPDX-License-Identifier: MIT */
/*
 * Attention of single queries: scores, softmax, weighted sum of values, in two passes over the blocks, since the
 * weights of a group of blocks can be summed by any thread once the largest score of all is known.
 */
#include "attention/decode.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "base/bf16.h"
#include "base/error.h"
#include "base/memory.h"

enum {
    GROUP_BLOCKS = 16,    /* blocks that one thread sums at a time: 1024 keys */
    NEAR_BLOCKS = 16,     /* scored first, for a score below which far blocks are skipped */
    SERIAL_WORK = 1 << 20 /* channels of keys below which threads cost more than they bring */
};

/* Blocks are counted by n, from the one with the query's own key (n = 0) back. */
static int64_t newest_block(const mep_decode *d)
{
    return d->position / BLOCK_KEYS;
}

static int64_t row_blocks(const mep_decode *d, const mep_decode_row *row)
{
    return newest_block(d) - row->source.first + 1;
}

/* Groups are cut at absolute positions: group 0 has the newest block and those before it back to a multiple. */
static int64_t group_of(const mep_decode *d, int64_t n)
{
    return newest_block(d) / GROUP_BLOCKS - (newest_block(d) - n) / GROUP_BLOCKS;
}

/* The first n of a group that is there: group 0 begins at 0. */
static int64_t group_first(const mep_decode *d, int64_t group)
{
    return group == 0 ? 0 : newest_block(d) % GROUP_BLOCKS + 1 + (group - 1) * GROUP_BLOCKS;
}

static int64_t group_end(const mep_decode *d, const mep_decode_row *row, int64_t group)
{
    int64_t end = group_first(d, group + 1), blocks = row_blocks(d, row);
    return end < blocks ? end : blocks;
}

/* Keys of block n up to the query's own. */
static int64_t key_count(const mep_decode *d, int64_t n)
{
    return n == 0 ? d->position % BLOCK_KEYS + 1 : BLOCK_KEYS;
}

/* Row 0 of block n in keys or values. */
static const void *block_rows(const mep_decode *d, const mep_decode_row *row, int64_t n, const void *data,
                              int64_t stride)
{
    int64_t place = (newest_block(d) - n) % row->source.ring * BLOCK_KEYS;
    return (const char *)data + place * stride * mep_dtype_size(d->dtype);
}

static float score(const mep_decode *d, int64_t r, int64_t n)
{
    const mep_decode_row *row = &d->row[r];
    int64_t key = (newest_block(d) - n) * BLOCK_KEYS;
    return d->kernels->score_block(key_count(d, n), d->head_dim, d->scale, d->q + r * d->padded,
                                   block_rows(d, row, n, row->source.keys, row->source.key_stride),
                                   row->source.key_stride, d->dtype == MEP_BFLOAT16,
                                   row->source.bias + key - d->position, d->scores + (r * d->blocks + n) * BLOCK_KEYS);
}

/* Whether no key of the block can have a weight: the bound of plan.h. */
static int negligible(const mep_decode *d, const mep_decode_row *row, int64_t n, float q_norm, float floor)
{
    if (row->source.norms == NULL || n == 0) return 0;
    int64_t block = newest_block(d) - n, nearest = d->position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
    return q_norm * row->source.norms[block % row->source.ring] + row->source.far_bias[nearest] < floor - d->margin;
}

static void read_query(const mep_decode *d, const mep_decode_row *row, float *q)
{
    for (int64_t c = 0; c < d->head_dim; c++)
        q[c] = d->dtype == MEP_BFLOAT16 ? mep_bf16_to_float(((const mep_bf16 *)row->q)[c]) : ((const float *)row->q)[c];
}

/* 1. The query, the scores of the nearest blocks, and which of the others may matter (highest = 0 for now). */
static void score_near(mep_decode *d, int64_t r)
{
    const mep_decode_row *row = &d->row[r];
    float *q = d->q + r * d->padded, *highest = d->highest + r * d->blocks, floor = -INFINITY;
    read_query(d, row, q);
    float q_norm = d->scale * sqrtf(d->kernels->dot(d->head_dim, q, q));
    for (int64_t g = 0; g < d->groups; g++) d->group_highest[r * d->groups + g] = -INFINITY;
    for (int64_t n = 0; n < row_blocks(d, row); n++) {
        highest[n] = -INFINITY;
        if (negligible(d, row, n, q_norm, floor)) continue;
        highest[n] = n < NEAR_BLOCKS ? score(d, r, n) : 0;
        if (n < NEAR_BLOCKS) floor = highest[n] > floor ? highest[n] : floor;
        d->group_highest[r * d->groups + group_of(d, n)] = 0;
    }
}

/* 2. The groups that have a block to read. */
static void list_tasks(mep_decode *d)
{
    d->tasks = 0;
    for (int64_t i = 0; i < d->rows * d->groups; i++)
        if (d->group_highest[i] == 0) d->task[d->tasks++] = i;
}

/* 3. Scores of a group's blocks, and the highest of them; in the order of their addresses, here and below. */
static void score_group(mep_decode *d, int64_t task)
{
    int64_t r = task / d->groups, group = task % d->groups, end = group_end(d, &d->row[r], group);
    float *highest = d->highest + r * d->blocks, most = -INFINITY;
    for (int64_t n = end - 1; n >= group_first(d, group); n--) {
        if (n >= NEAR_BLOCKS && highest[n] == 0) highest[n] = score(d, r, n);
        most = highest[n] > most ? highest[n] : most;
    }
    d->group_highest[task] = most;
}

static float row_highest(const mep_decode *d, int64_t r)
{
    float most = -INFINITY;
    for (int64_t i = r * d->groups; i < (r + 1) * d->groups; i++)
        most = d->group_highest[i] > most ? d->group_highest[i] : most;
    return most;
}

/* 4. Weights and weighted values of a group, relative to the row's highest score. */
static void weigh_group(mep_decode *d, int64_t task)
{
    int64_t r = task / d->groups, group = task % d->groups;
    const mep_decode_row *row = &d->row[r];
    float most = row_highest(d, r), *out = d->out + task * d->padded;
    int64_t end = group_end(d, row, group);
    d->sum[task] = 0;
    memset(out, 0, (size_t)d->head_dim * sizeof *out);
    for (int64_t n = end - 1; n >= group_first(d, group); n--) {
        float *weights = d->scores + (r * d->blocks + n) * BLOCK_KEYS;
        if (d->highest[r * d->blocks + n] == -INFINITY) continue;
        float sum = d->kernels->exponentials(BLOCK_KEYS, most, weights);
        if (sum == 0) continue;
        d->sum[task] += sum;
        d->kernels->weigh_block(key_count(d, n), d->head_dim, weights,
                                block_rows(d, row, n, row->source.values, row->source.value_stride),
                                row->source.value_stride, d->dtype == MEP_BFLOAT16, out);
    }
}

/* 5. The groups together, the nearest first. */
static void finish(mep_decode *d, int64_t r)
{
    const mep_decode_row *row = &d->row[r];
    float sum = 0, *out = d->q + r * d->padded; /* the query is no longer needed */
    memset(out, 0, (size_t)d->head_dim * sizeof *out);
    for (int64_t i = r * d->groups; i < (r + 1) * d->groups; i++) {
        if (d->group_highest[i] == -INFINITY || d->sum[i] == 0) continue;
        sum += d->sum[i];
        for (int64_t c = 0; c < d->head_dim; c++) out[c] += d->out[i * d->padded + c];
    }
    for (int64_t c = 0; c < d->head_dim; c++) {
        if (d->dtype == MEP_BFLOAT16)
            ((mep_bf16 *)row->out)[c] = mep_bf16_from_float(out[c] / sum);
        else
            ((float *)row->out)[c] = out[c] / sum;
    }
    if (row->lse != NULL) *row->lse = row_highest(d, r) + logf(sum);
}

/* Workspace for `blocks` blocks a row, at least doubled where it grows. */
static mep_status reserve(mep_decode *d, int64_t blocks)
{
    d->padded = (d->head_dim + CHANNEL_MULTIPLE - 1) / CHANNEL_MULTIPLE * CHANNEL_MULTIPLE;
    if (d->rows <= d->row_space && blocks <= d->block_space) return MEP_OK;
    int64_t rows = d->rows, groups, size;
    if (blocks < 2 * d->block_space) blocks = 2 * d->block_space;
    groups = blocks / GROUP_BLOCKS + 2;
    mep_decode_free(d);
    MEP_TRY(mep_alloc(&d->q, rows * d->padded, sizeof *d->q));
    MEP_TRY(mep_multiply(rows, blocks, BLOCK_KEYS, &size));
    MEP_TRY(mep_alloc(&d->scores, size, sizeof *d->scores));
    MEP_TRY(mep_alloc(&d->highest, rows * blocks, sizeof *d->highest));
    MEP_TRY(mep_alloc(&d->group_highest, rows * groups, sizeof *d->group_highest));
    MEP_TRY(mep_alloc(&d->sum, rows * groups, sizeof *d->sum));
    MEP_TRY(mep_alloc(&d->task, rows * groups, sizeof *d->task));
    MEP_TRY(mep_multiply(rows, groups, d->padded, &size));
    MEP_TRY(mep_alloc(&d->out, size, sizeof *d->out));
    d->row_space = rows;
    d->block_space = blocks;
    return MEP_OK;
}

void mep_decode_free(mep_decode *d)
{
    d->row_space = d->block_space = 0;
    mep_free(&d->q);
    mep_free(&d->scores);
    mep_free(&d->highest);
    mep_free(&d->group_highest);
    mep_free(&d->sum);
    mep_free(&d->task);
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
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < d->tasks; t++) weigh_group(d, d->task[t]);
#pragma omp for
        for (int64_t r = 0; r < d->rows; r++) finish(d, r);
    }
    return MEP_OK;
}

mep_status mep_attention_decode(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse)
{
    const mep_attention_settings *s = &plan->settings;
    mep_decode_row *rows;
    MEP_TRY(mep_alloc(&rows, s->heads, sizeof *rows));
    mep_decode d = {.kernels = plan->kernels, .dtype = s->dtype, .head_dim = s->head_dim, .scale = (float)s->scale};
    d.rows = s->heads, d.row = rows, d.threads = plan->threads;
    mep_status status = MEP_OK;
    for (int64_t n = 0; n < batch * queries && status == MEP_OK; n++) {
        int64_t b = n / queries, i = n % queries;
        for (int64_t h = 0; h < s->heads; h++)
            rows[h] =
                (mep_decode_row){.q = mep_attention_row(plan, &q, b, h, i),
                                 .out = mep_attention_row(plan, &out, b, h, i),
                                 .lse = lse == NULL ? NULL : lse + (b * s->heads + h) * queries + i,
                                 .source = {.keys = mep_attention_row(plan, &k, b, h, 0),
                                            .values = mep_attention_row(plan, &v, b, h, 0),
                                            .key_stride = k.token_stride,
                                            .value_stride = v.token_stride,
                                            .ring = INT64_MAX,
                                            .bias = mep_reversed_origin(plan, plan->reversed + h * plan->table_size)}};
        d.position = keys - queries + i;
        status = mep_decode_rows(&d);
    }
    mep_decode_free(&d);
    mep_free(&rows);
    plan->computed_share = 1;
    return status;
}
