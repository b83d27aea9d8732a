/* SPDX-License-Identifier: MIT */
/*
 * The reference: attention with every score term in float64, one loop per index of the formula. The fused kernels are
 * compared with it; it is not meant to be fast. Memory: a few rows of scores.
 */
#include "mep/attention.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

/* One query: its indices and, for each key first .. last, the weight and the responsibilities of the kernels. */
typedef struct row {
    const mep_attention_reference_call *call;
    double scale;
    int64_t b, h, i, position; /* batch, query head, query, absolute position */
    int64_t first, last;       /* the keys that are visible */
    double *p;                 /* [keys]: scores, then weights */
    double *mix;               /* [kernels]: weights w of the query's mixture */
    double *responsibility;    /* [kernels]: responsibilities at one distance */
    double lse;
} row;

static int64_t kv_heads(const mep_attention_reference_call *c)
{
    return c->kv_heads == 0 ? c->heads : c->kv_heads;
}

/* Rows of the tensors [batch, heads, length, width]. */
static int64_t query_row(const row *r)
{
    return (r->b * r->call->heads + r->h) * r->call->queries + r->i;
}

static int64_t key_row(const row *r, int64_t key)
{
    int64_t heads = kv_heads(r->call);
    return (r->b * heads + r->h / (r->call->heads / heads)) * r->call->keys + key;
}

static int64_t gate_at(const row *r, int64_t key)
{
    return (r->b * r->call->heads + r->h) * r->call->keys + key;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++) sum += a[c] * b[c];
    return sum;
}

/* ---- Terms ---- */

/* w = softmax(a) of the query. */
static void set_mixture(row *r)
{
    const double *a = r->call->mixture + query_row(r) * r->call->kernels;
    double highest = -INFINITY, sum = 0;
    for (int64_t m = 0; m < r->call->kernels; m++) highest = fmax(highest, a[m]);
    for (int64_t m = 0; m < r->call->kernels; m++) sum += r->mix[m] = exp(a[m] - highest);
    for (int64_t m = 0; m < r->call->kernels; m++) r->mix[m] /= sum;
}

static double log_kernel(const row *r, int64_t m, int64_t distance)
{
    return r->call->log_kernels[(r->h * r->call->kernels + m) * r->call->keys + distance];
}

/* log sum_m w_m K_m(distance); the responsibilities w_m K_m / sum go to r->responsibility. */
static double mixture(row *r, int64_t distance)
{
    double highest = -INFINITY, sum = 0;
    for (int64_t m = 0; m < r->call->kernels; m++) highest = fmax(highest, log_kernel(r, m, distance));
    for (int64_t m = 0; m < r->call->kernels; m++)
        sum += r->responsibility[m] = r->mix[m] * exp(log_kernel(r, m, distance) - highest);
    for (int64_t m = 0; m < r->call->kernels; m++) r->responsibility[m] /= sum;
    return highest + log(sum);
}

/* The value of a table at a distance, which may be negative; `ahead` NULL: the table itself. */
static const double *table_at(const row *r, const double *table, const double *ahead, int64_t distance)
{
    if (distance < 0 && ahead != NULL) table = ahead;
    return table + r->h * r->call->keys + (distance < 0 ? -distance : distance);
}

/* The score of the query and a key, with every term. */
static double score(row *r, int64_t key)
{
    const mep_attention_reference_call *c = r->call;
    int64_t distance = r->position - key;
    double x = r->scale * dot(c->q + query_row(r) * c->head_dim, c->k + key_row(r, key) * c->head_dim, c->head_dim);
    if (c->table != NULL) x += *table_at(r, c->table, c->table_ahead, distance);
    if (c->gate != NULL) x += c->gate[gate_at(r, r->position)] - c->gate[gate_at(r, key)];
    for (int64_t m = 0; m < c->rank && distance < c->extent; m++)
        x += c->profiles[query_row(r) * c->rank + m] * c->bank[m * c->extent + distance];
    if (c->kernels > 0) x += mixture(r, distance);
    return x;
}

/* Weights of the query's keys, and lse. */
static void weigh(row *r)
{
    const mep_attention_reference_call *c = r->call;
    double sink = c->sink != NULL ? c->sink[r->h] : -INFINITY, highest = sink;
    if (c->kernels > 0) set_mixture(r);
    for (int64_t j = r->first; j <= r->last; j++) highest = fmax(highest, r->p[j] = score(r, j));
    double sum = exp(sink - highest);
    for (int64_t j = r->first; j <= r->last; j++) sum += r->p[j] = exp(r->p[j] - highest);
    for (int64_t j = r->first; j <= r->last; j++) r->p[j] /= sum;
    r->lse = highest + log(sum);
}

