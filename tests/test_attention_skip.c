/* SPDX-License-Identifier: MIT */
/*
 * Skipping far blocks of keys, at every CPU level. Without a tolerance it changes no bit, also where the bound is tight
 * or a far key does matter; with a tolerance it leaves out no more than allowed. The problems are built so that a bound
 * that is slightly too low computes wrong numbers.
 */
#include "attention_problem.h"

/* Skipping gives the bits of not skipping; at most the fraction `most` of the blocks may be computed. */
static void check_exact(const problem *p, mep_dtype dtype, double most)
{
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        result with = run(p, dtype, 1, 0), without = run(p, dtype, 0, 0);
        assert_same(&with, &without, p);
        assert_true(without.fraction == 1);
        if (!(with.fraction <= most))
            fail_msg("%g of the blocks were computed, expected at most %g", with.fraction, most);
        free_result(&with);
        free_result(&without);
    }
}

static void test_encodings(void **state)
{
    (void)state;
    static const char *const specs[] = {"mep", "alibi", "mep_param", "gauss", "exp + t5"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (int dtype = 0; dtype < 2; dtype++) {
            problem p = random_problem(1, 4, 130, 1600, 32, 1, specs[i]);
            check_exact(&p, (mep_dtype)dtype, i == 0 || i == 1 || i == 3 ? 0.95 : 1);
            free_problem(&p);
        }
}

/* As many queries as keys: several tasks per head, each with its own end, and chunks of keys that no query sees. */
static void test_long_heads(void **state)
{
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        problem p = random_problem(1, 2, 3000, 3000, 16, 1, "mep");
        for (int64_t i = 0; i < 2 * 3000; i++) p.bias[i] *= 8; /* heads of 2 have long reaches */
        check_exact(&p, (mep_dtype)dtype, 0.7);
        free_problem(&p);
    }
}

/* A far key in the direction of all queries, so long that its score exceeds the near ones by 150 in spite of its bias
 * of -250: only the keys' lengths keep its block. It can be anywhere in the block. */
static void test_far_key(void **state)
{
    (void)state;
    enum { QUERIES = 70, KEYS = 600, D = 16 };
    static const int64_t places[] = {64, 64 + 31, 64 + 55, 64 + 56, 64 + 60, 64 + 63};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        problem p = random_problem(1, 1, QUERIES, KEYS, D, 1, NULL);
        for (int64_t d = 0; d < KEYS; d++) p.bias[d] = -0.5 * (double)d;
        for (int64_t n = 0; n < QUERIES; n++) p.q[n * D] = 40 + p.q[n * D] / 8; /* |q| is 40 in all */
        for (int64_t n = 0; n < KEYS; n++) p.k[n * D] /= 8;
        p.k[places[i] * D] = 42; /* score 42 * 40 / 4 = 420 */
        check_problem(&p, MEP_FLOAT32);
        assert_true(p.lse[QUERIES - 1] > 150); /* the far key has the weight */
        check_exact(&p, MEP_FLOAT32, 0.9);
        check_exact(&p, MEP_BFLOAT16, 0.9);
        free_problem(&p);
    }
}

/* A bias of -200 except nearby and in one range far away: the bound of a block is the bias at its best distance, not at
 * its nearest. */
static void test_valley(void **state)
{
    (void)state;
    enum { QUERIES = 70, KEYS = 900 };
    for (int64_t end = 300; end < 300 + 3 * 64; end += 40) {
        problem p = random_problem(1, 1, QUERIES, KEYS, 16, 1, NULL);
        for (int64_t d = 3; d < KEYS; d++) p.bias[d] = d < end || d > end + 40 ? -200 : 0;
        check_problem(&p, MEP_FLOAT32);
        check_exact(&p, MEP_FLOAT32, 0.9);
        free_problem(&p);
    }
}

/* With queries of 0 the bound is the bias itself. With a gentle slope some blocks' weights are the smallest that
 * float32 has; they are visible where v is 0 nearby, and in the gradient of v. */
static void test_slope(void **state)
{
    (void)state;
    enum { QUERIES = 70, KEYS = 4500, D = 16 };
    problem p = random_problem(1, 1, QUERIES, KEYS, D, 1, NULL);
    memset(p.q, 0, QUERIES * D * sizeof *p.q);
    for (int64_t d = 0; d < KEYS; d++) p.bias[d] = -0.03 * (double)d; /* 1.9 nats a block */
    for (int64_t n = 0; n < KEYS; n++) p.v[n * D] = n < KEYS - 2700 ? 1e6 : 0;
    check_exact(&p, MEP_FLOAT32, 0.9);
    free_problem(&p);
}

/*
 * With a tolerance t the softmax weight left out is at most t per row, for all blocks together. Here each far key's
 * weight is exp(far), so the sum over thousands of keys decides; it is measured by the log-sum-exp, which skipping
 * decreases.
 */
static void check_left_out(double tolerance, double far, double at_least, double at_most, int skips)
{
    enum { QUERIES = 70, KEYS = 4500, D = 16 };
    problem p = random_problem(1, 1, QUERIES, KEYS, D, 1, NULL);
    memset(p.q, 0, QUERIES * D * sizeof *p.q);
    for (int64_t d = 1; d < KEYS; d++) p.bias[d] = d < 130 ? -50 : far;
    const mep_attention_reference_call call = reference_call(&p);
    assert_int_equal(mep_attention_reference_forward(&call), MEP_OK);
    double v = largest(p.v, key_values(&p));
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        result r = run(&p, MEP_FLOAT32, 1, tolerance);
        for (int64_t i = 0; i < QUERIES; i++) {
            double left_out = 1 - exp((double)r.lse[i] - p.lse[i]);
            if (!(left_out >= at_least && left_out <= at_most))
                fail_msg("tolerance %g left out %g", tolerance, left_out);
        }
        for (int64_t i = 0; i < QUERIES * D; i++)
            if (!(fabs(tensor_at(&r.out, i) - p.out[i]) <= 2 * tolerance * v + 1e-5))
                fail_msg("out[%lld] is too far off", (long long)i);
        assert_true(skips ? r.fraction < 0.5 : r.fraction == 1);
        free_result(&r);
    }
    free_problem(&p);
}

static void test_tolerances(void **state)
{
    (void)state;
    static const double values[] = {1e-2, 1e-3, 1e-4};
    for (int i = 0; i < 3; i++) {
        double t = values[i];
        check_left_out(t, log(t) - 0.5, -1e-5, 1e-5, 0); /* each key's weight is below t, their sum is not */
        check_left_out(t, log(t / 4500) - 0.1, 0.1 * t, t, 1);
    }
}

/* Random scores: a tolerance saves work, and the output is off by at most 2 t max|v|. */
static void test_tolerance_of_random_scores(void **state)
{
    (void)state;
    problem p = random_problem(1, 4, 1500, 1500, 16, 1, "mep");
    result exact = run(&p, MEP_FLOAT32, 1, 0), loose = run(&p, MEP_FLOAT32, 1, 1e-3);
    assert_true(loose.fraction < exact.fraction);
    double bound = 2 * 1e-3 * largest(p.v, key_values(&p)) + 1e-5;
    for (int64_t i = 0; i < query_values(&p); i++)
        assert_true(fabs(tensor_at(&exact.out, i) - tensor_at(&loose.out, i)) <= bound);
    free_result(&exact);
    free_result(&loose);
    free_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_long_heads),
        cmocka_unit_test(test_far_key),
        cmocka_unit_test(test_valley),
        cmocka_unit_test(test_slope),
        cmocka_unit_test(test_tolerances),
        cmocka_unit_test(test_tolerance_of_random_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
