/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, backward. Weights are computed again tile by tile from the saved log-sum-exp; with P the weights,
 *
 *     dP = dout V^T,  dS = P (dP - delta),  delta_i = dout_i . out_i
 *     dV = P^T dout,  dQ = scale dS K,      dK = scale dS^T Q,   dbias(d) = sum of dS over its diagonal
 *
 * One thread does a whole head, so sums are made in one order whatever the number of threads.
 */
#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/plan.h"
#include "base/error.h"
#include "base/memory.h"

typedef struct call {
    mep_attention *plan;
    int64_t queries, keys;
    mep_tensor_view q, k, v, out, dout, dq, dk, dv;
    const float *lse;
} call;

/* Packed forms of one head's keys and values. */
typedef struct head {
    int64_t b, h;
    mep_float_rows k;
    float *diagonal; /* origin of the reversed gradient table */
} head;

/* One block of keys against the tile in w (q, dout, dq); floor is the log-sum-exp a row. */
static void backward_block(const call *c, mep_attention_buffers *w, const head *hd, int64_t position, int64_t rows,
                           int64_t block, const float *lse, const float *delta)
{
    const mep_attention *plan = c->plan;
    const mep_attention_kernels *kernels = plan->kernels;
    const float *reversed = mep_reversed_origin(plan, plan->reversed + hd->h * plan->table_size);
    int64_t padded = plan->padded, key = block * BLOCK_KEYS, packed = block * padded * BLOCK_KEYS;
    int64_t count = c->keys - key < BLOCK_KEYS ? c->keys - key : BLOCK_KEYS;
    float *dk = w->dk + key * padded, *dv = w->dv + key * padded;
    kernels->product(rows, BLOCK_KEYS, padded, w->q, padded, 1, w->kt + packed, BLOCK_KEYS, w->s, BLOCK_KEYS, 0);
    kernels->product(rows, BLOCK_KEYS, padded, w->dout, padded, 1, w->vt + packed, BLOCK_KEYS, w->dp, BLOCK_KEYS, 0);
    kernels->gradient(rows, w->s, w->dp, reversed + key - position, lse, delta, hd->diagonal + key - position);
    kernels->product(count, padded, rows, w->s, 1, BLOCK_KEYS, w->dout, padded, dv, padded, 1);
    kernels->product(count, padded, rows, w->dp, 1, BLOCK_KEYS, w->q, padded, dk, padded, 1);
    kernels->product(rows, padded, count, w->dp, BLOCK_KEYS, 1, hd->k.data + key * hd->k.stride, hd->k.stride, w->dq,
                     padded, 1);
}

static void backward_tile(const call *c, mep_attention_buffers *w, const head *hd, int64_t first, int64_t rows)
{
    const mep_attention *plan = c->plan;
    const float *far = plan->far_bias + hd->h * plan->keys;
    const float *lse = c->lse + (hd->b * plan->settings.heads + hd->h) * c->queries + first;
    float delta[TILE_ROWS], q_norm[TILE_ROWS];
    int64_t position = first + c->keys - c->queries, padded = plan->padded;
    float scale = (float)plan->settings.scale, margin = mep_attention_margin(plan, c->keys);

    mep_attention_read_rows(plan, &c->q, hd->b, hd->h, first, rows, scale, w->q);
    mep_attention_read_rows(plan, &c->dout, hd->b, hd->h, first, rows, 1.0f, w->dout);
    mep_attention_read_rows(plan, &c->out, hd->b, hd->h, first, rows, 1.0f, w->out);
    for (int64_t r = 0; r < rows; r++) delta[r] = plan->kernels->dot(padded, w->dout + r * padded, w->out + r * padded);
    mep_attention_row_norms(plan, w->q, rows, q_norm);
    memset(w->dq, 0, (size_t)(rows * padded) * sizeof(float));
    for (int64_t block = position / BLOCK_KEYS; block >= 0; block--) {
        int64_t nearest = position - (block * BLOCK_KEYS + BLOCK_KEYS - 1);
        if (plan->settings.skip_far && nearest > 0 &&
            mep_attention_negligible(q_norm, lse, rows, w->key_norm[block], far[nearest], margin))
            continue;
        backward_block(c, w, hd, position, rows, block, lse, delta);
    }
    mep_attention_write_rows(plan, &c->dq, hd->b, hd->h, first, rows, scale, w->dq);
}

/* diagonal: [table_size], the gradient of this head's reversed table. */
static void backward_head(const call *c, mep_attention_buffers *w, int64_t task, float *diagonal)
{
    mep_attention *plan = c->plan;
    head hd = {.b = task / plan->settings.heads, .h = task % plan->settings.heads};
    size_t head_bytes = (size_t)(plan->padded * c->keys) * sizeof(float);
    hd.diagonal = mep_reversed_origin(plan, diagonal);
    hd.k = mep_attention_rows(plan, &c->k, hd.b, hd.h, c->keys, w->k_copy);
    mep_float_rows v = mep_attention_rows(plan, &c->v, hd.b, hd.h, c->keys, w->v_copy);
    mep_attention_transpose(plan, hd.k, c->keys, w->kt);
    mep_attention_transpose(plan, v, c->keys, w->vt);
    mep_attention_key_norms(plan, hd.k, c->keys, w->key_norm);
    memset(diagonal, 0, (size_t)plan->table_size * sizeof(float));
    memset(w->dk, 0, head_bytes);
    memset(w->dv, 0, head_bytes);
    for (int64_t first = 0, rows; first < c->queries; first += rows) {
        rows = mep_tile_rows(first + c->keys - c->queries, c->queries - first);
        backward_tile(c, w, &hd, first, rows);
    }
    mep_attention_write_rows(plan, &c->dk, hd.b, hd.h, 0, c->keys, 1.0f, w->dk); /* the scale is in the packed q */
    mep_attention_write_rows(plan, &c->dv, hd.b, hd.h, 0, c->keys, 1.0f, w->dv);
}

/* dbias[h, d] += sum over the batch of the diagonals. */
static void add_diagonals(const mep_attention *plan, int64_t batch, int64_t keys, double *dbias)
{
    int64_t heads = plan->settings.heads;
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t b = 0; b < batch; b++) {
            const float *diagonal = mep_reversed_origin(plan, plan->diagonals + (b * heads + h) * plan->table_size);
            for (int64_t d = 0; d < keys; d++) dbias[h * keys + d] += (double)diagonal[-d];
        }
}

mep_status mep_attention_backward(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                  mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, const float *lse,
                                  mep_tensor_view dout, mep_tensor_view dq, mep_tensor_view dk, mep_tensor_view dv,
                                  double *dbias)
{
    MEP_TRY(mep_attention_check(plan, batch, queries, keys));
    int64_t tasks = 0;
    MEP_TRY(mep_multiply(batch, plan->settings.heads, 1, &tasks));
    /* without dbias each thread has a diagonal to throw away */
    MEP_TRY(mep_attention_need_backward(plan, dbias != NULL ? tasks : plan->threads));
    call c = {plan, queries, keys, q, k, v, out, dout, dq, dk, dv, lse};
#pragma omp parallel for schedule(dynamic) num_threads(plan->threads)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t thread = omp_get_thread_num();
        backward_head(&c, &plan->buffers[thread], task,
                      plan->diagonals + (dbias != NULL ? task : thread) * plan->table_size);
    }
    if (dbias != NULL) add_diagonals(plan, batch, keys, dbias);
    return MEP_OK;
}
