/* SPDX-License-Identifier: MIT */
/*
 * The plain reference: attention in float64, one loop per index of the formula. The fused kernels are compared with it;
 * it is not meant to be fast. Memory: one row of scores.
 */
#include "mep/attention.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

typedef mep_attention_reference_call call;
typedef mep_attention_reference_gradient gradient;

static mep_status check(const call *c)
{
    if (c->batch < 1 || c->heads < 1 || c->head_dim < 1 || c->queries < 1 || c->keys < c->queries)
        return mep_fail(MEP_ERROR_ARGUMENT, "attention needs batch, heads, head_dim >= 1 and 1 <= queries <= keys");
    int64_t size = 0;
    MEP_TRY(mep_multiply(c->batch, c->heads, c->keys, &size));
    return mep_multiply(size, c->head_dim, sizeof(double), &size);
}

static double scale_of(const call *c)
{
    return c->scale != 0 ? c->scale : 1 / sqrt((double)c->head_dim);
}

/* One query: its head in the batch and in the table, its absolute position, and where its numbers are. */
typedef struct row {
    int64_t pair, head, position;
    int64_t query; /* offset of its first channel in q and out */
    int64_t keys;  /* offset of its head's first key in k and v */
} row;

static row row_at(const call *c, int64_t number)
{
    row r = {.pair = number / c->queries, .query = number * c->head_dim};
    r.head = r.pair % c->heads;
    r.position = number % c->queries + c->keys - c->queries;
    r.keys = r.pair * c->keys * c->head_dim;
    return r;
}

/* Weights p[0 .. position] of the query; returns log sum exp of its scores. */
static double row_weights(const call *c, const row *r, double *p)
{
    const double *q = c->q + r->query, *k = c->k + r->keys, scale = scale_of(c);
    double highest = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= r->position; j++) {
        double dot = 0;
        for (int64_t i = 0; i < c->head_dim; i++) dot += q[i] * k[j * c->head_dim + i];
        p[j] = dot * scale + (c->table != NULL ? c->table[r->head * c->keys + r->position - j] : 0.0);
        highest = fmax(highest, p[j]);
    }
    for (int64_t j = 0; j <= r->position; j++) sum += p[j] = exp(p[j] - highest);
    for (int64_t j = 0; j <= r->position; j++) p[j] /= sum;
    return highest + log(sum);
}

mep_status mep_attention_reference_forward(const mep_attention_reference_call *c)
{
    MEP_REQUIRE_AS("call", c);
    MEP_REQUIRE_AS("call->q, call->k, call->v, call->out", c->q, c->k, c->v, c->out);
    MEP_TRY(check(c));
    double *p;
    MEP_TRY(MEP_ALLOC(&p, c->keys));
    for (int64_t n = 0; n < c->batch * c->heads * c->queries; n++) {
        const row r = row_at(c, n);
        double lse = row_weights(c, &r, p);
        if (c->lse != NULL) c->lse[n] = lse;
        for (int64_t i = 0; i < c->head_dim; i++) {
            double sum = 0;
            for (int64_t j = 0; j <= r.position; j++) sum += p[j] * c->v[r.keys + j * c->head_dim + i];
            c->out[r.query + i] = sum;
        }
    }
    mep_free(&p);
    return MEP_OK;
}

/* Gradients of one query, whose weights are p: dq is its own; dk, dv and dtable are added to. */
static void row_backward(const call *c, const gradient *g, const row *r, const double *p)
{
    const int64_t d = c->head_dim;
    const double *q = c->q + r->query, *k = c->k + r->keys, *v = c->v + r->keys, *dout = g->dout + r->query;
    double *dq = g->dq + r->query, *dk = g->dk + r->keys, *dv = g->dv + r->keys, scale = scale_of(c);
    double delta = 0; /* sum_j p_j dp_j = dout . out */
    for (int64_t j = 0; j <= r->position; j++)
        for (int64_t i = 0; i < d; i++) delta += p[j] * dout[i] * v[j * d + i];
    for (int64_t j = 0; j <= r->position; j++) {
        double dp = 0; /* out_i = sum_j p_j v_ji */
        for (int64_t i = 0; i < d; i++) {
            dp += dout[i] * v[j * d + i];
            dv[j * d + i] += p[j] * dout[i];
        }
        double ds = p[j] * (dp - delta); /* p = softmax(score) */
        if (g->dtable != NULL) g->dtable[r->head * c->keys + r->position - j] += ds;
        for (int64_t i = 0; i < d; i++) { /* score = scale q.k + table */
            dq[i] += scale * ds * k[j * d + i];
            dk[j * d + i] += scale * ds * q[i];
        }
    }
}

mep_status mep_attention_reference_backward(const mep_attention_reference_call *c,
                                            const mep_attention_reference_gradient *g)
{
    MEP_REQUIRE_AS("call, gradient", c, g);
    MEP_REQUIRE_AS("call->q, call->k, call->v", c->q, c->k, c->v);
    MEP_REQUIRE_AS("gradient->dout, gradient->dq, gradient->dk, gradient->dv", g->dout, g->dq, g->dk, g->dv);
    MEP_TRY(check(c));
    const int64_t pairs = c->batch * c->heads, q_values = pairs * c->queries * c->head_dim;
    const int64_t k_values = pairs * c->keys * c->head_dim;
    double *p;
    MEP_TRY(MEP_ALLOC(&p, c->keys));
    memset(g->dq, 0, (size_t)q_values * sizeof *g->dq);
    memset(g->dk, 0, (size_t)k_values * sizeof *g->dk);
    memset(g->dv, 0, (size_t)k_values * sizeof *g->dv);
    if (g->dtable != NULL) memset(g->dtable, 0, (size_t)(c->heads * c->keys) * sizeof *g->dtable);
    for (int64_t n = 0; n < pairs * c->queries; n++) {
        const row r = row_at(c, n);
        row_weights(c, &r, p);
        row_backward(c, g, &r, p);
    }
    mep_free(&p);
    return MEP_OK;
}
