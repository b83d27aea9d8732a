/* SPDX-License-Identifier: MIT */
/*
 * Fused attention against the float64 reference, under every CPU level: random and awkward shapes, strides, both types, the
 * golden files, exact skipping, thread counts, chunks, and finite differences of the reference itself.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention/kernels.h"
#include "base/bf16.h"
#include "base/cpu.h"
#include "base/random.h"
#include "golden.h"
#include "io/safetensors.h"
#include "mep/attention.h"
#include "mep/bias.h"

static int64_t checks;

/* A problem in float64 with everything the reference gives. */
typedef struct problem {
    int64_t batch, heads, queries, keys, head_dim;
    double *q, *k, *v, *dout, *bias, *out, *lse, *dq, *dk, *dv, *dbias;
} problem;

static double *doubles(int64_t n)
{
    double *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    assert_non_null(p);
    return p;
}

static void random_fill(double *x, int64_t n, double size, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(size * mep_random_normal(7, mep_random_stream(name), (uint64_t)i));
}

static problem allocate_problem(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t head_dim)
{
    problem p = {.batch = batch, .heads = heads, .queries = queries, .keys = keys, .head_dim = head_dim};
    int64_t nq = batch * heads * queries * head_dim, nk = batch * heads * keys * head_dim;
    double **q_sized[] = {&p.q, &p.dout, &p.out, &p.dq}, **k_sized[] = {&p.k, &p.v, &p.dk, &p.dv};
    for (int i = 0; i < 4; i++) *q_sized[i] = doubles(nq), *k_sized[i] = doubles(nk);
    p.lse = doubles(batch * heads * queries);
    p.bias = doubles(heads * keys);
    p.dbias = doubles(heads * keys);
    return p;
}

static void solve(problem *p)
{
    assert_int_equal(mep_attention_reference_forward(p->batch, p->heads, p->queries, p->keys, p->head_dim, 0, p->bias, p->q,
                                                     p->k, p->v, p->out, p->lse), MEP_OK);
    assert_int_equal(mep_attention_reference_backward(p->batch, p->heads, p->queries, p->keys, p->head_dim, 0, p->bias, p->q,
                                                      p->k, p->v, p->dout, p->dq, p->dk, p->dv, p->dbias), MEP_OK);
}

