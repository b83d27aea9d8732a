/* SPDX-License-Identifier: MIT */
/*
 * What the tests of score terms share: a problem in float64 with any terms and the reference's answers, and the fused
 * kernels run on it. It tests nothing itself.
 */
#ifndef MEP_TESTS_TERMS_PROBLEM_H
#define MEP_TESTS_TERMS_PROBLEM_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention/fire.h"
#include "base/bf16.h"
#include "base/cpu.h"
#include "base/random.h"
#include "mep/attention.h"

/* Tensors of a problem, in the order of results. */
enum { OUT, LSE, DQ, DK, DV, DTABLE, DSINK, DGATE, DPROFILES, DBANK, DMIXTURE, DLOG_KERNELS, DTABLE_AHEAD, RESULTS };

static const char *const result_names[RESULTS] = {"out",      "lse",          "dq",          "dk",        "dv",
                                                  "dtable",   "dsink",        "dgate",       "dprofiles", "dbank",
                                                  "dmixture", "dlog_kernels", "dtable_ahead"};

/* A problem. The inputs of `call` are the problem's own memory; absent terms are NULL. */
typedef struct terms_problem {
    mep_attention_reference_call call;
    double *dout;
    double *expected[RESULTS]; /* NULL: not a result of this problem */
} terms_problem;

static inline double *new_doubles(int64_t n)
{
    double *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    assert_non_null(p);
    return p;
}

static inline int64_t kv_heads_of(const mep_attention_reference_call *c)
{
    return c->kv_heads != 0 ? c->kv_heads : c->heads;
}

/* The number of values of each result. */
static inline int64_t result_size(const mep_attention_reference_call *c, int result)
{
    int64_t rows = c->batch * c->heads * c->queries, keys = c->batch * kv_heads_of(c) * c->keys;
    int64_t sizes[RESULTS] = {[OUT] = rows * c->head_dim,
                              [LSE] = rows,
                              [DQ] = rows * c->head_dim,
                              [DK] = keys * c->head_dim,
                              [DV] = keys * c->head_dim,
                              [DTABLE] = c->table != NULL ? c->heads * c->keys : 0,
                              [DSINK] = c->sink != NULL ? c->heads : 0,
                              [DGATE] = c->gate != NULL ? c->batch * c->heads * c->keys : 0,
                              [DPROFILES] = rows * c->rank,
                              [DBANK] = c->rank * c->extent,
                              [DMIXTURE] = rows * c->kernels,
                              [DLOG_KERNELS] = c->heads * c->kernels * c->keys,
                              [DTABLE_AHEAD] = c->table_ahead != NULL ? c->heads * c->keys : 0};
    return sizes[result];
}

static inline void solve_terms(terms_problem *p)
{
    mep_attention_reference_call *c = &p->call;
    for (int i = 0; i < RESULTS; i++) p->expected[i] = result_size(c, i) > 0 ? new_doubles(result_size(c, i)) : NULL;
    double **e = p->expected;
    c->out = e[OUT], c->lse = e[LSE];
    const mep_attention_reference_gradient g = {.dout = p->dout,
                                                .dq = e[DQ],
                                                .dk = e[DK],
                                                .dv = e[DV],
                                                .dtable = e[DTABLE],
                                                .dtable_ahead = e[DTABLE_AHEAD],
                                                .dgate = e[DGATE],
                                                .dprofiles = e[DPROFILES],
                                                .dbank = e[DBANK],
                                                .dmixture = e[DMIXTURE],
                                                .dlog_kernels = e[DLOG_KERNELS],
                                                .dsink = e[DSINK]};
    assert_int_equal(mep_attention_reference_forward(c), MEP_OK);
    assert_int_equal(mep_attention_reference_backward(c, &g), MEP_OK);
}

static inline void free_terms_problem(terms_problem *p)
{
    const double *inputs[] = {p->call.q,           p->call.k,       p->call.v,          p->call.table,
                              p->call.table_ahead, p->call.gate,    p->call.bank,       p->call.profiles,
                              p->call.sink,        p->call.mixture, p->call.log_kernels};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) free((void *)(uintptr_t)inputs[i]);
    free((void *)(uintptr_t)p->call.starts);
    free((void *)(uintptr_t)p->call.ends);
    free(p->dout);
    for (int i = 0; i < RESULTS; i++) free(p->expected[i]);
}

/* ---- Random problems ---- */

/* What a random problem has; 0: absent. */
typedef struct terms_shape {
    int64_t batch, heads, kv_heads, queries, keys, head_dim;
    int64_t window, rank, extent, kernels;
    int table, sink, segments;
    int gate;          /* 2: it falls by a million now and then */
    int bidirectional; /* 2: with other values ahead, 3: and a table of -inf from distance 5 on behind */
    double slope;      /* of the table and of the gate, per position */
} terms_shape;

