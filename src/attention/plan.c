/* SPDX-License-Identifier: MIT */
/*
 * Plans with their workspace, and how rows of the caller's tensors are read and written.
 */
#include "attention/plan.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "base/bf16.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

static mep_status allocate_buffers(const mep_attention_plan *plan, mep_attention_buffers *b)
{
    int64_t tile = TILE_ROWS * plan->units;
    MEP_TRY(MEP_ALLOC(&b->rows, tile));
    MEP_TRY(MEP_ALLOC(&b->kt, FORWARD_BLOCKS * tile));
    MEP_TRY(MEP_ALLOC(&b->v, FORWARD_BLOCKS * tile));
    MEP_TRY(MEP_ALLOC(&b->q, FORWARD_TILES * tile));
    MEP_TRY(MEP_ALLOC(&b->out, FORWARD_TILES * TILE_ROWS * plan->padded));
    MEP_TRY(MEP_ALLOC(&b->state, FORWARD_TILES));
    MEP_TRY(MEP_ALLOC(&b->content.add, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(MEP_ALLOC(&b->content.factor, TILE_ROWS * BLOCK_KEYS));
    return MEP_ALLOC(&b->s, TILE_ROWS * BLOCK_KEYS);
}

/* Memory that an earlier call has allocated before it failed is kept. */
static mep_status allocate_once(float **pointer, int64_t count)
{
    return *pointer != NULL ? MEP_OK : MEP_ALLOC(pointer, count);
}

static mep_status allocate_backward(const mep_attention_plan *plan, mep_attention_buffers *b)
{
    int64_t tile = TILE_ROWS * plan->units, sums = BACKWARD_BLOCKS * BLOCK_KEYS * plan->padded;
    float **chunks[] = {&b->chunk_kt, &b->chunk_k, &b->chunk_vt}, **tiles[] = {&b->dout, &b->q_pairs, &b->dout_pairs};
    for (int i = 0; i < 3; i++) MEP_TRY(allocate_once(chunks[i], BACKWARD_BLOCKS * tile));
    for (int i = 0; i < 3; i++) MEP_TRY(allocate_once(tiles[i], tile));
    MEP_TRY(allocate_once(&b->dk, sums));
    MEP_TRY(allocate_once(&b->dv, sums));
    MEP_TRY(allocate_once(&b->dp, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->ds, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->scores, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->before_factor, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->dq, plan->keys * plan->padded));
    return allocate_once(&b->diagonal, plan->terms.head_size);
}

static mep_status allocate_plan(mep_attention_plan *p)
{
    int64_t size;
    p->kernels = mep_attention_kernels_for(mep_cpu_level_get(), p->settings.dtype);
    p->padded = round_up(p->settings.head_dim, CHANNEL_MULTIPLE);
    p->units = p->padded / p->kernels->pair;
    p->keys = round_up(p->settings.max_length, BLOCK_KEYS);
    p->threads = omp_get_max_threads();
    p->computed_fraction = 1;
    p->kv_heads = p->settings.kv_heads == 0 ? p->settings.heads : p->settings.kv_heads;
    MEP_TRY(mep_multiply(p->keys, p->padded, sizeof(float), &size));
    MEP_TRY(mep_terms_reserve(&p->terms, p->settings.heads, p->keys, p->settings.bidirectional));
    MEP_TRY(MEP_ALLOC(&p->buffers, p->threads));
    for (int t = 0; t < p->threads; t++) MEP_TRY(allocate_buffers(p, &p->buffers[t]));
    return mep_terms_prepare(&p->terms, NULL);
}

mep_status mep_attention_plan_create(mep_attention_plan **plan, const mep_attention_settings *settings)
{
    MEP_TRY(MEP_ALLOC(plan, 1));
    (*plan)->settings = *settings;
    mep_status status = allocate_plan(*plan);
    if (status != MEP_OK) mep_attention_plan_destroy(plan);
    return status;
}

static void free_buffers(mep_attention_buffers *b)
{
    float **all[] = {&b->rows,        &b->kt,
                     &b->v,           &b->q,
                     &b->out,         &b->s,
                     &b->chunk_kt,    &b->chunk_k,
                     &b->chunk_vt,    &b->dk,
                     &b->dv,          &b->dout,
                     &b->q_pairs,     &b->dout_pairs,
                     &b->dp,          &b->ds,
                     &b->dq,          &b->diagonal,
                     &b->scores,      &b->before_factor,
                     &b->content.add, &b->content.factor};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mep_free(all[i]);
    mep_free(&b->state);
    mep_content_gradients *g = &b->gradients;
    mep_shared *shared[] = {&g->row_sums, &g->column_sums, &g->profiles, &g->mixture, &g->bank, &g->ratios, &g->fire};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) mep_free(&shared[i]->data);
}

void mep_attention_plan_destroy(mep_attention_plan **plan)
{
    mep_attention_plan *p = *plan;
    for (int t = 0; p->buffers != NULL && t < p->threads; t++) free_buffers(&p->buffers[t]);
    mep_shared *shared[] = {&p->sources,   &p->block_norm, &p->prefix_norm,     &p->delta,
                            &p->tile_norm, &p->tile_lse,   &p->diagonals,       &p->dq_sums,
                            &p->turns,     &p->gate_low,   &p->gate_lowest,     &p->mixture,
                            &p->bank_sums, &p->ratio_sums, &p->diagonals_ahead, &p->fire_sums};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) mep_free(&shared[i]->data);
    mep_free(&p->buffers);
    mep_terms_free(&p->terms);
    mep_free(plan);
}