static void free_problem(problem *p)
{
    double *all[] = {p->q, p->k, p->v, p->dout, p->bias, p->out, p->lse, p->dq, p->dk, p->dv, p->dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static problem random_problem(int64_t batch, int64_t heads, int64_t queries, int64_t keys, int64_t head_dim, double size,
                              const char *spec)
{
    problem p = allocate_problem(batch, heads, queries, keys, head_dim);
    int64_t nq = batch * heads * queries * head_dim, nk = batch * heads * keys * head_dim;
    random_fill(p.q, nq, size, "q");
    random_fill(p.k, nk, size, "k");
    random_fill(p.v, nk, 1, "v");
    random_fill(p.dout, nq, 1, "dout");
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

/* A tensor in the caller's type, [batch, length, heads, head_dim + pad], surrounded by canaries. */
enum { CANARY = 64 };
typedef struct tensor {
    mep_dtype dtype;
    int64_t batch, heads, length, head_dim, row, count;
    char *memory;
    mep_tensor_view view;
} tensor;

static tensor make_tensor(mep_dtype dtype, int64_t batch, int64_t heads, int64_t length, int64_t head_dim, const double *from)
{
    tensor t = {dtype, batch, heads, length, head_dim, head_dim + 3, 0, NULL, {0}};
    int64_t size = mep_dtype_size(dtype);
    t.count = batch * length * heads * t.row;
    t.memory = malloc((size_t)(t.count * size + 2 * CANARY));
    memset(t.memory, 0x5A, (size_t)(t.count * size + 2 * CANARY));
    t.view = (mep_tensor_view){t.memory + CANARY, length * heads * t.row, t.row, heads * t.row};
    for (int64_t i = 0; from != NULL && i < batch * heads * length * head_dim; i++) {
        int64_t c = i % head_dim, l = i / head_dim % length, h = i / head_dim / length % heads, b = i / head_dim / length / heads;
        int64_t at = b * t.view.batch_stride + h * t.view.head_stride + l * t.view.token_stride + c;
        if (dtype == MEP_FLOAT32)
            ((float *)t.view.data)[at] = (float)from[i];
        else
            ((mep_bf16 *)t.view.data)[at] = mep_bf16_from_float((float)from[i]);
    }
    return t;
}

static double tensor_at(const tensor *t, int64_t i)
{
    int64_t c = i % t->head_dim, l = i / t->head_dim % t->length, h = i / t->head_dim / t->length % t->heads;
    int64_t b = i / t->head_dim / t->length / t->heads;
    int64_t at = b * t->view.batch_stride + h * t->view.head_stride + l * t->view.token_stride + c;
    return t->dtype == MEP_FLOAT32 ? (double)((float *)t->view.data)[at] : (double)mep_bf16_to_float(((mep_bf16 *)t->view.data)[at]);
}

/* Canaries, and the gaps between rows, are as they were. */
static void check_canaries(const tensor *t)
{
    int64_t size = mep_dtype_size(t->dtype), bytes = t->count * size;
    for (int64_t i = 0; i < CANARY; i++) {
        assert_int_equal(t->memory[i], 0x5A);
        assert_int_equal(t->memory[CANARY + bytes + i], 0x5A);
    }
    for (int64_t r = 0; r < t->count / t->row; r++)
        for (int64_t i = t->head_dim * size; i < t->row * size; i++)
            assert_int_equal(t->memory[CANARY + r * t->row * size + i], 0x5A);
}

static double largest(const double *x, int64_t n)
{
    double m = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, fabs(x[i]));
    return m;
}

/* Errors of a tensor stay below tolerance times the largest value. */
static void compare(const char *what, const tensor *t, const double *expected, double tolerance)
{
    int64_t n = t->batch * t->heads * t->length * t->head_dim;
    double bound = tolerance * (largest(expected, n) + 1e-6);
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(tensor_at(t, i) - expected[i]);
        if (!(error <= bound))
            fail_msg("%s[%lld] is %.9g, expected %.9g (bound %.3g)", what, (long long)i, tensor_at(t, i), expected[i], bound);
        checks++;
    }
    check_canaries(t);
}

/* Results of the fused kernels on a problem. */
typedef struct result {
    tensor q, k, v, dout, out, dq, dk, dv;
    float *lse;
    double *dbias, share;
} result;

static result run(const problem *p, mep_dtype dtype, int skip_far, double tolerance)
{
    result r = {.lse = calloc((size_t)(p->batch * p->heads * p->queries), sizeof(float)), .dbias = doubles(p->heads * p->keys)};
    const double *inputs[] = {p->q, p->dout, NULL, NULL, p->k, p->v, NULL, NULL};
    tensor *tensors[] = {&r.q, &r.dout, &r.out, &r.dq, &r.k, &r.v, &r.dk, &r.dv};
    for (int i = 0; i < 8; i++)
        *tensors[i] = make_tensor(dtype, p->batch, p->heads, i < 4 ? p->queries : p->keys, p->head_dim, inputs[i]);
    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = p->heads, settings.head_dim = p->head_dim, settings.max_length = p->keys, settings.dtype = dtype;
    settings.skip_far = skip_far, settings.tolerance = tolerance;
    mep_attention *plan;
    assert_int_equal(mep_attention_create(&plan, &settings), MEP_OK);
    float *table = calloc((size_t)(p->heads * p->keys), sizeof *table);
    for (int64_t i = 0; i < p->heads * p->keys; i++) table[i] = (float)p->bias[i];
    assert_int_equal(mep_attention_set_bias(plan, table, p->keys), MEP_OK);
    assert_int_equal(mep_attention_forward(plan, p->batch, p->queries, p->keys, r.q.view, r.k.view, r.v.view, r.out.view, r.lse), MEP_OK);
    r.share = mep_attention_computed_share(plan);
    assert_int_equal(mep_attention_backward(plan, p->batch, p->queries, p->keys, r.q.view, r.k.view, r.v.view, r.out.view, r.lse,
                                            r.dout.view, r.dq.view, r.dk.view, r.dv.view, r.dbias), MEP_OK);
    mep_attention_destroy(&plan);
    assert_null(plan);
    free(table);
    return r;
}

static void free_result(result *r)
{
    tensor *tensors[] = {&r->q, &r->dout, &r->out, &r->dq, &r->k, &r->v, &r->dk, &r->dv};
    for (int i = 0; i < 8; i++) free(tensors[i]->memory);
    free(r->lse);
    free(r->dbias);
}

/* The float32 bound: rounding of a dot product grows like sqrt(terms) eps times its magnitude, and an error of a score enters
 * the weights unchanged. eps of bfloat16 covers its rounded inputs and outputs. */
static double tolerance_of(const problem *p, mep_dtype dtype, double size)
{
    double eps = dtype == MEP_FLOAT32 ? 6e-8 : 4e-3;
    double score = size * size * sqrt((double)p->head_dim) + 1;
    return eps * (8 + 2 * score + sqrt((double)p->keys));
}

static void check_problem(problem *p, mep_dtype dtype, double size)
{
    solve(p);
    double tolerance = tolerance_of(p, dtype, size);
    result r = run(p, dtype, 1, 0);
    compare("out", &r.out, p->out, tolerance);
    compare("dq", &r.dq, p->dq, tolerance);
    compare("dk", &r.dk, p->dk, tolerance);
    compare("dv", &r.dv, p->dv, tolerance);
    double lse_bound = tolerance * (largest(p->lse, p->batch * p->heads * p->queries) + 1);
    for (int64_t i = 0; i < p->batch * p->heads * p->queries; i++)
        if (!(fabs((double)r.lse[i] - p->lse[i]) <= lse_bound)) fail_msg("lse[%lld]: %g, expected %g", (long long)i, (double)r.lse[i], p->lse[i]);
    double bias_bound = tolerance * (largest(p->dbias, p->heads * p->keys) + 1);
    for (int64_t i = 0; i < p->heads * p->keys; i++)
        if (!(fabs(r.dbias[i] - p->dbias[i]) <= bias_bound))
            fail_msg("dbias[%lld]: %g, expected %g (bound %g)", (long long)i, r.dbias[i], p->dbias[i], bias_bound);
    free_result(&r);
}

/* A level's file is compiled for that level: its vectors are that wide. */
static void test_levels(void **state)
{
    (void)state;
    static const int lanes[] = {4, 8, 16, 16};
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++)
        assert_int_equal(mep_attention_kernels_for((mep_cpu_level)level)->lanes, lanes[level]);
}