static inline double *random_doubles(int64_t n, double size, const char *name)
{
    double *x = new_doubles(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(size * mep_random_normal(11, mep_random_stream(name), (uint64_t)i));
    return x;
}

/* Values of a type's precision, so that the reference and the kernels have the same inputs. */
static inline void round_values(double *x, int64_t n, mep_dtype dtype)
{
    for (int64_t i = 0; i < n && dtype == MEP_BFLOAT16; i++)
        x[i] = (double)mep_bf16_to_float(mep_bf16_from_float((float)x[i]));
}

static inline double *random_gate(const terms_shape *s)
{
    int64_t n = s->batch * s->heads * s->keys;
    double *gate = random_doubles(n, 1, "gate");
    for (int64_t i = 0; i < n; i++) {
        double fall = s->gate == 2 && i % 83 == 41 ? 1e6 : 0;
        gate[i] = (i % s->keys == 0 ? 0 : gate[i - 1]) - s->slope * fabs(gate[i]) - fall;
    }
    return gate;
}

/* log K_m,h(d) of an exponential, a slower exponential, .. , a constant. */
static inline double *random_log_kernels(const terms_shape *s)
{
    double *x = new_doubles(s->heads * s->kernels * s->keys);
    for (int64_t i = 0; i < s->heads * s->kernels * s->keys; i++) {
        int64_t h = i / s->keys / s->kernels, m = i / s->keys % s->kernels, d = i % s->keys;
        double rate = s->slope * (double)(s->kernels - 1 - m) / (double)(h + 1);
        x[i] = (double)(float)(-rate * (double)d);
    }
    return x;
}

/* A table that falls with the distance. */
static inline double *random_table(const terms_shape *s, const char *name)
{
    double *table = random_doubles(s->heads * s->keys, 0.5, name);
    for (int64_t i = 0; i < s->heads * s->keys; i++)
        table[i] = (double)(float)(table[i] - s->slope * (double)(i % s->keys));
    return table;
}

/* The ends of the segments that begin at `starts`; a quarter of padding after the odd sequences. */
static inline int64_t *ends_of(const terms_shape *s, const int64_t *starts)
{
    int64_t *ends = calloc((size_t)(s->batch * s->queries), sizeof *ends), n = s->queries;
    assert_non_null(ends);
    for (int64_t i = s->batch * n - 1; i >= 0; i--) {
        int next = (i + 1) % n == 0 || starts[i + 1] != starts[i];
        ends[i] = i / n % 2 == 1 ? n - n / 4 : next ? i % n + 1 : ends[i + 1];
    }
    return ends;
}

/* Documents of about 80 tokens packed into the even sequences, a third of padding before the odd ones. */
static inline int64_t *random_starts(const terms_shape *s)
{
    int64_t *starts = calloc((size_t)(s->batch * s->queries), sizeof *starts);
    assert_non_null(starts);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t position = 0, start = 0; position < s->keys; position++) {
            if (mep_random_uniform(12, mep_random_stream("starts"), (uint64_t)(b * s->keys + position)) < 0.0125)
                start = position;
            if (position >= s->keys - s->queries)
                starts[b * s->queries + position - (s->keys - s->queries)] = b % 2 == 0 ? start : s->keys / 3;
        }
    return starts;
}

static inline terms_problem random_terms(const terms_shape *s, mep_dtype dtype)
{
    int64_t rows = s->batch * s->heads * s->queries, kv = s->kv_heads != 0 ? s->kv_heads : s->heads;
    int64_t nq = rows * s->head_dim, nk = s->batch * kv * s->keys * s->head_dim;
    double *q = random_doubles(nq, 1, "q"), *k = random_doubles(nk, 1, "k"), *v = random_doubles(nk, 1, "v");
    double *dout = random_doubles(nq, 1, "dout");
    round_values(q, nq, dtype), round_values(k, nk, dtype), round_values(v, nk, dtype), round_values(dout, nq, dtype);
    terms_problem p = {.call = {.batch = s->batch,
                                .heads = s->heads,
                                .queries = s->queries,
                                .keys = s->keys,
                                .head_dim = s->head_dim,
                                .kv_heads = s->kv_heads,
                                .window = s->window,
                                .bidirectional = s->bidirectional > 0,
                                .q = q,
                                .k = k,
                                .v = v,
                                .rank = s->rank,
                                .extent = s->extent,
                                .kernels = s->kernels},
                       .dout = dout};
    if (s->table) p.call.table = random_table(s, "table");
    if (s->table && s->bidirectional >= 2) p.call.table_ahead = random_table(s, "table ahead");
    for (int64_t i = 0; s->bidirectional == 3 && i < s->heads * s->keys; i++)
        if (i % s->keys >= 5) ((double *)(uintptr_t)p.call.table)[i] = -INFINITY;
    if (s->gate) p.call.gate = random_gate(s);
    if (s->segments) p.call.starts = random_starts(s);
    if (s->segments && s->bidirectional) p.call.ends = ends_of(s, p.call.starts);
    if (s->sink) p.call.sink = random_doubles(s->heads, 2, "sink");
    if (s->rank > 0) {
        p.call.profiles = random_doubles(rows * s->rank, 0.5, "profiles");
        p.call.bank = random_doubles(s->rank * s->extent, 0.5, "bank");
    }
    if (s->kernels > 0) {
        p.call.mixture = random_doubles(rows * s->kernels, 1, "mixture");
        p.call.log_kernels = random_log_kernels(s);
    }
    return p;
}

