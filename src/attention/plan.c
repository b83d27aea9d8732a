/* SPDX-License-Identifier: MIT */
/*
 * Plans: settings, workspace, the reversed bias table, and how rows of the caller's tensors are read and written.
 */
#include "attention/plan.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "base/bf16.h"
#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"

#if MEP_HAVE_CUDA
extern const mep_attention_device mep_cuda_attention; /* cuda/attention.c */
const mep_attention_device *mep_attention_cuda = &mep_cuda_attention;
#else
const mep_attention_device *mep_attention_cuda = NULL;
#endif

void mep_attention_defaults(mep_attention_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_attention_settings){.heads = 1, .head_dim = 64, .max_length = 1024, .skip_far = 1};
}

static int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static mep_status allocate_buffers(const mep_attention *plan, mep_attention_buffers *b)
{
    int64_t tile = TILE_ROWS * plan->units;
    MEP_TRY(MEP_ALLOC(&b->rows, tile));
    MEP_TRY(MEP_ALLOC(&b->kt, FORWARD_BLOCKS * tile));
    MEP_TRY(MEP_ALLOC(&b->v, FORWARD_BLOCKS * tile));
    MEP_TRY(MEP_ALLOC(&b->q, FORWARD_TILES * tile));
    MEP_TRY(MEP_ALLOC(&b->out, FORWARD_TILES * TILE_ROWS * plan->padded));
    MEP_TRY(MEP_ALLOC(&b->state, FORWARD_TILES));
    return MEP_ALLOC(&b->s, TILE_ROWS * BLOCK_KEYS);
}

/* What a call that failed has left is kept, so that it can be made again. */
static mep_status allocate_once(float **pointer, int64_t count)
{
    return *pointer != NULL ? MEP_OK : MEP_ALLOC(pointer, count);
}

static mep_status allocate_backward(const mep_attention *plan, mep_attention_buffers *b)
{
    int64_t tile = TILE_ROWS * plan->units, sums = BACKWARD_BLOCKS * BLOCK_KEYS * plan->padded;
    float **chunks[] = {&b->chunk_kt, &b->chunk_k, &b->chunk_vt}, **tiles[] = {&b->dout, &b->q_pairs, &b->dout_pairs};
    for (int i = 0; i < 3; i++) MEP_TRY(allocate_once(chunks[i], BACKWARD_BLOCKS * tile));
    for (int i = 0; i < 3; i++) MEP_TRY(allocate_once(tiles[i], tile));
    MEP_TRY(allocate_once(&b->dk, sums));
    MEP_TRY(allocate_once(&b->dv, sums));
    MEP_TRY(allocate_once(&b->dp, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->ds, TILE_ROWS * BLOCK_KEYS));
    MEP_TRY(allocate_once(&b->dq, plan->keys * plan->padded));
    return allocate_once(&b->diagonal, plan->table_size);
}

static mep_status allocate_plan(mep_attention *plan)
{
    const mep_attention_settings *s = &plan->settings;
    int64_t size;
    MEP_TRY(mep_multiply(s->heads, plan->table_size, 1, &size));
    MEP_TRY(mep_multiply(plan->keys, plan->padded, sizeof(float), &size));
    MEP_TRY(MEP_ALLOC(&plan->reversed, s->heads * plan->table_size));
    MEP_TRY(MEP_ALLOC(&plan->far_bias, s->heads * plan->keys));
    MEP_TRY(MEP_ALLOC(&plan->buffers, plan->threads));
    for (int t = 0; t < plan->threads; t++) MEP_TRY(allocate_buffers(plan, &plan->buffers[t]));
    return mep_attention_set_bias(plan, NULL, 0);
}

static mep_status make_plan(mep_attention *p)
{
    p->kernels = mep_attention_kernels_for(mep_cpu_level_get(), p->settings.dtype);
    p->padded = round_up(p->settings.head_dim, CHANNEL_MULTIPLE);
    p->units = p->padded / p->kernels->pair;
    p->keys = round_up(p->settings.max_length, BLOCK_KEYS);
    p->table_size = TILE_ROWS + p->keys + TILE_ROWS + BLOCK_KEYS;
    p->threads = omp_get_max_threads();
    p->computed_share = 1;
    return allocate_plan(p);
}

static mep_status make_plan_there(mep_attention *p)
{
    MEP_TRY(mep_device_check(p->settings.device));
    MEP_TRY(mep_attention_cuda->create(&p->there, &p->settings));
    return mep_attention_set_bias(p, NULL, 0);
}