static void for_every_level(void (*test)(void))
{
    mep_cpu_level highest = mep_cpu_level_detected();
    for (int level = 0; level <= (int)highest; level++) {
        assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
        int64_t before = checks;
        test();
        assert_true(checks > before);
    }
    mep_cpu_level_set(highest);
}

static void shapes(void)
{
    static const int64_t sizes[][5] = {{1, 1, 1, 1, 1}, {2, 3, 7, 7, 5}, {1, 2, 64, 64, 16}, {1, 2, 65, 65, 64}, {2, 2, 130, 130, 32},
                                       {1, 3, 9, 200, 24}, {1, 2, 100, 163, 80}, {2, 1, 3, 130, 48}, {1, 1, 1, 257, 64},
                                       {1, 1, 70, 70, 128}, {1, 2, 5, 5, 96}, {1, 1, 64, 96, 64}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int spec = 0; spec < 3; spec++)
            for (int dtype = 0; dtype < 2; dtype++) {
                static const char *const specs[] = {NULL, "mep", "mep_param"};
                const int64_t *n = sizes[i];
                problem p = random_problem(n[0], n[1], n[2], n[3], n[4], 1, specs[spec]);
                check_problem(&p, (mep_dtype)dtype, 1);
                free_problem(&p);
            }
}