mep_status mep_attention_need_backward(mep_attention_plan *plan)
{
    for (; plan->backward_threads < plan->threads; plan->backward_threads++)
        MEP_TRY(allocate_backward(plan, &plan->buffers[plan->backward_threads]));
    return MEP_OK;
}

mep_status mep_attention_reserve(mep_shared *shared, int64_t rows, int64_t columns, size_t size)
{
    int64_t bytes = 0;
    MEP_TRY(mep_multiply(rows, columns, (int64_t)size, &bytes));
    if (bytes <= shared->bytes) return MEP_OK;
    mep_free(&shared->data);
    shared->bytes = 0;
    MEP_TRY(mep_alloc(&shared->data, bytes, 1));
    shared->bytes = bytes;
    return MEP_OK;
}

static int64_t view_offset(const mep_tensor_view *view, int64_t b, int64_t h, int64_t token)
{
    return b * view->batch_stride + h * view->head_stride + token * view->token_stride;
}

void mep_attention_read_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                             int64_t first, int64_t rows, float factor, float *out)
{
    int64_t channels = plan->settings.head_dim;
    for (int64_t r = 0; r < rows; r++, out += plan->padded) {
        int64_t offset = view_offset(view, b, h, first + r);
        if (plan->settings.dtype == MEP_FLOAT32) {
            const float *in = (const float *)view->data + offset;
            for (int64_t c = 0; c < channels; c++) out[c] = in[c] * factor;
        } else {
            const mep_bf16 *in = (const mep_bf16 *)view->data + offset;
            for (int64_t c = 0; c < channels; c++) out[c] = mep_bf16_to_float(in[c]) * factor;
        }
        for (int64_t c = channels; c < plan->padded; c++) out[c] = 0;
    }
}

void mep_attention_write_rows(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                              int64_t first, int64_t rows, float factor, const float *in)
{
    for (int64_t r = 0; r < rows; r++, in += plan->padded) {
        int64_t offset = view_offset(view, b, h, first + r);
        if (plan->settings.dtype == MEP_FLOAT32) {
            float *out = (float *)view->data + offset;
            for (int64_t c = 0; c < plan->settings.head_dim; c++) out[c] = in[c] * factor;
        } else {
            plan->kernels->to_bf16(plan->settings.head_dim, factor, in, (mep_bf16 *)view->data + offset);
        }
    }
}