/* ---- The calls ---- */

static mep_status check(const mep_attention_reference_call *c)
{
    if (c->batch < 1 || c->heads < 1 || c->head_dim < 1 || c->queries < 1 || c->keys < c->queries || c->window < 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention needs batch, heads, head_dim >= 1, 1 <= queries <= keys and window >= 0");
    if (kv_heads(c) < 1 || c->heads % kv_heads(c) != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "kv_heads is %lld; it must divide the %lld heads", (long long)c->kv_heads,
                        (long long)c->heads);
    if (c->rank < 0 || (c->rank > 0 && (c->profiles == NULL || c->bank == NULL || c->extent < 1)))
        return mep_fail(MEP_ERROR_ARGUMENT, "profiles need rank >= 0, a bank and an extent of 1 or more");
    if (c->kernels < 0 || (c->kernels > 0 && (c->mixture == NULL || c->log_kernels == NULL)))
        return mep_fail(MEP_ERROR_ARGUMENT, "a mixture needs kernels >= 0, weights and log_kernels");
    if (c->bidirectional && (c->queries != c->keys || c->gate != NULL || c->rank > 0 || c->kernels > 0))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "bidirectional attention needs queries = keys, and its terms are table, window and sink");
    if (!c->bidirectional && (c->ends != NULL || c->table_ahead != NULL))
        return mep_fail(MEP_ERROR_ARGUMENT, "ends and table_ahead are of bidirectional attention");
    for (int64_t i = 0; c->starts != NULL && i < c->batch * c->queries; i++)
        if (c->starts[i] < 0)
            return mep_fail(MEP_ERROR_ARGUMENT, "starts[%lld] is %lld; it must be 0 or more", (long long)i,
                            (long long)c->starts[i]);
    int64_t size = 0;
    MEP_TRY(mep_multiply(c->batch, c->heads, c->keys, &size));
    return mep_multiply(size, c->head_dim, sizeof(double), &size);
}

/* Set the keys that the query sees. */
static void see(row *r)
{
    const mep_attention_reference_call *c = r->call;
    int64_t at = r->b * c->queries + r->i, window = c->window > 0 ? c->window : c->keys;
    r->first = max_i64(0, r->position - window + 1);
    r->last = c->bidirectional ? min_i64(c->keys - 1, r->position + window - 1) : r->position;
    if (c->starts != NULL) r->first = max_i64(r->first, min_i64(c->starts[at], r->position));
    if (c->ends != NULL) r->last = min_i64(r->last, max_i64(c->ends[at] - 1, r->position));
}

/* Call `visit` for every query. */
static mep_status for_rows(const mep_attention_reference_call *c, void (*visit)(row *r, const void *),
                           const void *context)
{
    row r = {.call = c, .scale = c->scale != 0 ? c->scale : 1 / sqrt((double)c->head_dim)};
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(&r.p, c->keys), end);
    MEP_TRY_OR(status, MEP_ALLOC(&r.mix, c->kernels), end);
    MEP_TRY_OR(status, MEP_ALLOC(&r.responsibility, c->kernels), end);
    for (int64_t n = 0; n < c->batch * c->heads * c->queries; n++) {
        r.b = n / c->queries / c->heads;
        r.h = n / c->queries % c->heads;
        r.i = n % c->queries;
        r.position = r.i + c->keys - c->queries;
        see(&r);
        weigh(&r);
        visit(&r, context);
    }
end:
    mep_free(&r.p);
    mep_free(&r.mix);
    mep_free(&r.responsibility);
    return status;
}

static void forward_row(row *r, const void *context)
{
    const mep_attention_reference_call *c = r->call;
    double *out = c->out + query_row(r) * c->head_dim;
    (void)context;
    if (c->lse != NULL) c->lse[query_row(r)] = r->lse;
    memset(out, 0, (size_t)c->head_dim * sizeof *out);
    for (int64_t j = r->first; j <= r->last; j++)
        for (int64_t d = 0; d < c->head_dim; d++) out[d] += r->p[j] * c->v[key_row(r, j) * c->head_dim + d];
}