static void test_shapes(void **state)
{
    (void)state;
    for_every_level(shapes);
}

/* Zero, equal, huge and tiny inputs. */
static void adversarial(void)
{
    static const double sizes[] = {0, 1e-20, 30};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        problem p = random_problem(1, 2, 90, 150, 32, sizes[i] > 1 ? 3 : sizes[i], "alibi");
        check_problem(&p, MEP_FLOAT32, sizes[i] > 1 ? 3 : sizes[i]);
        free_problem(&p);
    }
}

static void test_adversarial(void **state)
{
    (void)state;
    for_every_level(adversarial);
}

static int same_bits(const tensor *a, const tensor *b)
{
    return memcmp(a->memory, b->memory, (size_t)(a->count * mep_dtype_size(a->dtype) + 2 * CANARY)) == 0;
}

static void assert_same(const result *a, const result *b, const problem *p)
{
    assert_true(same_bits(&a->out, &b->out));
    assert_true(same_bits(&a->dq, &b->dq));
    assert_true(same_bits(&a->dk, &b->dk));
    assert_true(same_bits(&a->dv, &b->dv));
    assert_memory_equal(a->lse, b->lse, (size_t)(p->batch * p->heads * p->queries) * sizeof(float));
    assert_memory_equal(a->dbias, b->dbias, (size_t)(p->heads * p->keys) * sizeof(double));
    checks++;
}

/* Skipping changes no bit; and it does skip. */
static void skipping(void)
{
    static const char *const specs[] = {"mep", "alibi", "mep_param", "gauss", "exp + t5"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (int dtype = 0; dtype < 2; dtype++) {
            problem p = random_problem(1, 4, 400, 2000, 32, 1, specs[i]);
            result with = run(&p, (mep_dtype)dtype, 1, 0), without = run(&p, (mep_dtype)dtype, 0, 0);
            assert_same(&with, &without, &p);
            assert_true(without.share == 1);
            if (i == 0 || i == 1 || i == 3) assert_true(with.share < 0.95);
            free_result(&with);
            free_result(&without);
            free_problem(&p);
        }
}

static void test_skipping(void **state)
{
    (void)state;
    for_every_level(skipping);
}

/* With a tolerance t the output is off by at most 2 t max|v|. */
static void test_tolerance(void **state)
{
    (void)state;
    problem p = random_problem(1, 4, 1500, 1500, 16, 1, "mep");
    result exact = run(&p, MEP_FLOAT32, 1, 0), loose = run(&p, MEP_FLOAT32, 1, 1e-3);
    assert_true(loose.share < exact.share);
    double bound = 2 * 1e-3 * largest(p.v, p.batch * p.heads * p.keys * p.head_dim) + 1e-5;
    for (int64_t i = 0; i < p.batch * p.heads * p.queries * p.head_dim; i++)
        assert_true(fabs(tensor_at(&exact.out, i) - tensor_at(&loose.out, i)) <= bound);
    free_result(&exact);
    free_result(&loose);
    free_problem(&p);
}

static void test_threads(void **state)
{
    (void)state;
    problem p = random_problem(2, 3, 200, 300, 32, 1, "mep_param");
    int before = mep_set_threads(0);
    mep_set_threads(1);
    result one = run(&p, MEP_FLOAT32, 1, 0);
    for (int threads = 2; threads <= 5; threads++) {
        mep_set_threads(threads);
        result many = run(&p, MEP_FLOAT32, 1, 0);
        assert_same(&one, &many, &p);
        free_result(&many);
    }
    mep_set_threads(before);
    free_result(&one);
    free_problem(&p);
}

/* A tensor of a golden file as float64. */
static double *golden_tensor(mep_safetensors *file, const char *name, mep_safetensors_entry *info)
{
    const mep_safetensors_entry *entry = mep_safetensors_find(file, name);
    if (entry == NULL) fail_msg("the golden file has no tensor %s", name);
    *info = *entry;
    double *data = doubles(info->size);
    assert_int_equal(mep_safetensors_read(file, name, MEP_FLOAT64, info->ndim, info->shape, data), MEP_OK);
    return data;
}

static void golden_close(const char *file, const char *what, const double *found, const double *expected, int64_t n, double tolerance)
{
    double bound = tolerance * (largest(expected, n) + 1e-3);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(found[i] - expected[i]) <= bound))
            fail_msg("%s: %s[%lld] is %.17g, expected %.17g", file, what, (long long)i, found[i], expected[i]);
    checks += n;
}

