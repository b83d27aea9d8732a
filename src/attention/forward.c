/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, forward: for each tile of queries, blocks of keys from the nearest to the farthest with an online
 * softmax (FlashAttention, arXiv:2205.14135), the bias read from the reversed table, far blocks left out where they
 * cannot matter. Few queries go to decode.c instead.
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
} call;

/* The tile of `rows` queries from `first` of head (b, h), keys and values packed in w. */
static void forward_tile(const call *c, mep_attention_buffers *w, mep_float_rows v, int64_t b, int64_t h, int64_t first,
                         int64_t rows)
{
    const mep_attention *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    const float *reversed = mep_reversed_origin(plan, plan->reversed + h * plan->table_size);
    const float *far = plan->far_bias + h * plan->keys;
    float maximum[TILE_ROWS], sum[TILE_ROWS], rescale[TILE_ROWS], q_norm[TILE_ROWS];
    int64_t position = first + c->keys - c->queries, padded = plan->padded;
    float margin = mep_attention_margin(plan, c->keys);

    mep_attention_read_rows(plan, &c->q, b, h, first, rows, (float)plan->settings.scale, w->q);
    mep_attention_row_norms(plan, w->q, rows, q_norm);
    for (int64_t r = 0; r < TILE_ROWS; r++) maximum[r] = -INFINITY, sum[r] = 0, rescale[r] = 0;
    memset(w->out, 0, (size_t)(rows * padded) * sizeof(float));
    for (int64_t block = position / BLOCK_KEYS; block >= 0; block--) {
        int64_t key = block * BLOCK_KEYS, nearest = position - (key + BLOCK_KEYS - 1);
        int64_t count = c->keys - key < BLOCK_KEYS ? c->keys - key : BLOCK_KEYS;
        w->blocks_seen++;
        if (plan->settings.skip_far && nearest > 0 &&
            mep_attention_negligible(q_norm, maximum, rows, w->key_norm[block], far[nearest], margin))
            continue;
        w->blocks_computed++;
        /* S = Q K^T; S = softmax numerators; out = out rescaled + S V */
        kernels->product(rows, BLOCK_KEYS, padded, w->q, padded, 1, w->kt + block * padded * BLOCK_KEYS, BLOCK_KEYS,
                         w->s, BLOCK_KEYS, 0);
        kernels->softmax(rows, w->s, reversed + key - position, maximum, sum, rescale);
        kernels->scale_rows(rows, padded, w->out, padded, rescale);
        kernels->product(rows, padded, count, w->s, BLOCK_KEYS, 1, v.data + key * v.stride, v.stride, w->out, padded,
                         1);
    }
    for (int64_t r = 0; r < rows; r++) rescale[r] = 1 / sum[r];
    kernels->scale_rows(rows, padded, w->out, padded, rescale);
    mep_attention_write_rows(plan, &c->out, b, h, first, rows, 1.0f, w->out);
    for (int64_t r = 0; c->lse != NULL && r < rows; r++)
        c->lse[(b * plan->settings.heads + h) * c->queries + first + r] = maximum[r] + logf(sum[r]);
}

static void forward_head(const call *c, mep_attention_buffers *w, int64_t b, int64_t h)
{
    mep_float_rows k = mep_attention_rows(c->plan, &c->k, b, h, c->keys, w->k_copy);
    mep_float_rows v = mep_attention_rows(c->plan, &c->v, b, h, c->keys, w->v_copy);
    mep_attention_transpose(c->plan, k, c->keys, w->kt);
    mep_attention_key_norms(c->plan, k, c->keys, w->key_norm);
    for (int64_t first = 0, rows; first < c->queries; first += rows) {
        rows = mep_tile_rows(first + c->keys - c->queries, c->queries - first);
        forward_tile(c, w, v, b, h, first, rows);
    }
}

mep_status mep_attention_forward(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                 mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse)
{
    MEP_TRY(mep_attention_check(plan, batch, queries, keys));
    if (queries <= DECODE_QUERIES) return mep_attention_decode(plan, batch, queries, keys, q, k, v, out, lse);
    call c = {plan, queries, keys, q, k, v, out, lse};
    int64_t heads = plan->settings.heads, seen = 0, computed = 0;
    for (int t = 0; t < plan->threads; t++) plan->buffers[t].blocks_seen = plan->buffers[t].blocks_computed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(plan->threads)
    for (int64_t task = 0; task < batch * heads; task++)
        forward_head(&c, &plan->buffers[omp_get_thread_num()], task / heads, task % heads);
    for (int t = 0; t < plan->threads; t++) {
        seen += plan->buffers[t].blocks_seen;
        computed += plan->buffers[t].blocks_computed;
    }
    plan->computed_share = (double)computed / (double)seen;
    return MEP_OK;
}
