/* SPDX-License-Identifier: MIT */
/*
 * Fused attention against the float64 reference, under every CPU level: random and awkward shapes, strides, both types,
 * scales, thread counts, and finite differences of the reference itself. Skipping is in test_attention_skip.c, the
 * golden files in test_attention_golden.c.
 */
#include "attention_problem.h"

#include "attention/kernels.h"

/* -1 + x x, where x x is not a float32: 2^-11 in two operations, and 2^-24 more by a fused multiply-add. */
static float fused_term(const mep_attention_kernels *kernels)
{
    const float x = 1 + 0x1p-12f;
    float a[2] = {-1, x}, b[2 * CHANNEL_MULTIPLE], c[CHANNEL_MULTIPLE];
    for (int i = 0; i < CHANNEL_MULTIPLE; i++) b[i] = 1, b[CHANNEL_MULTIPLE + i] = x;
    kernels->product(1, CHANNEL_MULTIPLE, 2, a, 2, 1, b, CHANNEL_MULTIPLE, c, CHANNEL_MULTIPLE, 0);
    return c[0] - 0x1p-11f;
}

/* A level's file is compiled for that level: its vectors are that wide, and only plain C does not fuse. */
static void test_levels(void **state)
{
    (void)state;
    static const int lanes[] = {[MEP_CPU_C] = 4,       [MEP_CPU_NEON] = 4,         [MEP_CPU_AVX2] = 8,
                                [MEP_CPU_AVX512] = 16, [MEP_CPU_AVX512_BF16] = 16, [MEP_CPU_AMX_BF16] = 16};
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++)
        for (int dtype = 0; dtype < 2; dtype++) {
            const mep_attention_kernels *kernels = mep_attention_kernels_for((mep_cpu_level)level, (mep_dtype)dtype);
            assert_int_equal(kernels->lanes, lanes[level]);
            if (kernels->pair == 1) assert_true(fused_term(kernels) == (level == MEP_CPU_C ? 0 : 0x1p-24f));
            assert_int_equal(kernels->pair, level >= MEP_CPU_AVX512_BF16 && dtype == MEP_BFLOAT16 ? 2 : 1);
        }
}

static void test_shapes(void **state)
{
    (void)state;
    static const int64_t sizes[][5] = {
        {1, 1, 1, 1, 1},    {2, 3, 7, 7, 5},      {1, 2, 64, 64, 16},  {1, 2, 65, 65, 64}, {2, 2, 130, 130, 32},
        {1, 3, 9, 200, 24}, {1, 2, 100, 163, 80}, {2, 1, 3, 130, 48},  {1, 1, 1, 257, 64}, {1, 1, 70, 70, 128},
        {1, 2, 5, 5, 96},   {1, 1, 64, 96, 64},   {1, 2, 333, 650, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int spec = 0; spec < 3; spec++)
            for (int dtype = 0; dtype < 2; dtype++) {
                static const char *const specs[] = {NULL, "mep", "mep_param"};
                const int64_t *n = sizes[i];
                problem p = random_problem(n[0], n[1], n[2], n[3], n[4], 1, specs[spec]);
                check_problem(&p, (mep_dtype)dtype);
                free_problem(&p);
            }
}

/* Zero, tiny and huge inputs. */
static void test_adversarial(void **state)
{
    (void)state;
    static const double sizes[] = {0, 1e-20, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        problem p = random_problem(1, 2, 90, 150, 32, sizes[i], "alibi");
        check_problem(&p, MEP_FLOAT32);
        free_problem(&p);
    }
}

/* The setting `scale`, and few queries, which go another way. */
static void test_scales(void **state)
{
    (void)state;
    static const double values[] = {0.3, -0.5, 1e-3};
    for (int i = 0; i < 3; i++)
        for (int64_t queries = 2; queries <= 80; queries += 78) {
            problem p = random_problem(1, 2, queries, 120, 24, 1, "mep");
            p.scale = values[i];
            check_problem(&p, i == 1 ? MEP_BFLOAT16 : MEP_FLOAT32);
            free_problem(&p);
        }
}

/* The exponential of the kernels to a few units in the last place, over float32's normal range. */
static void test_exponentials(void **state)
{
    (void)state;
    enum { N = 100001 };
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        for (int i = 0; i < N; i++) x[i] = -87.0f * (float)i / (N - 1);
        mep_attention_kernels_for((mep_cpu_level)level, MEP_FLOAT32)->exponentials(N, x);
        for (int i = 0; i < N; i++) {
            double at = (double)(-87.0f * (float)i / (N - 1)), error = (double)x[i] / exp(at) - 1;
            if (!(fabs(error) <= 2e-7)) fail_msg("level %d: exp(%g) is off by %g", level, at, error);
        }
    }
    free(x);
}