/* The golden file's kernels as a spec: "exp+exp_half+gauss". Checks dparam.* through the bias room. */
static void check_golden_params(mep_safetensors *file, const char *path, const char *kernels, const problem *p)
{
    mep_bias *bias;
    assert_int_equal(mep_bias_create(&bias, kernels, p->heads, p->head_dim), MEP_OK);
    int64_t n = mep_bias_param_values(bias);
    double *values = doubles(n), *gradient = doubles(n), *table = doubles(p->heads * p->keys);
    int64_t *distances = calloc((size_t)p->keys, sizeof *distances);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) {
            assert_int_equal(mep_bias_set_params(bias, values, n), MEP_OK);
            for (int64_t d = 0; d < p->keys; d++) distances[d] = d;
            assert_int_equal(mep_bias_at(bias, distances, p->keys, table), MEP_OK);
            golden_close(path, "bias", table, p->bias, p->heads * p->keys, 1e-12);
            assert_int_equal(mep_bias_table_backward(bias, p->keys, p->dbias, gradient), MEP_OK);
        }
        for (int64_t i = 0; i < mep_bias_param_count(bias); i++) {
            mep_bias_param info;
            mep_safetensors_entry t;
            char name[128];
            assert_int_equal(mep_bias_get_param(bias, i, &info), MEP_OK);
            snprintf(name, sizeof name, "%sparam.%s", pass == 0 ? "" : "d", info.name);
            double *data = golden_tensor(file, name, &t);
            assert_int_equal(t.size, info.size);
            if (pass == 0) memcpy(values + info.offset, data, (size_t)info.size * sizeof *data);
            else golden_close(path, name, gradient + info.offset, data, info.size, 1e-10);
            free(data);
        }
    }
    free(values);
    free(gradient);
    free(table);
    free(distances);
    mep_bias_destroy(&bias);
}

static void check_golden(const char *name)
{
    mep_safetensors *file;
    char relative[160];
    snprintf(relative, sizeof relative, "attention_%s.safetensors", name);
    char path[4096];
    snprintf(path, sizeof path, "%s", golden_path(relative));
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    mep_safetensors_entry tq, tk, t;
    double *q = golden_tensor(file, "q", &tq), *k = golden_tensor(file, "k", &tk);
    problem p = allocate_problem(tq.shape[0], tq.shape[1], tq.shape[2], tk.shape[2], tq.shape[3]);
    memcpy(p.q, q, (size_t)tq.size * sizeof *q);
    memcpy(p.k, k, (size_t)tk.size * sizeof *k);
    free(q);
    free(k);
    const char *kernels = mep_safetensors_metadata(file, "kernels");
    struct { const char *name; double *to; } inputs[] = {{"v", p.v}, {"dout", p.dout}, {"bias", p.bias}};
    for (int i = 0; i < (strcmp(kernels, "none") == 0 ? 2 : 3); i++) {
        double *data = golden_tensor(file, inputs[i].name, &t);
        memcpy(inputs[i].to, data, (size_t)t.size * sizeof *data);
        free(data);
    }
    assert_true(fabs(strtod(mep_safetensors_metadata(file, "scale"), NULL) - 1 / sqrt((double)p.head_dim)) < 1e-15);
    solve(&p);
    struct { const char *name; double *found; } outputs[] = {{"out", p.out}, {"lse", p.lse}, {"dq", p.dq}, {"dk", p.dk}, {"dv", p.dv}};
    for (int i = 0; i < 5; i++) {
        double *expected = golden_tensor(file, outputs[i].name, &t);
        golden_close(path, outputs[i].name, outputs[i].found, expected, t.size, 1e-10);
        memcpy(outputs[i].found, expected, (size_t)t.size * sizeof *expected);
        free(expected);
    }
    if (strcmp(kernels, "none") != 0) check_golden_params(file, path, kernels, &p);
    mep_cpu_level highest = mep_cpu_level_detected();
    for (int level = 0; level <= (int)highest; level++) {
        mep_cpu_level_set((mep_cpu_level)level);
        result r = run(&p, MEP_FLOAT32, 1, 0);
        double tolerance = tolerance_of(&p, MEP_FLOAT32, largest(p.q, tq.size));
        compare("golden out", &r.out, p.out, tolerance);
        compare("golden dq", &r.dq, p.dq, tolerance);
        compare("golden dk", &r.dk, p.dk, tolerance);
        compare("golden dv", &r.dv, p.dv, tolerance);
        free_result(&r);
    }
    free_problem(&p);
    mep_safetensors_close(&file);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "alibi", "kerple_power", "t5", "mep", "mep_param", "mep_decode", "mep_param_chunk"};
    int64_t before = checks;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_golden(names[i]);
    assert_true(checks - before > 10000);
}

