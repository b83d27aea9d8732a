/* SPDX-License-Identifier: MIT */
/*
 * Matrix products at the CPU level that MEP_CPU names, one level per process: compared with float64, and the promise
 * that a row's bits depend only on its operands, k and the level.
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
#include <omp.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/random.h"
#include "mep/types.h"
#include "nn/gemm.h"
#include "nn/pack.h"
#include "nn/product.h"
#include "quick.h"
#include "tile_sum.h"

static int64_t checks;
static mep_gemm_workspace *workspace;

static float random_value(const char *name, int64_t i)
{
    return (float)mep_random_normal(3, mep_random_stream(name), (uint64_t)i);
}

static void near(const char *what, int64_t i, double found, double expected, double bound)
{
    if (!(fabs(found - expected) <= bound))
        fail_msg("%s[%lld]: %.9g, expected %.9g (bound %.2g)", what, (long long)i, found, expected, bound);
    checks++;
}

/* ---- Products ---- */

/* A matrix [rows x columns] as stored for op(X), with `pad` extra elements per row that contain a mark. */
typedef struct stored {
    mep_matrix m;
    int64_t count;
} stored;

static void put(const mep_matrix *m, void *at, double x)
{
    if (m->dtype == MEP_FLOAT32)
        *(float *)at = (float)x;
    else
        *(mep_bf16 *)at = mep_bf16_from_float((float)x);
}

static double get(const mep_matrix *m, const void *at)
{
    return m->dtype == MEP_FLOAT32 ? (double)*(const float *)at : (double)mep_bf16_to_float(*(const mep_bf16 *)at);
}

static stored make(int64_t rows, int64_t columns, mep_dtype dtype, int transposed, int64_t pad, const char *name)
{
    stored s = {{NULL, dtype, (transposed ? rows : columns) + pad, transposed, 0}, 0};
    s.count = (transposed ? columns : rows) * s.m.stride;
    s.m.data = calloc((size_t)s.count, 4);
    for (int64_t i = 0; i < s.count; i++)
        put(&s.m, (char *)s.m.data + i * mep_dtype_size(dtype), (double)random_value(name, i));
    return s;
}

/* op(B) packed for products of `dtype`; the caller frees its data. */
static mep_matrix packed(const mep_matrix *b, int64_t k, int64_t n, mep_dtype dtype)
{
    int64_t size = 0;
    void *memory = NULL;
    assert_int_equal(mep_packed_size(k, n, dtype, &size), MEP_OK);
    assert_int_equal(mep_alloc(&memory, size, 1), MEP_OK);
    return mep_pack(b, k, n, dtype, memory);
}

static void check_product(int64_t m, int64_t n, int64_t k, mep_dtype dtype, mep_dtype c_dtype, int a_transposed,
                          int b_transposed, int with_bias, int accumulate)
{
    stored a = make(m, k, dtype, a_transposed, 3, "a"), b = make(k, n, dtype, b_transposed, 5, "b"),
           c = make(m, n, c_dtype, 0, 2, "c");
    float *bias = calloc((size_t)n, sizeof *bias);
    for (int64_t i = 0; i < n; i++) bias[i] = random_value("bias", i);
    double *before = calloc((size_t)c.count, sizeof *before);
    for (int64_t i = 0; i < c.count; i++) before[i] = get(&c.m, (char *)c.m.data + i * mep_dtype_size(c_dtype));
    mep_gemm g = {.m = m, .n = n, .k = k, .a = a.m, .b = b.m, .c = c.m, .accumulate = accumulate};
    if (with_bias) g.bias = bias;
    if (mep_gemm_run(workspace, &g) != MEP_OK) fail_msg("%s", mep_error_message());
    double bound = (c_dtype == MEP_FLOAT32 ? 2e-6 : 8e-3) * (sqrt((double)k) + 2) * 2;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < c.m.stride; j++) {
            double sum = before[i * c.m.stride + j], found = get(&c.m, mep_matrix_at(&c.m, i, j));
            if (j >= n) { /* after the row: unchanged */
                assert_true(found == sum);
                continue;
            }
            sum = (accumulate ? sum : 0) + (with_bias ? (double)bias[j] : 0);
            for (int64_t l = 0; l < k; l++)
                sum += get(&a.m, mep_matrix_at(&a.m, i, l)) * get(&b.m, mep_matrix_at(&b.m, l, j));
            near("product", i * n + j, found, sum, bound);
        }
    free(a.m.data);
    free(b.m.data);
    free(c.m.data);
    free(bias);
    free(before);
}

