/* SPDX-License-Identifier: MIT */
/*
 * Attention of a few queries: scores of a row, softmax, weighted sum of values, each key and value read once.
 */
#include "attention/decode.h"

#include <math.h>
#include <string.h>

#include <omp.h>

#include "attention/plan.h"

/* One query row (b, h, i): w->scores holds its scores. */
static void decode_row(const mep_attention *plan, mep_attention_buffers *w, int64_t h, int64_t position,
                       mep_float_rows k, mep_float_rows v, float *lse)
{
    const mep_attention_kernels *kernels = plan->kernels;
    const float *reversed = mep_reversed_origin(plan, plan->reversed + h * plan->table_size) - position;
    float highest = -INFINITY;
    for (int64_t j = 0; j <= position; j++) {
        w->scores[j] = kernels->dot(plan->padded, w->q, k.data + j * k.stride) + reversed[j];
        highest = w->scores[j] > highest ? w->scores[j] : highest;
    }
    float sum = kernels->exponentials(position + 1, highest, w->scores);
    memset(w->out, 0, (size_t)plan->padded * sizeof(float));
    for (int64_t j = 0; j <= position; j++)
        if (w->scores[j] != 0) kernels->add_scaled(plan->padded, w->scores[j], v.data + j * v.stride, w->out);
    for (int64_t c = 0; c < plan->padded; c++) w->out[c] /= sum;
    *lse = highest + logf(sum);
}

mep_status mep_attention_decode(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse)
{
    int64_t heads = plan->settings.heads;
#pragma omp parallel for schedule(dynamic) num_threads(plan->threads)
    for (int64_t task = 0; task < batch * heads; task++) {
        mep_attention_buffers *w = &plan->buffers[omp_get_thread_num()];
        int64_t b = task / heads, h = task % heads;
        mep_float_rows key_rows = mep_attention_rows(plan, &k, b, h, keys, w->k_copy);
        mep_float_rows value_rows = mep_attention_rows(plan, &v, b, h, keys, w->v_copy);
        for (int64_t i = 0; i < queries; i++) {
            float row_lse;
            mep_attention_read_rows(plan, &q, b, h, i, 1, (float)plan->settings.scale, w->q);
            decode_row(plan, w, h, i + keys - queries, key_rows, value_rows, &row_lse);
            mep_attention_write_rows(plan, &out, b, h, i, 1, 1.0f, w->out);
            if (lse != NULL) lse[task * queries + i] = row_lse;
        }
    }
    plan->computed_share = 1;
    return MEP_OK;
}