/* The same bits for any number of threads, with one chunk of keys a head and with several, more and fewer heads than
 * threads. */
static void test_threads(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {{2, 3, 200, 300}, {1, 1, 900, 1000}, {1, 3, 600, 600}};
    int before = mep_set_threads(0);
    for (int i = 0; i < 6; i++) {
        const int64_t *n = sizes[i / 2];
        mep_dtype dtype = (mep_dtype)(i % 2);
        problem p = random_problem(n[0], n[1], n[2], n[3], 32, 1, "mep_param");
        mep_set_threads(1);
        result one = run(&p, dtype, 1, 0);
        for (int threads = 2; threads <= 5; threads++) {
            mep_set_threads(threads);
            result many = run(&p, dtype, 1, 0);
            assert_same(&one, &many, &p);
            free_result(&many);
        }
        free_result(&one);
        free_problem(&p);
    }
    mep_set_threads(before);
}

/* Central differences of sum(out * dout) with respect to each input of the reference. */
static void test_finite_differences(void **state)
{
    (void)state;
    problem p = random_problem(1, 2, 5, 8, 3, 1, "mep");
    solve(&p);
    struct {
        double *x;
        const double *gradient;
        int64_t n;
    } inputs[] = {{p.q, p.dq, 2 * 5 * 3}, {p.k, p.dk, 2 * 8 * 3}, {p.v, p.dv, 2 * 8 * 3}, {p.bias, p.dbias, 2 * 8}};
    double *out = doubles(2 * 5 * 3);
    for (int i = 0; i < 4; i++)
        for (int64_t n = 0; n < inputs[i].n; n++) {
            double loss[2], h = 1e-5, x = inputs[i].x[n];
            for (int side = 0; side < 2; side++) {
                inputs[i].x[n] = x + (side == 0 ? -h : h);
                mep_attention_reference_call call = reference_call(&p);
                call.out = out, call.lse = NULL;
                mep_attention_reference_forward(&call);
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
    float table[4] = {0, -1, -2, -3}, value = 0;
    mep_tensor_view none = {.data = &value}; /* refused before it is read */
    mep_attention_call call = {.batch = 1, .queries = 11, .keys = 11, .q = none, .k = none, .v = none, .out = none};
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    call.queries = 5, call.keys = 4;
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "1 <= queries <= keys <= 10"));
    const mep_attention_terms terms = {.table = table, .table_length = 4};
    assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
    call.keys = 5;
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "4 distances"));
    mep_attention_destroy(&plan);
    mep_attention_destroy(&plan);
}

/* A bias may be -inf beyond distance 0; any other value that is not finite is refused, at any head and distance. */
static void test_wrong_bias(void **state)
{
    (void)state;
    enum { HEADS = 3, LENGTH = 7 };
    static const float values[] = {NAN, INFINITY, -INFINITY};
    mep_attention_settings s;
    mep_attention *plan;
    mep_attention_defaults(&s);
    s.heads = HEADS, s.max_length = LENGTH;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_OK);
    for (int place = 0; place < HEADS * LENGTH; place++)
        for (int v = 0; v < 3; v++) {
            float table[HEADS * LENGTH] = {0};
            table[place] = values[v];
            mep_status expected = v < 2 || place % LENGTH == 0 ? MEP_ERROR_NUMERIC : MEP_OK;
            const mep_attention_terms terms = {.table = table, .table_length = LENGTH};
            assert_int_equal(mep_attention_set_terms(plan, &terms), expected);
        }
    mep_attention_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),     cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_shapes),     cmocka_unit_test(test_adversarial),
        cmocka_unit_test(test_scales),     cmocka_unit_test(test_exponentials),
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_wrong_calls),
        cmocka_unit_test(test_wrong_bias),
    };
    printf("CPU level detected: %s\n", mep_cpu_level_text(mep_cpu_level_detected()));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