/* All epilogues together: C = (A B + bias + residual) gelu'(gelu_input), and gelu(C), stored separately or instead of
 * C. B is read as stored where A is transposed, and otherwise packed, from float32. */
static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2.0)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static void check_fused(int64_t m, int64_t n, int64_t k, mep_dtype dtype, int turned, int in_place)
{
    stored a = make(m, k, dtype, turned, 0, "a"), b = make(k, n, turned ? dtype : MEP_FLOAT32, !turned, 0, "b"),
           c = make(m, n, dtype, 0, 2, "c"), y = make(m, n, dtype, 0, 2, "y"), x = make(m, n, dtype, 0, 2, "x");
    float *bias = calloc((size_t)n, sizeof *bias), *residual = calloc((size_t)c.count, sizeof *residual);
    for (int64_t i = 0; i < n; i++) bias[i] = random_value("bias", i);
    for (int64_t i = 0; i < c.count; i++) residual[i] = random_value("residual", i);
    mep_gemm g = {.m = m, .n = n, .k = k, .a = a.m, .b = b.m, .c = c.m, .bias = bias, .residual = residual};
    if (!turned) g.b = packed(&b.m, k, n, dtype);
    g.activated = in_place ? c.m.data : y.m.data;
    g.slope_input = x.m.data;
    g.epilogue = turned ? MEP_EPILOGUE_GELU_TANH : MEP_EPILOGUE_GELU; /* one or the other */
    double (*activation)(double) = turned ? gelu_tanh : gelu;
    if (mep_gemm_run(workspace, &g) != MEP_OK) fail_msg("%s", mep_error_message());
    double bound = (dtype == MEP_FLOAT32 ? 4e-6 : 1.6e-2) * (sqrt((double)k) + 3);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = (double)bias[j] + (double)residual[i * c.m.stride + j], h = 1e-5,
                   at = get(&x.m, mep_matrix_at(&x.m, i, j));
            for (int64_t l = 0; l < k; l++) {
                float value = (float)get(&b.m, mep_matrix_at(&b.m, l, j));
                if (dtype == MEP_BFLOAT16) value = mep_bf16_to_float(mep_bf16_from_float(value));
                sum += get(&a.m, mep_matrix_at(&a.m, i, l)) * (double)value;
            }
            sum *= (activation(at + h) - activation(at - h)) / (2 * h);
            if (!in_place) near("fused", i * n + j, get(&c.m, mep_matrix_at(&c.m, i, j)), sum, bound);
            near("fused gelu", i * n + j, get(&c.m, mep_matrix_at(in_place ? &c.m : &y.m, i, j)), activation(sum),
                 1.2 * bound);
        }
    if (g.b.packed) mep_free(&g.b.data);
    free(a.m.data), free(b.m.data), free(c.m.data), free(x.m.data), free(y.m.data), free(bias), free(residual);
}

/* Enough columns, rows and depth for several chunks, blocks and tiles, with sizes of all kinds; the same bits with one
 * thread and with three. */
