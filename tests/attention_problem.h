/* SPDX-License-Identifier: MIT */
/*
 * What the tests of attention share: a problem in float64 with the reference's answers, the fused kernels run on it in
 * padded tensors between canaries, and the bounds of their difference. It tests nothing itself.
 */
#ifndef MEP_TESTS_ATTENTION_PROBLEM_H
#define MEP_TESTS_ATTENTION_PROBLEM_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/random.h"
#include "mep/attention.h"
#include "mep/bias.h"

static int64_t checks;      /* values compared */
static int rounds_products; /* set where what is run multiplies in bfloat16, whatever the CPU level */

/* A problem in float64 with everything the reference gives. */
typedef struct problem {
    int64_t batch, heads, queries, keys, head_dim;
    double scale; /* as in mep_attention_settings: 0 is 1 / sqrt(head_dim) */
    double *q, *k, *v, *dout, *bias, *out, *lse, *dq, *dk, *dv, *dbias;
    double *out_size, *dv_size; /* sum of P |v|, of P |dout|: the sizes of the terms of out and dv */
} problem;

static inline double *doubles(int64_t n)
{
    double *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    assert_non_null(p);
    return p;
}

static inline int64_t query_values(const problem *p)
{
    return p->batch * p->heads * p->queries * p->head_dim;
}

static inline int64_t key_values(const problem *p)
{
    return p->batch * p->heads * p->keys * p->head_dim;
}

static inline void random_fill(double *x, int64_t n, double size, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(size * mep_random_normal(7, mep_random_stream(name), (uint64_t)i));
}

static inline problem allocate_problem(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t head_dim)
{
    problem p = {.batch = batch, .heads = heads, .queries = queries, .keys = keys, .head_dim = head_dim};
    double **q_sized[] = {&p.q, &p.dout, &p.out, &p.dq, &p.out_size};
    double **k_sized[] = {&p.k, &p.v, &p.dk, &p.dv, &p.dv_size};
    for (int i = 0; i < 5; i++) *q_sized[i] = doubles(query_values(&p)), *k_sized[i] = doubles(key_values(&p));
    p.lse = doubles(batch * heads * queries);
    p.bias = doubles(heads * keys);
    p.dbias = doubles(heads * keys);
    return p;
}