/* ---- The fused kernels ---- */

/* How to run: type of the tensors, skipping, rows of a view apart from each other. */
typedef struct terms_run {
    mep_dtype dtype;
    int keep_far; /* 1: nothing is skipped */
    double tolerance;
} terms_run;

/* A tensor [batch, length, heads, width] of a type; the inputs come as [batch, heads, length, width]. */
static inline int64_t at_view(const mep_tensor_view *view, int64_t heads, int64_t length, int64_t width, int64_t i)
{
    int64_t c = i % width, l = i / width % length, h = i / width / length % heads, b = i / width / length / heads;
    return b * view->batch_stride + h * view->head_stride + l * view->token_stride + c;
}

static inline mep_tensor_view new_view(mep_dtype dtype, int64_t batch, int64_t heads, int64_t length, int64_t width,
                                       const double *from)
{
    int64_t row = width + 3;
    mep_tensor_view view = {calloc((size_t)(batch * heads * length * row), (size_t)mep_dtype_size(dtype)),
                            length * heads * row, row, heads * row};
    assert_non_null(view.data);
    for (int64_t i = 0; from != NULL && i < batch * heads * length * width; i++) {
        int64_t at = at_view(&view, heads, length, width, i);
        if (dtype == MEP_FLOAT32)
            ((float *)view.data)[at] = (float)from[i];
        else
            ((mep_bf16 *)view.data)[at] = mep_bf16_from_float((float)from[i]);
    }
    return view;
}

static inline double *read_view(mep_dtype dtype, const mep_tensor_view *view, int64_t batch, int64_t heads,
                                int64_t length, int64_t width)
{
    double *x = new_doubles(batch * heads * length * width);
    for (int64_t i = 0; i < batch * heads * length * width; i++) {
        int64_t at = at_view(view, heads, length, width, i);
        x[i] = dtype == MEP_FLOAT32 ? (double)((float *)view->data)[at]
                                    : (double)mep_bf16_to_float(((mep_bf16 *)view->data)[at]);
    }
    return x;
}

static inline float *floats_of(const double *x, int64_t n)
{
    float *y = calloc((size_t)(n > 0 ? n : 1), sizeof *y);
    assert_non_null(y);
    for (int64_t i = 0; x != NULL && i < n; i++) y[i] = (float)x[i];
    return y;
}

static inline mep_attention *terms_plan(const mep_attention_reference_call *c, const terms_run *how)
{
    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = c->heads, settings.kv_heads = c->kv_heads, settings.head_dim = c->head_dim;
    settings.max_length = c->keys, settings.dtype = how->dtype, settings.scale = c->scale;
    settings.bidirectional = c->bidirectional;
    settings.skip_far = !how->keep_far, settings.tolerance = how->tolerance;
    mep_attention *plan;
    assert_int_equal(mep_attention_create(&plan, &settings), MEP_OK);
    float *table = floats_of(c->table, c->heads * c->keys), *ahead = floats_of(c->table_ahead, c->heads * c->keys),
          *sink = floats_of(c->sink, c->heads), *bank = floats_of(c->bank, c->rank * c->extent),
          *log_kernels = floats_of(c->log_kernels, c->heads * c->kernels * c->keys);
    const mep_attention_terms terms = {.table = c->table != NULL ? table : NULL,
                                       .table_length = c->keys,
                                       .table_ahead = c->table_ahead != NULL ? ahead : NULL,
                                       .window = c->window,
                                       .sink = c->sink != NULL ? sink : NULL,
                                       .bank = c->rank > 0 ? bank : NULL,
                                       .rank = c->rank,
                                       .extent = c->extent,
                                       .log_kernels = c->kernels > 0 ? log_kernels : NULL,
                                       .kernels = c->kernels,
                                       .log_kernels_length = c->keys};
    assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
    free(table), free(ahead), free(sink), free(bank), free(log_kernels);
    return plan;
}