mep_status mep_attention_create(mep_attention **plan, const mep_attention_settings *settings)
{
    MEP_REQUIRE(plan, settings);
    const int64_t most = (int64_t)1 << 40;
    *plan = NULL;
    if (settings->heads < 1 || settings->head_dim < 1 || settings->max_length < 1 || settings->heads > most ||
        settings->head_dim > most || settings->max_length > most)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention needs heads, head_dim and max_length of 1 or more, found %lld, %lld, %lld",
                        (long long)settings->heads, (long long)settings->head_dim, (long long)settings->max_length);
    if (settings->dtype != MEP_FLOAT32 && settings->dtype != MEP_BFLOAT16)
        return mep_fail(MEP_ERROR_ARGUMENT, "attention takes float32 or bfloat16 tensors, found %s",
                        mep_dtype_name(settings->dtype));
    if (!(settings->tolerance >= 0 && settings->tolerance < 1) || !isfinite(settings->scale))
        return mep_fail(MEP_ERROR_ARGUMENT, "attention needs a tolerance in [0, 1) and a finite scale");
    mep_attention *p;
    MEP_TRY(MEP_ALLOC(&p, 1));
    p->settings = *settings;
    if (settings->scale == 0) p->settings.scale = 1 / sqrt((double)settings->head_dim);
    mep_status status = settings->device == MEP_DEVICE_CPU ? make_plan(p) : make_plan_there(p);
    if (status != MEP_OK) mep_attention_destroy(&p);
    *plan = p;
    return status;
}

void mep_attention_destroy(mep_attention **plan)
{
    if (plan == NULL || *plan == NULL) return;
    if ((*plan)->there != NULL) mep_attention_cuda->destroy(&(*plan)->there);
    for (int t = 0; (*plan)->buffers != NULL && t < (*plan)->threads; t++) {
        mep_attention_buffers *b = &(*plan)->buffers[t];
        float **all[] = {&b->rows,     &b->kt,         &b->v,        &b->q,  &b->out, &b->s,
                         &b->chunk_kt, &b->chunk_k,    &b->chunk_vt, &b->dk, &b->dv,  &b->dout,
                         &b->q_pairs,  &b->dout_pairs, &b->dp,       &b->ds, &b->dq,  &b->diagonal};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) mep_free(all[i]);
        mep_free(&b->state);
    }
    mep_shared *shared[] = {&(*plan)->sources,   &(*plan)->block_norm, &(*plan)->prefix_norm,
                            &(*plan)->delta,     &(*plan)->tile_norm,  &(*plan)->tile_lse,
                            &(*plan)->diagonals, &(*plan)->dq_sums,    &(*plan)->turns};
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) mep_free(&shared[i]->data);
    mep_free(&(*plan)->buffers);
    mep_free(&(*plan)->reversed);
    mep_free(&(*plan)->far_bias);
    mep_free(plan);
}

void mep_attention_reverse(const float *bias, int64_t length, int64_t distances, float *reversed, float *far_bias)
{
    float *origin = reversed + TILE_ROWS + distances, highest = -INFINITY;
    for (int64_t i = 0; i < TILE_ROWS + distances + TILE_ROWS + BLOCK_KEYS; i++) reversed[i] = -INFINITY;
    for (int64_t d = distances - 1; d >= 0; d--) {
        float b = bias == NULL ? 0.0f : d < length ? bias[d] : -INFINITY;
        origin[-d] = b;
        highest = b > highest ? b : highest;
        far_bias[d] = highest;
    }
}

mep_status mep_attention_set_bias(mep_attention *plan, const float *table, int64_t length)
{
    MEP_REQUIRE(plan);
    if (table != NULL && length < 1) return mep_fail(MEP_ERROR_ARGUMENT, "a bias table needs a length of 1 or more");
    for (int64_t i = 0; table != NULL && i < plan->settings.heads * length; i++)
        if (!(table[i] < INFINITY) || (i % length == 0 && !isfinite(table[i])))
            return mep_fail(
                MEP_ERROR_NUMERIC,
                "the bias of head %lld at distance %lld is %g; it must be finite, or -inf beyond distance 0",
                (long long)(i / length), (long long)(i % length), (double)table[i]);
    plan->bias_length = table == NULL ? plan->settings.max_length : length;
    if (plan->there != NULL) return mep_attention_cuda->set_bias(plan->there, table, plan->bias_length);
    for (int64_t h = 0; h < plan->settings.heads; h++)
        mep_attention_reverse(table == NULL ? NULL : table + h * length, length, plan->keys,
                              plan->reversed + h * plan->table_size, plan->far_bias + h * plan->keys);
    return MEP_OK;
}

double mep_attention_computed_share(const mep_attention *plan)
{
    if (plan == NULL) return 0;
    return plan->there != NULL ? mep_attention_cuda->computed_share(plan->there) : plan->computed_share;
}