static inline void free_problem(problem *p)
{
    double *all[] = {p->q,  p->k,  p->v,  p->dout,  p->bias,     p->out,    p->lse,
                     p->dq, p->dk, p->dv, p->dbias, p->out_size, p->dv_size};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* The reference's call: inputs, out and lse of the problem. */
static inline mep_attention_reference_call reference_call(const problem *p)
{
    return (mep_attention_reference_call){.batch = p->batch,
                                          .heads = p->heads,
                                          .queries = p->queries,
                                          .keys = p->keys,
                                          .head_dim = p->head_dim,
                                          .scale = p->scale,
                                          .q = p->q,
                                          .k = p->k,
                                          .v = p->v,
                                          .table = p->bias,
                                          .out = p->out,
                                          .lse = p->lse};
}

static inline void solve(problem *p)
{
    const mep_attention_reference_call call = reference_call(p);
    const mep_attention_reference_gradient gradient = {
        .dout = p->dout, .dq = p->dq, .dk = p->dk, .dv = p->dv, .dtable = p->dbias};
    assert_int_equal(mep_attention_reference_forward(&call), MEP_OK);
    assert_int_equal(mep_attention_reference_backward(&call, &gradient), MEP_OK);
}

/* out_size and dv_size: the reference on the sizes of v, and of dout. */
static inline void solve_sizes(problem *p)
{
    int64_t queries = query_values(p), keys = key_values(p);
    double *v = doubles(keys), *dout = doubles(queries), *dq = doubles(queries), *dk = doubles(keys);
    for (int64_t i = 0; i < keys; i++) v[i] = fabs(p->v[i]);
    for (int64_t i = 0; i < queries; i++) dout[i] = fabs(p->dout[i]);
    mep_attention_reference_call call = reference_call(p);
    call.v = v, call.out = p->out_size, call.lse = NULL;
    mep_attention_reference_forward(&call);
    call.v = p->v;
    const mep_attention_reference_gradient gradient = {.dout = dout, .dq = dq, .dk = dk, .dv = p->dv_size};
    mep_attention_reference_backward(&call, &gradient);
    free(v), free(dout), free(dq), free(dk);
}

/* Random q, k of the given size, v and dout of size 1, and the bias of a spec (NULL: none). */
static inline problem random_problem(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t head_dim,
                                     double size, const char *spec)
{
    problem p = allocate_problem(batch, heads, queries, keys, head_dim);
    random_fill(p.q, query_values(&p), size, "q");
    random_fill(p.k, key_values(&p), size, "k");
    random_fill(p.v, key_values(&p), 1, "v");
    random_fill(p.dout, query_values(&p), 1, "dout");
    if (spec != NULL) {
        mep_bias *bias;
        float *table = calloc((size_t)(heads * keys), sizeof *table);
        assert_int_equal(mep_bias_create(&bias, spec, heads, head_dim), MEP_OK);
        assert_int_equal(mep_bias_table(bias, keys, table), MEP_OK);
        for (int64_t i = 0; i < heads * keys; i++) p.bias[i] = (double)table[i];
        mep_bias_destroy(&bias);
        free(table);
    }
    return p;
}

/* ---- Tensors of the fused kernels ---- */

/* A tensor in the caller's type, [batch, length, heads, head_dim + gap], surrounded by canaries. */
enum { CANARY = 64 };
static int64_t tensor_gap = 3;
typedef struct tensor {
    mep_dtype dtype;
    int64_t batch, heads, length, head_dim, row, count;
    char *memory;
    mep_tensor_view view;
} tensor;

/* Place of element i of a [batch, heads, length, head_dim] array. */
static inline int64_t tensor_place(const tensor *t, int64_t i)
{
    int64_t row = i / t->head_dim, c = i - row * t->head_dim, head = row / t->length, l = row - head * t->length;
    int64_t b = head / t->heads, h = head - b * t->heads;
    return b * t->view.batch_stride + h * t->view.head_stride + l * t->view.token_stride + c;
}

static inline tensor make_tensor(mep_dtype dtype, int64_t batch, int64_t heads, int64_t length, int64_t head_dim,
                                 const double *from)
{
    tensor t = {dtype, batch, heads, length, head_dim, head_dim + tensor_gap, 0, NULL, {0}};
    int64_t size = mep_dtype_size(dtype);
    t.count = batch * length * heads * t.row;
    t.memory = malloc((size_t)(t.count * size + 2 * CANARY));
    assert_non_null(t.memory);
    memset(t.memory, 0x5A, (size_t)(t.count * size + 2 * CANARY));
    t.view = (mep_tensor_view){t.memory + CANARY, length * heads * t.row, t.row, heads * t.row};
    for (int64_t i = 0; from != NULL && i < batch * heads * length * head_dim; i++) {
        if (dtype == MEP_FLOAT32)
            ((float *)t.view.data)[tensor_place(&t, i)] = (float)from[i];
        else
            ((mep_bf16 *)t.view.data)[tensor_place(&t, i)] = mep_bf16_from_float((float)from[i]);
    }
    return t;
}

static inline double tensor_at(const tensor *t, int64_t i)
{
    int64_t at = tensor_place(t, i);
    return t->dtype == MEP_FLOAT32 ? (double)((float *)t->view.data)[at]
                                   : (double)mep_bf16_to_float(((mep_bf16 *)t->view.data)[at]);
}

/* Canaries, and the gaps between rows, are as they were. */
static inline void check_canaries(const tensor *t)
{
    int64_t size = mep_dtype_size(t->dtype), bytes = t->count * size;
    for (int64_t i = 0; i < CANARY; i++)
        if (t->memory[i] != 0x5A || t->memory[CANARY + bytes + i] != 0x5A)
            fail_msg("memory next to a tensor was written");
    for (int64_t r = 0; r < t->count / t->row; r++)
        for (int64_t i = t->head_dim * size; i < t->row * size; i++)
            if (t->memory[CANARY + r * t->row * size + i] != 0x5A)
                fail_msg("the gap after row %lld was written", (long long)r);
}

/* Results of the fused kernels on a problem. */
typedef struct result {
    tensor q, k, v, dout, out, dq, dk, dv;
    float *lse;
    double *dbias, fraction;
} result;

/* Forward and backward with the CPU level in force. The gradient of the bias is added to a table of ones, taken away
 * again. */
static inline result run(const problem *p, mep_dtype dtype, int skip_far, double tolerance)
{
    int64_t table_size = p->heads * p->keys;
    result r = {.lse = calloc((size_t)(p->batch * p->heads * p->queries), sizeof(float)), .dbias = doubles(table_size)};
    const double *inputs[] = {p->q, p->dout, NULL, NULL, p->k, p->v, NULL, NULL};
    tensor *tensors[] = {&r.q, &r.dout, &r.out, &r.dq, &r.k, &r.v, &r.dk, &r.dv};
    for (int i = 0; i < 8; i++)
        *tensors[i] = make_tensor(dtype, p->batch, p->heads, i < 4 ? p->queries : p->keys, p->head_dim, inputs[i]);
    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = p->heads, settings.head_dim = p->head_dim, settings.max_length = p->keys, settings.dtype = dtype;
    settings.scale = p->scale, settings.skip_far = skip_far, settings.tolerance = tolerance;
    mep_attention *plan;
    assert_int_equal(mep_attention_create(&plan, &settings), MEP_OK);
    float *table = calloc((size_t)table_size, sizeof *table);
    for (int64_t i = 0; i < table_size; i++) table[i] = (float)p->bias[i], r.dbias[i] = 1;
    const mep_attention_terms terms = {.table = table, .table_length = p->keys};
    const mep_attention_call call = {.batch = p->batch,
                                     .queries = p->queries,
                                     .keys = p->keys,
                                     .q = r.q.view,
                                     .k = r.k.view,
                                     .v = r.v.view,
                                     .out = r.out.view,
                                     .lse = r.lse};
    const mep_attention_gradient gradient = {
        .dout = r.dout.view, .dq = r.dq.view, .dk = r.dk.view, .dv = r.dv.view, .dtable = r.dbias};
    assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
    assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
    r.fraction = mep_attention_computed_fraction(plan);
    assert_int_equal(mep_attention_backward(plan, &call, &gradient), MEP_OK);
    for (int64_t i = 0; i < table_size; i++) r.dbias[i] -= 1;
    mep_attention_destroy(&plan);
    assert_null(plan);
    free(table);
    return r;
}

static inline void free_result(result *r)
{
    tensor *tensors[] = {&r->q, &r->dout, &r->out, &r->dq, &r->k, &r->v, &r->dk, &r->dv};
    for (int i = 0; i < 8; i++) free(tensors[i]->memory);
    free(r->lse);
    free(r->dbias);
}

/* ---- Bounds ---- */

static inline double largest(const double *x, int64_t n)
{
    double m = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, fabs(x[i]));
    return m;
}