static void check_large(int64_t m, int64_t n, int64_t k, mep_dtype dtype, int a_turned, int b_turned, int accumulate,
                        int packs)
{
    stored a = make(m, k, dtype, a_turned, 0, "a"), b = make(k, n, dtype, b_turned, 0, "b"),
           c = make(m, n, MEP_FLOAT32, 0, 0, "c"), again = make(m, n, MEP_FLOAT32, 0, 0, "c");
    mep_gemm g = {.m = m, .n = n, .k = k, .a = a.m, .b = b.m, .c = c.m, .accumulate = accumulate};
    int threads = omp_get_max_threads();
    if (packs) g.b = packed(&b.m, k, n, dtype);
    omp_set_num_threads(1);
    assert_int_equal(mep_gemm_run(workspace, &g), MEP_OK);
    omp_set_num_threads(3);
    g.c = again.m;
    assert_int_equal(mep_gemm_run(workspace, &g), MEP_OK);
    assert_memory_equal(c.m.data, again.m.data, (size_t)(m * n) * 4);
    mep_fail_allocation(0);
    assert_int_equal(mep_gemm_run(workspace, &g), MEP_OK);
    assert_int_equal(mep_fail_allocation(0), 0);
    omp_set_num_threads(threads);
    for (int64_t at = 0; at < m * n; at += m * n / 499) {
        double sum = accumulate ? (double)random_value("c", at) : 0;
        for (int64_t l = 0; l < k; l++)
            sum += get(&a.m, mep_matrix_at(&a.m, at / n, l)) * get(&b.m, mep_matrix_at(&b.m, l, at % n));
        near("large product", at, (double)((float *)c.m.data)[at], sum,
             4e-6 * (sqrt((double)k) + 2) + 1e-7 * (double)k);
    }
    if (packs) mep_free(&g.b.data);
    free(a.m.data), free(b.m.data), free(c.m.data), free(again.m.data);
}

static void check_shapes(void)
{
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 130, 33},   {130, 1, 7},
                                        {64, 64, 64}, {67, 129, 300}, {257, 70, 5}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int flags = 0; flags < 16; flags++)
            for (int type = 0; type < 3; type++) {
                mep_dtype in = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16, out = type == 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
                if (type == 2 && (flags & 8)) continue; /* sums are kept in float32 */
                check_product(shapes[s][0], shapes[s][1], shapes[s][2], in, out, flags & 1, flags & 2, flags & 4,
                              flags & 8);
            }
}

static void check_more(void)
{
    static const int64_t shapes[][3] = {{1, 65, 3}, {70, 130, 33}, {300, 64, 64}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int flags = 0; flags < 8; flags++)
            check_fused(shapes[s][0], shapes[s][1], shapes[s][2], flags & 1 ? MEP_BFLOAT16 : MEP_FLOAT32, flags & 2,
                        flags & 4);
    for (int type = 0; type < 2; type++) {
        mep_dtype dtype = type ? MEP_BFLOAT16 : MEP_FLOAT32;
        for (int packs = 0; packs < 2; packs++) {
            check_large(1100, 300, 96, dtype, 0, 1, 0, packs);  /* a layer forward: two blocks of rows */
            check_large(300, 200, 1000, dtype, 0, 0, 0, packs); /* gradient of an input */
            check_large(1, 700, 999, dtype, 0, 1, 0, packs);    /* decoding */
        }
        check_large(500, 260, 301, dtype, 1, 0, 1, 0);               /* gradient of a weight, summed */
        check_large(70, 1000, quick(9001, 1001), dtype, 1, 0, 0, 0); /* two chunks of columns, odd depth */
    }
}

static void test_products(void **state)
{
    (void)state;
    check_shapes();
    check_more();
    assert_true(checks > 50000);
}

/* ---- Bits ---- */

/* What a case computes: C[m x n] of operands in one of the forms that models use. */
typedef struct form {
    mep_dtype dtype;
    int a_transposed, b_transposed, b_packed;
} form;

/* Rows first .. first + m of op(A) times B into c. */
static void multiply_rows(const form *f, const stored *a, const mep_matrix *b, int64_t first, int64_t m, int64_t n,
                          int64_t k, float *c)
{
    mep_gemm g = {.m = m, .n = n, .k = k, .a = a->m, .b = *b};
    g.a.data = mep_matrix_at(&a->m, first, 0);
    g.c = (mep_matrix){c, MEP_FLOAT32, n, 0, 0};
    (void)f;
    if (mep_gemm_run(workspace, &g) != MEP_OK) fail_msg("%s", mep_error_message());
}

static void same_rows(const form *f, int64_t first, int64_t m, int64_t n, int64_t k, const float *part,
                      const float *all)
{
    for (int64_t r = 0; r < m; r++)
        if (memcmp(part + r * n, all + (first + r) * n, (size_t)n * sizeof *part) != 0)
            fail_msg("%s, A %d, B %d%d, n %lld, k %lld: row %lld of %lld from %lld has other bits than among all",
                     mep_dtype_name(f->dtype), f->a_transposed, f->b_transposed, f->b_packed, (long long)n,
                     (long long)k, (long long)r, (long long)m, (long long)first);
    checks += m;
}