mep_status mep_attention_reference_forward(const mep_attention_reference_call *call)
{
    MEP_REQUIRE(call);
    MEP_REQUIRE(call->q, call->k, call->v, call->out);
    MEP_TRY(check(call));
    return for_rows(call, forward_row, NULL);
}

/* The gradients of the terms of one score, whose gradient is ds. */
static void backward_terms(row *r, int64_t key, double ds, const mep_attention_reference_gradient *g)
{
    const mep_attention_reference_call *c = r->call;
    int64_t distance = r->position - key, query = query_row(r);
    if (distance < 0 && c->table_ahead != NULL) {
        if (g->dtable_ahead != NULL) g->dtable_ahead[r->h * c->keys - distance] += ds;
    } else if (g->dtable != NULL) {
        g->dtable[r->h * c->keys + (distance < 0 ? -distance : distance)] += ds;
    }
    if (g->dgate != NULL) {
        g->dgate[gate_at(r, r->position)] += ds;
        g->dgate[gate_at(r, key)] -= ds;
    }
    for (int64_t m = 0; m < c->rank && distance < c->extent; m++) {
        if (g->dprofiles != NULL) g->dprofiles[query * c->rank + m] += ds * c->bank[m * c->extent + distance];
        if (g->dbank != NULL) g->dbank[m * c->extent + distance] += ds * c->profiles[query * c->rank + m];
    }
    if (c->kernels == 0) return;
    mixture(r, distance);
    for (int64_t m = 0; m < c->kernels; m++) {
        if (g->dmixture != NULL) g->dmixture[query * c->kernels + m] += ds * (r->responsibility[m] - r->mix[m]);
        if (g->dlog_kernels != NULL)
            g->dlog_kernels[(r->h * c->kernels + m) * c->keys + distance] += ds * r->responsibility[m];
    }
}

static void backward_row(row *r, const void *context)
{
    const mep_attention_reference_call *c = r->call;
    const mep_attention_reference_gradient *g = context;
    int64_t width = c->head_dim, at = query_row(r) * width;
    const double *dout = g->dout + at;
    double delta = 0; /* sum_j p_j dp_j = dout . out */
    for (int64_t j = r->first; j <= r->last; j++) delta += r->p[j] * dot(dout, c->v + key_row(r, j) * width, width);
    if (g->dsink != NULL && c->sink != NULL) g->dsink[r->h] -= exp(c->sink[r->h] - r->lse) * delta;
    for (int64_t j = r->first; j <= r->last; j++) {
        int64_t key = key_row(r, j) * width;
        double ds = r->p[j] * (dot(dout, c->v + key, width) - delta);
        for (int64_t d = 0; d < width; d++) {
            g->dv[key + d] += r->p[j] * dout[d];
            g->dq[at + d] += r->scale * ds * c->k[key + d];
            g->dk[key + d] += r->scale * ds * c->q[at + d];
        }
        backward_terms(r, j, ds, g);
    }
}

static void clear(double *x, int64_t count)
{
    if (x != NULL) memset(x, 0, (size_t)count * sizeof *x);
}

mep_status mep_attention_reference_backward(const mep_attention_reference_call *call,
                                            const mep_attention_reference_gradient *gradient)
{
    MEP_REQUIRE(call, gradient);
    MEP_REQUIRE(call->q, call->k, call->v);
    MEP_REQUIRE(gradient->dout, gradient->dq, gradient->dk, gradient->dv);
    MEP_TRY(check(call));
    const mep_attention_reference_call *c = call;
    const mep_attention_reference_gradient *g = gradient;
    int64_t rows = c->batch * c->heads * c->queries, kv = c->batch * kv_heads(c) * c->keys * c->head_dim;
    clear(g->dq, rows * c->head_dim);
    clear(g->dk, kv);
    clear(g->dv, kv);
    clear(g->dtable, c->heads * c->keys);
    clear(g->dtable_ahead, c->heads * c->keys);
    clear(g->dgate, c->batch * c->heads * c->keys);
    clear(g->dprofiles, rows * c->rank);
    clear(g->dbank, c->rank * c->extent);
    clear(g->dmixture, rows * c->kernels);
    clear(g->dlog_kernels, c->heads * c->kernels * c->keys);
    clear(g->dsink, c->heads);
    return for_rows(call, backward_row, gradient);
}