/* Central differences of sum(out * dout) with respect to each input of the reference. */
static void test_finite_differences(void **state)
{
    (void)state;
    problem p = random_problem(1, 2, 5, 8, 3, 1, "mep");
    solve(&p);
    struct { double *x; const double *gradient; int64_t n; } inputs[] = {
        {p.q, p.dq, 2 * 5 * 3}, {p.k, p.dk, 2 * 8 * 3}, {p.v, p.dv, 2 * 8 * 3}, {p.bias, p.dbias, 2 * 8}};
    double *out = doubles(2 * 5 * 3);
    for (int i = 0; i < 4; i++)
        for (int64_t n = 0; n < inputs[i].n; n++) {
            double loss[2], h = 1e-5, x = inputs[i].x[n];
            for (int side = 0; side < 2; side++) {
                inputs[i].x[n] = x + (side == 0 ? -h : h);
                mep_attention_reference_forward(1, 2, 5, 8, 3, 0, p.bias, p.q, p.k, p.v, out, NULL);
                loss[side] = 0;
                for (int64_t o = 0; o < 2 * 5 * 3; o++) loss[side] += out[o] * p.dout[o];
            }
            inputs[i].x[n] = x;
            assert_true(fabs((loss[1] - loss[0]) / (2 * h) - inputs[i].gradient[n]) < 1e-8);
        }
    free(out);
    free_problem(&p);
}

static void test_wrong_calls(void **state)
{
    (void)state;
    mep_attention_settings s;
    mep_attention *plan;
    mep_attention_defaults(&s);
    s.heads = 0;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_ARGUMENT);
    assert_null(plan);
    mep_attention_defaults(&s);
    s.dtype = MEP_INT64;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_ARGUMENT);
    mep_attention_defaults(&s);
    s.max_length = (int64_t)1 << 39, s.heads = (int64_t)1 << 39;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_ERROR_MEMORY);
    mep_attention_defaults(&s);
    s.max_length = 10;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_OK);
    mep_tensor_view none = {0};
    float table[4] = {0, -1, -2, -3}, wrong[1] = {-INFINITY};
    assert_int_equal(mep_attention_forward(plan, 1, 11, 11, none, none, none, none, NULL), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_attention_forward(plan, 1, 5, 4, none, none, none, none, NULL), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_attention_set_bias(plan, wrong, 1), MEP_ERROR_NUMERIC);
    assert_int_equal(mep_attention_set_bias(plan, table, 4), MEP_OK);
    assert_int_equal(mep_attention_forward(plan, 1, 5, 5, none, none, none, none, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "4 distances"));
    mep_attention_destroy(&plan);
    mep_attention_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels), cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_golden),  cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_adversarial),        cmocka_unit_test(test_skipping), cmocka_unit_test(test_tolerance),
        cmocka_unit_test(test_threads),            cmocka_unit_test(test_wrong_calls),
    };
    printf("CPU level detected: %s\n", mep_cpu_level_text(mep_cpu_level_detected()));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