/* Length of the longest row [head_dim]. */
static inline double longest(const double *x, int64_t rows, int64_t head_dim)
{
    double m = 0;
    for (int64_t r = 0; r < rows; r++) {
        double square = 0;
        for (int64_t c = 0; c < head_dim; c++) square += x[r * head_dim + c] * x[r * head_dim + c];
        m = fmax(m, sqrt(square));
    }
    return m;
}

/*
 * How far results may be off: |found - expected| <= each |expected| + whole max|expected| + terms T, where T is the
 * size of the terms that a result is the sum of and that may cancel.
 *
 * float32: the rounding of a dot product grows like sqrt(terms) eps times its size, and an error of a score enters the
 * weights unchanged. bfloat16 (its inputs rounded beforehand): results are rounded once more, and the gradients see out
 * rounded. Where the arithmetic is bfloat16 too, each weight P and each dS is rounded on its way into a product.
 */
typedef struct bounds {
    double each, whole, terms;
    double score_gradient; /* size of the terms of dP - delta: |dout| |v| */
    double delta;          /* error of delta = dout . out from out in bfloat16 */
    double scale, q, k;    /* the scale, largest of |q|, |k| */
    double weights;        /* error of a weight, a part of it: 0 unless the arithmetic is bfloat16 */
} bounds;

static inline bounds bounds_of(const problem *p, mep_dtype dtype)
{
    const double eps = 6e-8, half_ulp = dtype == MEP_BFLOAT16 ? 1.01 / 256 : 0; /* of 8 bits */
    int64_t rows = p->batch * p->heads * p->queries, key_rows = p->batch * p->heads * p->keys;
    double scale = p->scale != 0 ? fabs(p->scale) : 1 / sqrt((double)p->head_dim);
    double score = scale * longest(p->q, rows, p->head_dim) * longest(p->k, key_rows, p->head_dim);
    bounds b = {
        .each = half_ulp, .whole = eps * (10 + 2 * score + sqrt((double)p->keys)), .terms = 2 * eps, .scale = scale};
    double dout = longest(p->dout, rows, p->head_dim);
    b.score_gradient = dout * longest(p->v, key_rows, p->head_dim);
    b.delta = half_ulp * dout * longest(p->out, rows, p->head_dim);
    b.q = largest(p->q, query_values(p));
    b.k = largest(p->k, key_values(p));
    b.weights = rounds_products || mep_cpu_level_get() >= MEP_CPU_AVX512_BF16 ? half_ulp : 0;
    return b;
}

