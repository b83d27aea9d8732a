/* SPDX-License-Identifier: MIT */
/*
 * Scores as docs/mathematics.md defines them: the scaled product of query and key, then each term.
 */
#include "eval/attention_scores.h"

#include <math.h>

#include "base/bf16.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/block.h"

mep_status mep_attention_scores_open(mep_attention_scores *a, const mep_session *session)
{
    const mep_model *m = session->model;
    *a = (mep_attention_scores){.session = session};
    MEP_TRY(mep_kv_tables_create(&a->tables, m, session->settings.length));
    MEP_TRY(mep_kv_tables_refresh(&a->tables));
    return MEP_ALLOC(&a->gate, m->config.num_attention_heads * session->settings.length);
}

void mep_attention_scores_close(mep_attention_scores *a)
{
    mep_kv_tables_destroy(&a->tables);
    mep_free(&a->gate);
}

void mep_attention_scores_set_layer(mep_attention_scores *a, int64_t layer)
{
    a->call = mep_attention_call_of(a->session, layer);
    a->terms = mep_kv_layer_terms(&a->tables, layer);
    if (!mep_kv_layer_fire(&a->tables, layer, &a->fire)) a->fire.pieces = 0;
    if (a->call.gate_logits != NULL)
        mep_gate_sums(1, a->call.length, a->session->model->config.num_attention_heads, a->call.gate_logits, NULL,
                      a->gate);
}

/* ---- Terms ---- */

static double product(const mep_attention_scores *a, int64_t head, int64_t query, int64_t key)
{
    mep_tensor_view q = a->call.q, k = a->call.k;
    const mep_model_config *config = &a->session->model->config;
    int64_t channels = mep_head_dim(config);
    int64_t key_head = head / (config->num_attention_heads / mep_key_value_heads(config));
    int64_t from_q = head * q.head_stride + query * q.token_stride,
            from_k = key_head * k.head_stride + key * k.token_stride;
    double sum = 0;
    for (int64_t c = 0; c < channels; c++) {
        if (a->session->settings.dtype == MEP_BFLOAT16)
            sum += (double)mep_bf16_to_float(((const uint16_t *)q.data)[from_q + c]) *
                   (double)mep_bf16_to_float(((const uint16_t *)k.data)[from_k + c]);
        else
            sum += (double)((const float *)q.data)[from_q + c] * (double)((const float *)k.data)[from_k + c];
    }
    return sum / sqrt((double)channels);
}

/* A query's row of profiles or mixture weights. */
static const float *row_of(mep_tensor_view x, int64_t head, int64_t query)
{
    return (const float *)x.data + head * x.head_stride + query * x.token_stride;
}

/* sum_m profiles[m] P_m(d) */
static double profile(const mep_attention_scores *a, int64_t head, int64_t query, int64_t d)
{
    const float *coefficients = row_of(a->call.profiles, head, query);
    double sum = 0;
    for (int64_t m = 0; m < a->terms.rank && d < a->terms.extent; m++)
        sum += (double)coefficients[m] * (double)a->terms.bank[m * a->terms.extent + d];
    return sum;
}

/* log sum_m softmax_m(a) K_m(d) */
static double mixture(const mep_attention_scores *a, int64_t head, int64_t query, int64_t d)
{
    const mep_attention_terms *t = &a->terms;
    const float *weights = row_of(a->call.mixture, head, query);
    double all = 0, some = 0, highest = -INFINITY, top = -INFINITY;
    for (int64_t m = 0; m < t->kernels; m++) {
        double kernel = (double)t->log_kernels[(head * t->kernels + m) * t->log_kernels_length + d];
        highest = fmax(highest, (double)weights[m]);
        top = fmax(top, (double)weights[m] + kernel);
    }
    for (int64_t m = 0; m < t->kernels; m++) {
        double kernel = (double)t->log_kernels[(head * t->kernels + m) * t->log_kernels_length + d];
        all += exp((double)weights[m] - highest);
        some += exp((double)weights[m] + kernel - top);
    }
    return top + log(some) - highest - log(all);
}

/* The distance bias, which in fire beyond its threshold depends on the position too. */
static double bias_at(const mep_attention_scores *a, int64_t head, int64_t position, int64_t d)
{
    const mep_fire *f = &a->fire;
    if (f->pieces == 0 || position <= f->threshold) return (double)a->terms.table[head * a->terms.table_length + d];
    double x = log1p(f->c * (double)d) / log1p(f->c * (double)position);
    int64_t g = 0;
    while (g < f->pieces - 1 && f->knots[g] < x) g++;
    return f->slope[head * f->row + g] * x + f->offset[head * f->row + g];
}

double mep_attention_scores_row(const mep_attention_scores *a, int64_t head, int64_t position, double *row)
{
    const mep_attention_terms *t = &a->terms;
    int64_t length = a->call.length;
    for (int64_t d = 0; d <= position; d++) {
        row[d] = -INFINITY;
        if (t->window > 0 && d >= t->window) continue;
        row[d] = product(a, head, position, position - d);
        if (t->table != NULL) row[d] += bias_at(a, head, position, d);
        if (a->call.gate_logits != NULL)
            row[d] += a->gate[head * length + position] - a->gate[head * length + position - d];
        if (t->rank > 0) row[d] += profile(a, head, position, d);
        if (t->kernels > 0) row[d] += mixture(a, head, position, d);
    }
    return t->sink != NULL ? (double)t->sink[head] : -INFINITY;
}