void mep_attention_pack(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t first, int64_t rows, float *out)
{
    int64_t channels = plan->settings.head_dim;
    size_t row_bytes = (size_t)plan->units * sizeof *out, used = (size_t)channels * sizeof(mep_bf16);
    MEP_ASSERT(rows >= 0 && rows <= TILE_ROWS);
    if (plan->kernels->pair == 1) {
        mep_attention_read_rows(plan, view, b, h, first, rows, 1.0f, out);
    } else {
        for (int64_t r = 0; r < rows; r++) {
            char *row = (char *)(out + r * plan->units);
            memcpy(row, (const mep_bf16 *)view->data + view_offset(view, b, h, first + r), used);
            memset(row + used, 0, row_bytes - used);
        }
    }
    if (rows < TILE_ROWS) memset(out + rows * plan->units, 0, (size_t)(TILE_ROWS - rows) * row_bytes);
}

void mep_attention_pack_interleaved(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                    int64_t first, int64_t rows, float *scratch, float *out)
{
    if (plan->kernels->interleave == NULL) {
        mep_attention_pack(plan, view, b, h, first, rows, out);
        return;
    }
    mep_attention_pack(plan, view, b, h, first, rows, scratch);
    plan->kernels->interleave(plan->units, scratch, out);
}

void mep_attention_pack_transposed(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                   int64_t first, int64_t rows, float *scratch, float *out)
{
    mep_attention_pack(plan, view, b, h, first, rows, scratch);
    plan->kernels->transpose(plan->units, scratch, plan->units * (int64_t)sizeof *scratch, out);
}

char *mep_attention_row(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                        int64_t token)
{
    return (char *)view->data + view_offset(view, b, h, token) * mep_dtype_size(plan->settings.dtype);
}

float mep_attention_margin(const mep_attention_plan *plan, int64_t keys)
{
    return mep_terms_margin(plan->settings.tolerance, (double)keys);
}

/* A gate falls over any distance, so with one there can always be something to skip. */
int mep_attention_may_skip(const mep_attention_plan *plan, const mep_attention_call *call, int64_t h)
{
    const mep_head_terms terms = mep_terms_of_head(&plan->terms, h);
    if (!plan->settings.skip_far) return 0;
    return call->gate != NULL || mep_terms_may_skip(&terms, call->keys, mep_attention_margin(plan, call->keys));
}

void mep_attention_row_norms(const mep_attention_plan *plan, const float *q, int64_t rows, float *norms)
{
    plan->kernels->row_dots(rows, plan->units, q, q, norms);
    for (int64_t r = 0; r < rows; r++) norms[r] = sqrtf(norms[r]) * fabsf((float)plan->settings.scale);
    for (int64_t r = rows; r < TILE_ROWS; r++) norms[r] = 0;
}

/* Largest |k| of a block. */
static float block_norm(const mep_attention_plan *plan, mep_attention_buffers *w, const mep_tensor_view *k, int64_t b,
                        int64_t h, int64_t block, int64_t keys)
{
    int64_t first = block * BLOCK_KEYS, rows = keys - first < BLOCK_KEYS ? keys - first : BLOCK_KEYS;
    float squares[BLOCK_KEYS], highest = 0;
    mep_attention_pack(plan, k, b, h, first, rows, w->rows);
    plan->kernels->row_dots(rows, plan->units, w->rows, w->rows, squares);
    for (int64_t r = 0; r < rows; r++)
        highest = squares[r] > highest || squares[r] != squares[r] ? squares[r] : highest;
    return sqrtf(highest);
}

/* Whether any query head of a head of k may skip. */
static int kv_may_skip(const mep_attention_plan *plan, const mep_attention_call *call, int64_t kv)
{
    int64_t group = plan->settings.heads / plan->kv_heads;
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        if (mep_attention_may_skip(plan, call, h)) return 1;
    return 0;
}