mep_status mep_attention_check(const mep_attention *plan, int64_t batch, int64_t queries, int64_t keys)
{
    if (batch < 1 || queries < 1 || keys < queries || keys > plan->settings.max_length)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "attention needs batch >= 1 and 1 <= queries <= keys <= %lld, found batch %lld, queries %lld, keys %lld",
            (long long)plan->settings.max_length, (long long)batch, (long long)queries, (long long)keys);
    if (batch > INT64_MAX / plan->settings.heads / keys)
        return mep_fail(MEP_ERROR_ARGUMENT, "a batch of %lld is too large", (long long)batch);
    if (keys > plan->bias_length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the bias table covers %lld distances, the call has %lld keys; set a longer table",
                        (long long)plan->bias_length, (long long)keys);
    return MEP_OK;
}

mep_status mep_attention_need_backward(mep_attention *plan)
{
    for (; plan->backward_threads < plan->threads; plan->backward_threads++)
        MEP_TRY(allocate_backward(plan, &plan->buffers[plan->backward_threads]));
    return MEP_OK;
}

mep_status mep_attention_share(mep_shared *shared, int64_t rows, int64_t columns, size_t size)
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

void mep_attention_read_rows(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
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

void mep_attention_write_rows(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
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

void mep_attention_pack(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h, int64_t first,
                        int64_t rows, float *out)
{
    int64_t channels = plan->settings.head_dim;
    size_t row_bytes = (size_t)plan->units * sizeof *out, used = (size_t)channels * sizeof(mep_bf16);
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

void mep_attention_pack_interleaved(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                    int64_t first, int64_t rows, float *scratch, float *out)
{
    if (plan->kernels->interleave == NULL) {
        mep_attention_pack(plan, view, b, h, first, rows, out);
        return;
    }
    mep_attention_pack(plan, view, b, h, first, rows, scratch);
    plan->kernels->interleave(plan->units, scratch, out);
}

void mep_attention_pack_transposed(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h,
                                   int64_t first, int64_t rows, float *scratch, float *out)
{
    mep_attention_pack(plan, view, b, h, first, rows, scratch);
    plan->kernels->transpose(plan->units, scratch, plan->units * (int64_t)sizeof *scratch, out);
}

char *mep_attention_row(const mep_attention *plan, const mep_tensor_view *view, int64_t b, int64_t h, int64_t token)
{
    return (char *)view->data + view_offset(view, b, h, token) * mep_dtype_size(plan->settings.dtype);
}

int mep_attention_may_skip(const mep_attention *plan, int64_t h, int64_t keys)
{
    const float *far = plan->far_bias + h * plan->keys;
    return plan->settings.skip_far &&
           far[keys - 1] < far[0] - mep_attention_margin(plan->settings.tolerance, (double)keys);
}

void mep_attention_row_norms(const mep_attention *plan, const float *q, int64_t rows, float *norms)
{
    plan->kernels->row_dots(rows, plan->units, q, q, norms);
    for (int64_t r = 0; r < rows; r++) norms[r] = sqrtf(norms[r]) * fabsf((float)plan->settings.scale);
    for (int64_t r = rows; r < TILE_ROWS; r++) norms[r] = 0;
}

/* Largest |k| of a block. */
static float block_norm(const mep_attention *plan, mep_attention_buffers *w, const mep_tensor_view *k, int64_t b,
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

mep_status mep_attention_norms(mep_attention *plan, const mep_tensor_view *k, int64_t batch, int64_t keys)
{
    int64_t heads = plan->settings.heads, blocks = (keys + BLOCK_KEYS - 1) / BLOCK_KEYS;
    MEP_TRY(mep_attention_share(&plan->block_norm, batch * heads, blocks, sizeof(float)));
    MEP_TRY(mep_attention_share(&plan->prefix_norm, batch * heads, blocks, sizeof(float)));
    float *own = plan->block_norm.data, *prefix = plan->prefix_norm.data;
#pragma omp parallel for collapse(2) num_threads(plan->threads)
    for (int64_t n = 0; n < batch * heads; n++)
        for (int64_t block = 0; block < blocks; block++)
            if (mep_attention_may_skip(plan, n % heads, keys))
                own[n * blocks + block] =
                    block_norm(plan, &plan->buffers[omp_get_thread_num()], k, n / heads, n % heads, block, keys);
#pragma omp parallel for num_threads(plan->threads)
    for (int64_t n = 0; n < batch * heads; n++)
        for (int64_t block = 0; block < blocks; block++) {
            float before = block > 0 ? prefix[n * blocks + block - 1] : 0, x = own[n * blocks + block];
            prefix[n * blocks + block] = x > before || x != x ? x : before;
        }
    return MEP_OK;
}

float mep_attention_margin(double tolerance, double keys)
{
    const double exact = 104; /* exp(-104) is below half the smallest float32 */
    return (float)(tolerance > 0 ? fmin(exact, log(keys / tolerance)) : exact);
}