/* The results of a problem, which are the caller's; *fraction: of the blocks that were computed. fire and its sums may
 * be NULL. */
static inline void run_terms_with(const terms_problem *p, const terms_run *how, const mep_fire *fire, double *sums,
                                  double *found[RESULTS], double *fraction)
{
    const mep_attention_reference_call *c = &p->call;
    int64_t B = c->batch, H = c->heads, K = kv_heads_of(c), Q = c->queries, L = c->keys, D = c->head_dim;
    mep_dtype type = how->dtype;
    mep_attention *plan = terms_plan(c, how);
    if (fire != NULL) assert_int_equal(mep_attention_set_fire(plan, fire, sums), MEP_OK);
    for (int i = 0; i < RESULTS; i++) found[i] = result_size(c, i) > 0 ? new_doubles(result_size(c, i)) : NULL;
    float *lse = floats_of(NULL, B * H * Q);
    mep_attention_call call = {.batch = B,
                               .queries = Q,
                               .keys = L,
                               .q = new_view(type, B, H, Q, D, c->q),
                               .k = new_view(type, B, K, L, D, c->k),
                               .v = new_view(type, B, K, L, D, c->v),
                               .out = new_view(type, B, H, Q, D, NULL),
                               .lse = lse,
                               .starts = c->starts,
                               .ends = c->ends,
                               .gate = c->gate};
    mep_attention_gradient g = {.dout = new_view(type, B, H, Q, D, p->dout),
                                .dq = new_view(type, B, H, Q, D, NULL),
                                .dk = new_view(type, B, K, L, D, NULL),
                                .dv = new_view(type, B, K, L, D, NULL),
                                .dtable = found[DTABLE],
                                .dtable_ahead = found[DTABLE_AHEAD],
                                .dsink = found[DSINK],
                                .dgate = found[DGATE],
                                .dbank = found[DBANK],
                                .dlog_kernels = found[DLOG_KERNELS]};
    if (c->rank > 0) {
        call.profiles = new_view(MEP_FLOAT32, B, H, Q, c->rank, c->profiles);
        g.dprofiles = new_view(MEP_FLOAT32, B, H, Q, c->rank, NULL);
    }
    if (c->kernels > 0) {
        call.mixture = new_view(MEP_FLOAT32, B, H, Q, c->kernels, c->mixture);
        g.dmixture = new_view(MEP_FLOAT32, B, H, Q, c->kernels, NULL);
    }
    assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
    if (fraction != NULL) *fraction = mep_attention_computed_fraction(plan);
    assert_int_equal(mep_attention_backward(plan, &call, &g), MEP_OK);
    struct {
        int result;
        mep_dtype dtype;
        mep_tensor_view *view;
        int64_t heads, length, width;
    } views[] = {{OUT, type, &call.out, H, Q, D},
                 {DQ, type, &g.dq, H, Q, D},
                 {DK, type, &g.dk, K, L, D},
                 {DV, type, &g.dv, K, L, D},
                 {DPROFILES, MEP_FLOAT32, &g.dprofiles, H, Q, c->rank},
                 {DMIXTURE, MEP_FLOAT32, &g.dmixture, H, Q, c->kernels}};
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        if (views[i].view->data == NULL) continue;
        free(found[views[i].result]);
        found[views[i].result] =
            read_view(views[i].dtype, views[i].view, B, views[i].heads, views[i].length, views[i].width);
        free(views[i].view->data);
    }
    for (int64_t i = 0; i < B * H * Q; i++) found[LSE][i] = (double)lse[i];
    free(lse), free(call.q.data), free(call.k.data), free(call.v.data), free(g.dout.data);
    free(call.profiles.data), free(call.mixture.data);
    mep_attention_destroy(&plan);
}

static inline void run_terms(const terms_problem *p, const terms_run *how, double *found[RESULTS], double *fraction)
{
    run_terms_with(p, how, NULL, NULL, found, fraction);
}

static inline void free_results(double *found[RESULTS])
{
    for (int i = 0; i < RESULTS; i++) free(found[i]);
}

/* Forward bits of two runs are compared with memcmp through these. */
static inline void assert_same_results(const terms_problem *p, double *a[RESULTS], double *b[RESULTS], int results)
{
    for (int i = 0; i < results; i++)
        if (a[i] != NULL && memcmp(a[i], b[i], (size_t)result_size(&p->call, i) * sizeof(double)) != 0)
            fail_msg("%s differs", result_names[i]);
}

#endif