/* Every count in `counts` of rows, from the first row and up to the last one, compared with the product of all `most`
 * rows. */
static void check_rows(const form *f, int64_t most, int64_t n, int64_t k, const int64_t *counts, int64_t count)
{
    stored a = make(most, k, f->dtype, f->a_transposed, 0, "a"), b = make(k, n, f->dtype, f->b_transposed, 0, "b");
    mep_matrix right = f->b_packed ? packed(&b.m, k, n, f->dtype) : b.m;
    float *all = calloc((size_t)(most * n), sizeof *all), *part = calloc((size_t)(most * n), sizeof *part);
    multiply_rows(f, &a, &right, 0, most, n, k, all);
    for (int64_t i = 0; i < count; i++) {
        int64_t first = most - counts[i];
        omp_set_num_threads(1 + (int)(i % 3));
        multiply_rows(f, &a, &right, 0, counts[i], n, k, part);
        same_rows(f, 0, counts[i], n, k, part, all);
        multiply_rows(f, &a, &right, first, counts[i], n, k, part);
        same_rows(f, first, counts[i], n, k, part, all);
    }
    if (f->b_packed) mep_free(&right.data);
    free(a.m.data), free(b.m.data), free(all), free(part);
}

static void for_every_form(int64_t most, int64_t n, int64_t k, const int64_t *counts, int64_t count)
{
    int threads = omp_get_max_threads();
    for (int i = 0; i < 12; i++) {
        form f = {i % 2 ? MEP_BFLOAT16 : MEP_FLOAT32, i / 2 % 2, 0, 0};
        f.b_transposed = i / 4 == 1;
        f.b_packed = i / 4 == 2;
        check_rows(&f, most, n, k, counts, count);
    }
    omp_set_num_threads(threads);
}

static void test_every_count(void **state)
{
    (void)state;
    int64_t counts[300];
    int64_t most = quick(300, 50);
    for (int64_t i = 0; i < most; i++) counts[i] = i + 1;
    for_every_form(most, 80, 16, counts, most);
    for_every_form(most, 48, 65, counts, most);
}

static void test_large_counts(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 3, 7, 64, 65, 193, 241, 769, 1025, 6400, 6408};
    static const int64_t deep[] = {1, 2, 4, 5, 13, 64, 129, 255};
    int64_t most = quick(256, 65), few = quick(8, 6);
    for_every_form(quick(6409, 1030), 70, 48, counts, quick(12, 10));
    for_every_form(most, 33, 385, deep, few);
    for_every_form(most, 144, 768, deep, few);
    for_every_form(most, 17, 3072, deep, few);
}

/* The same product with B as it is stored, transposed, and packed completely; and its first columns alone. */
static void test_storage(void **state)
{
    (void)state;
    enum { M = 31, N = 150, K = 700 };
    for (int type = 0; type < 2; type++) {
        mep_dtype dtype = type ? MEP_BFLOAT16 : MEP_FLOAT32;
        stored a = make(M, K, dtype, 0, 0, "a"), b = make(K, N, dtype, 0, 0, "b"), t = make(K, N, dtype, 1, 0, "b");
        stored ta = make(M, K, dtype, 1, 0, "a");
        form f = {dtype, 0, 0, 0};
        for (int64_t r = 0; r < K; r++)
            for (int64_t c = 0; c < N; c++) put(&t.m, mep_matrix_at(&t.m, r, c), get(&b.m, mep_matrix_at(&b.m, r, c)));
        for (int64_t r = 0; r < M; r++)
            for (int64_t c = 0; c < K; c++)
                put(&ta.m, mep_matrix_at(&ta.m, r, c), get(&a.m, mep_matrix_at(&a.m, r, c)));
        mep_matrix whole = packed(&b.m, K, N, dtype);
        static float x[M * N], y[M * N];
        multiply_rows(&f, &a, &b.m, 0, M, N, K, x);
        multiply_rows(&f, &a, &t.m, 0, M, N, K, y);
        same_rows(&f, 0, M, N, K, y, x);
        multiply_rows(&f, &ta, &whole, 0, M, N, K, y);
        same_rows(&f, 0, M, N, K, y, x);
        multiply_rows(&f, &a, &b.m, 0, M, 41, K, y);
        for (int64_t r = 0; r < M; r++) assert_memory_equal(y + r * 41, x + r * N, 41 * sizeof *x);
        mep_free(&whole.data);
        free(a.m.data), free(b.m.data), free(t.m.data), free(ta.m.data);
    }
}