static inline void close_values(const char *what, const bounds *b, int64_t i, double found, double expected,
                                double bound)
{
    bound += b->each * fabs(expected);
    if (!(fabs(found - expected) <= bound))
        fail_msg("%s[%lld] is %.9g, expected %.9g (off by %.3g, bound %.3g)", what, (long long)i, found, expected,
                 fabs(found - expected), bound);
    checks++;
}

/* A tensor and what was expected of it; `other`, and the error of weights times `sizes` (may be NULL), are added to the
 * bound. */
static inline void compare(const char *what, const bounds *b, const tensor *t, const double *expected, double other,
                           const double *sizes)
{
    int64_t n = t->batch * t->heads * t->length * t->head_dim;
    double bound = b->whole * largest(expected, n) + other + 1e-30;
    for (int64_t i = 0; i < n; i++)
        close_values(what, b, i, tensor_at(t, i), expected[i], bound + (sizes != NULL ? b->weights * sizes[i] : 0));
    check_canaries(t);
}

/* All results of the fused kernels against the problem's answers. */
static inline void compare_result(const problem *p, const result *r, mep_dtype dtype)
{
    bounds b = bounds_of(p, dtype);
    /* errors of the many queries that a key's gradient sums are independent */
    double many = sqrt((double)p->queries), gradient = (b.terms + b.weights) * b.score_gradient;
    int64_t rows = p->batch * p->heads * p->queries, table = p->heads * p->keys;
    compare("out", &b, &r->out, p->out, b.terms * largest(p->v, key_values(p)), p->out_size);
    compare("dv", &b, &r->dv, p->dv, b.terms * largest(p->dout, query_values(p)), p->dv_size);
    compare("dq", &b, &r->dq, p->dq, b.scale * b.k * (gradient + b.delta), NULL);
    compare("dk", &b, &r->dk, p->dk, b.scale * b.q * (gradient + b.delta) * many, NULL);
    b.each = 0; /* these two are never bfloat16 */
    double bound = b.whole * (largest(p->lse, rows) + 1);
    for (int64_t i = 0; i < rows; i++) close_values("lse", &b, i, (double)r->lse[i], p->lse[i], bound);
    bound = b.whole * largest(p->dbias, table) + (gradient + b.delta) * many * sqrt((double)p->batch);
    for (int64_t i = 0; i < table; i++) close_values("dbias", &b, i, r->dbias[i], p->dbias[i], bound);
}

/* Force a CPU level; tests leave the highest in force, since they go through them in rising order. */
static inline void set_level(int level)
{
    assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
}

/* Solve the problem, with its inputs rounded to the type first, and compare at every CPU level. */
static inline void check_problem(problem *p, mep_dtype dtype)
{
    double *inputs[] = {p->q, p->dout, p->k, p->v};
    for (int n = 0; n < 4 && dtype == MEP_BFLOAT16; n++)
        for (int64_t i = 0; i < (n < 2 ? query_values(p) : key_values(p)); i++)
            inputs[n][i] = (double)mep_bf16_to_float(mep_bf16_from_float((float)inputs[n][i]));
    solve(p);
    if (dtype == MEP_BFLOAT16) solve_sizes(p);
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        result r = run(p, dtype, 1, 0);
        compare_result(p, &r, dtype);
        free_result(&r);
    }
}

static inline int same_bits(const tensor *a, const tensor *b)
{
    return memcmp(a->memory, b->memory, (size_t)(a->count * mep_dtype_size(a->dtype) + 2 * CANARY)) == 0;
}

static inline void assert_same(const result *a, const result *b, const problem *p)
{
    assert_true(same_bits(&a->out, &b->out));
    assert_true(same_bits(&a->dq, &b->dq));
    assert_true(same_bits(&a->dk, &b->dk));
    assert_true(same_bits(&a->dv, &b->dv));
    assert_memory_equal(a->lse, b->lse, (size_t)(p->batch * p->heads * p->queries) * sizeof(float));
    assert_memory_equal(a->dbias, b->dbias, (size_t)(p->heads * p->keys) * sizeof(double));
    checks++;
}

#endif
