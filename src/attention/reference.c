/* SPDX-License-Identifier: MIT */
/*
 * The plain reference: attention in float64, one loop an index of the formula. It is what the fused kernels are held
 * against; it is not meant to be fast. Memory: one row of scores.
 */
#include "mep/attention.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

typedef struct shape {
    int64_t heads, queries, keys, head_dim;
    double scale;
    const double *bias; /* [heads, keys] or NULL */
} shape;

static mep_status check(int64_t batch, const shape *s)
{
    if (batch < 1 || s->heads < 1 || s->head_dim < 1 || s->queries < 1 || s->keys < s->queries)
        return mep_fail(MEP_ERROR_ARGUMENT, "attention needs batch, heads, head_dim >= 1 and 1 <= queries <= keys");
    int64_t size = 0;
    MEP_TRY(mep_multiply(batch, s->heads, s->keys, &size));
    return mep_multiply(size, s->head_dim, sizeof(double), &size);
}

/* Weights p[0..position] of the query at absolute `position`; returns log sum exp of its scores. */
static double row_weights(const shape *s, int64_t head, int64_t position, const double *q, const double *k, double *p)
{
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= position; j++) {
        double dot = 0;
        for (int64_t c = 0; c < s->head_dim; c++) dot += q[c] * k[j * s->head_dim + c];
        p[j] = dot * s->scale + (s->bias != NULL ? s->bias[head * s->keys + position - j] : 0.0);
        highest = fmax(highest, p[j]);
    }
    for (int64_t j = 0; j <= position; j++) sum += p[j] = exp(p[j] - highest);
    for (int64_t j = 0; j <= position; j++) p[j] /= sum;
    return highest + log(sum);
}

mep_status mep_attention_reference_forward(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                                           int64_t head_dim, double scale, const double *bias, const double *q,
                                           const double *k, const double *v, double *out, double *lse)
{
    MEP_REQUIRE(q, k, v, out);
    shape s = {heads, queries, keys, head_dim, scale != 0 ? scale : 1 / sqrt((double)head_dim), bias};
    MEP_TRY(check(batch, &s));
    double *p;
    MEP_TRY(MEP_ALLOC(&p, keys));
    for (int64_t bh = 0; bh < batch * heads; bh++)
        for (int64_t i = 0; i < queries; i++) {
            int64_t row = bh * queries + i, position = i + keys - queries;
            const double *kh = k + bh * keys * head_dim, *vh = v + bh * keys * head_dim;
            double row_lse = row_weights(&s, bh % heads, position, q + row * head_dim, kh, p);
            if (lse != NULL) lse[row] = row_lse;
            for (int64_t c = 0; c < head_dim; c++) {
                double sum = 0;
                for (int64_t j = 0; j <= position; j++) sum += p[j] * vh[j * head_dim + c];
                out[row * head_dim + c] = sum;
            }
        }
    mep_free(&p);
    return MEP_OK;
}

/* Gradients of one query row, added to dk, dv, dbias; dq is that row's own. */
static void row_backward(const shape *s, int64_t position, const double *p, const double *q, const double *k,
                         const double *v, const double *dout, double *dq, double *dk, double *dv, double *dbias)
{
    double delta = 0; /* sum_j p_j dp_j = dout . out */
    for (int64_t j = 0; j <= position; j++)
        for (int64_t c = 0; c < s->head_dim; c++) delta += p[j] * dout[c] * v[j * s->head_dim + c];
    for (int64_t j = 0; j <= position; j++) {
        double dp = 0; /* out_c = sum_j p_j v_jc */
        for (int64_t c = 0; c < s->head_dim; c++) {
            dp += dout[c] * v[j * s->head_dim + c];
            dv[j * s->head_dim + c] += p[j] * dout[c];
        }
        double ds = p[j] * (dp - delta); /* p = softmax(score) */
        if (dbias != NULL) dbias[position - j] += ds;
        for (int64_t c = 0; c < s->head_dim; c++) { /* score = scale q.k + bias */
            dq[c] += s->scale * ds * k[j * s->head_dim + c];
            dk[j * s->head_dim + c] += s->scale * ds * q[c];
        }
    }
}

mep_status mep_attention_reference_backward(int64_t batch, int64_t heads, int64_t queries, int64_t keys,
                                            int64_t head_dim, double scale, const double *bias, const double *q,
                                            const double *k, const double *v, const double *dout, double *dq,
                                            double *dk, double *dv, double *dbias)
{
    MEP_REQUIRE(q, k, v, dout, dq, dk, dv);
    shape s = {heads, queries, keys, head_dim, scale != 0 ? scale : 1 / sqrt((double)head_dim), bias};
    MEP_TRY(check(batch, &s));
    double *p;
    MEP_TRY(MEP_ALLOC(&p, keys));
    memset(dq, 0, (size_t)(batch * heads * queries * head_dim) * sizeof *dq);
    memset(dk, 0, (size_t)(batch * heads * keys * head_dim) * sizeof *dk);
    memset(dv, 0, (size_t)(batch * heads * keys * head_dim) * sizeof *dv);
    if (dbias != NULL) memset(dbias, 0, (size_t)(heads * keys) * sizeof *dbias);
    for (int64_t bh = 0; bh < batch * heads; bh++)
        for (int64_t i = 0; i < queries; i++) {
            int64_t row = (bh * queries + i) * head_dim, position = i + keys - queries, first = bh * keys * head_dim;
            row_weights(&s, bh % heads, position, q + row, k + first, p);
            row_backward(&s, position, p, q + row, k + first, v + first, dout + row, dq + row, dk + first, dv + first,
                         dbias != NULL ? dbias + bh % heads * keys : NULL);
        }
    mep_free(&p);
    return MEP_OK;
}