/* The sum in the order of the contract in docs/kernels.md, with one rounding per multiply-add, or two at level c. */
static float chain(const stored *a, const stored *b, int64_t row, int64_t column, int64_t k)
{
    float total = 0;
    for (int64_t first = 0; first < k; first += MEP_DEPTH) {
        float sum = 0;
        for (int64_t l = first; l < k && l < first + MEP_DEPTH; l++) {
            float x = (float)get(&a->m, mep_matrix_at(&a->m, row, l)),
                  y = (float)get(&b->m, mep_matrix_at(&b->m, l, column));
            volatile float product = x * y;
            sum = mep_cpu_level_get() == MEP_CPU_C ? sum + product : fmaf(x, y, sum);
        }
        total = first == 0 ? sum : total + sum;
    }
    return total;
}

/* The sum in the order of amx_bf16. */
static float chain_of_tiles(const stored *a, const stored *b, int64_t row, int64_t column, int64_t k)
{
    return tile_sum(0, k, mep_matrix_at(&a->m, row, 0), a->m.transposed ? a->m.stride : 1,
                    mep_matrix_at(&b->m, 0, column), b->m.transposed ? 1 : b->m.stride);
}

/* The bits of level c are the same on any CPU, those of the other levels are fused multiply-adds, and those of amx_bf16
 * are defined by its tiles. The dot products of avx512_bf16 round in their own way. */
static void test_chain(void **state)
{
    (void)state;
    enum { M = 15, N = 37, K = 2 * MEP_DEPTH + 91 };
    for (int i = 0; i < 8; i++) {
        mep_dtype dtype = i & 1 ? MEP_BFLOAT16 : MEP_FLOAT32;
        int pairs = mep_product_kernels_for(mep_cpu_level_get(), dtype)->pair == 2;
        if (pairs && mep_cpu_level_get() == MEP_CPU_AVX512_BF16) continue;
        stored a = make(M, K, dtype, i & 4, 0, "a"), b = make(K, N, dtype, i & 2, 0, "b");
        static float x[M * N];
        form f = {dtype, i & 4, i & 2, 0};
        multiply_rows(&f, &a, &b.m, 0, M, N, K, x);
        for (int64_t r = 0; r < M; r++)
            for (int64_t c = 0; c < N; c++)
                near("chain", r * N + c, (double)x[r * N + c],
                     (double)(pairs ? chain_of_tiles : chain)(&a, &b, r, c, K), 0);
        free(a.m.data), free(b.m.data);
    }
}

/* NaN and infinity reach the elements that depend on them, and no others. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { M = 9, N = 21, K = 19 };
    for (int type = 0; type < 2; type++) {
        mep_dtype dtype = type ? MEP_BFLOAT16 : MEP_FLOAT32;
        stored a = make(M, K, dtype, 0, 0, "a"), b = make(K, N, dtype, 1, 0, "b");
        static float x[M * N];
        form f = {dtype, 0, 1, 0};
        put(&a.m, mep_matrix_at(&a.m, 4, 18), NAN);
        put(&b.m, mep_matrix_at(&b.m, 3, 20), INFINITY);
        multiply_rows(&f, &a, &b.m, 0, M, N, K, x);
        for (int64_t r = 0; r < M; r++)
            for (int64_t c = 0; c < N; c++) assert_int_equal(!isfinite(x[r * N + c]), r == 4 || c == 20);
        free(a.m.data), free(b.m.data);
    }
}

static int start(void **state)
{
    (void)state;
    return mep_gemm_workspace_create(&workspace) != MEP_OK;
}

static int stop(void **state)
{
    (void)state;
    mep_gemm_workspace_destroy(&workspace);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_every_count), cmocka_unit_test(test_large_counts),
        cmocka_unit_test(test_storage),  cmocka_unit_test(test_chain),       cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