mep_status mep_attention_norms(mep_attention_plan *plan, const mep_attention_call *call)
{
    int64_t heads = plan->kv_heads, all = call->batch * heads, blocks = ceil_div(call->keys, BLOCK_KEYS);
    MEP_TRY(mep_attention_reserve(&plan->block_norm, all, blocks, sizeof(float)));
    MEP_TRY(mep_attention_reserve(&plan->prefix_norm, all, blocks, sizeof(float)));
    float *own = plan->block_norm.data, *prefix = plan->prefix_norm.data;
#pragma omp parallel for collapse(2) num_threads(plan->threads)
    for (int64_t n = 0; n < all; n++)
        for (int64_t block = 0; block < blocks; block++)
            if (kv_may_skip(plan, call, n % heads))
                own[n * blocks + block] = block_norm(plan, &plan->buffers[omp_get_thread_num()], &call->k, n / heads,
                                                     n % heads, block, call->keys);
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t n = 0; n < all; n++)
        for (int64_t block = 0; block < blocks; block++) {
            float before = block > 0 ? prefix[n * blocks + block - 1] : 0, x = own[n * blocks + block];
            prefix[n * blocks + block] = x > before || x != x ? x : before;
        }
    return MEP_OK;
}

/* ---- Content terms ---- */

/* The smallest gate of each block, and up to each block. */
static mep_status prepare_gate(mep_attention_plan *plan, const mep_attention_call *call)
{
    int64_t all = call->batch * plan->settings.heads, blocks = ceil_div(call->keys, BLOCK_KEYS);
    MEP_TRY(mep_attention_reserve(&plan->gate_low, all, blocks, sizeof(double)));
    MEP_TRY(mep_attention_reserve(&plan->gate_lowest, all, blocks, sizeof(double)));
    double *low = plan->gate_low.data, *lowest = plan->gate_lowest.data;
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t n = 0; n < all; n++)
        for (int64_t block = 0; block < blocks; block++) {
            double x = INFINITY;
            for (int64_t key = block * BLOCK_KEYS; key < min_i64(call->keys, (block + 1) * BLOCK_KEYS); key++)
                x = fmin(x, call->gate[n * call->keys + key]);
            low[n * blocks + block] = x;
            lowest[n * blocks + block] = block > 0 ? fmin(x, lowest[n * blocks + block - 1]) : x;
        }
    return MEP_OK;
}

float *mep_attention_float_row(const mep_attention_plan *plan, const mep_tensor_view *view, int64_t n, int64_t i)
{
    int64_t heads = plan->settings.heads;
    return (float *)view->data + view_offset(view, n / heads, n % heads, i);
}

mep_status mep_attention_weigh_mixture(mep_attention_plan *plan, const mep_attention_call *call, int64_t kernels)
{
    int64_t rows = call->batch * plan->settings.heads * call->queries;
    MEP_TRY(mep_attention_reserve(&plan->mixture, rows, kernels, sizeof(float)));
    float *weights = plan->mixture.data;
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t r = 0; r < rows; r++)
        mep_content_softmax(kernels,
                            mep_attention_float_row(plan, &call->mixture, r / call->queries, r % call->queries),
                            weights + r * kernels);
    return MEP_OK;
}

mep_status mep_attention_prepare_content(mep_attention_plan *plan, const mep_attention_call *call)
{
    if (call->gate != NULL) MEP_TRY(prepare_gate(plan, call));
    int64_t kernels = plan->terms.ratios.rank;
    return kernels > 0 ? mep_attention_weigh_mixture(plan, call, kernels) : MEP_OK;
}

mep_content mep_attention_content(const mep_attention_plan *plan, const mep_attention_call *call, int64_t n)
{
    int64_t blocks = ceil_div(call->keys, BLOCK_KEYS), kernels = plan->terms.ratios.rank;
    mep_content c = {.capacity = INT64_MAX,
                     .keys = call->keys,
                     .fire = mep_fire_applies(&plan->terms.fire, call->keys - 1),
                     .approximate = plan->settings.tolerance > 0};
    if (call->gate != NULL) {
        c.gate = call->gate + n * call->keys;
        c.gate_low = (double *)plan->gate_low.data + n * blocks;
        c.gate_lowest = (double *)plan->gate_lowest.data + n * blocks;
    }
    if (plan->terms.bank.rank > 0) {
        c.profiles = mep_attention_float_row(plan, &call->profiles, n, 0);
        c.profile_row = call->profiles.token_stride;
    }
    if (kernels > 0) {
        c.mixture = (float *)plan->mixture.data + n * call->queries * kernels;
        c.mixture_row = kernels;
    }
    return c;
}
