/* SPDX-License-Identifier: MIT */
/*
 * The reach of biases against brute force: certain for every kernel and mixture, and the smallest where no kernel
 * rises.
 */
#include <assert.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "bias/kernel.h"
#include "bias/table.h"
#include "mep/bias.h"

enum { HEADS = 5, LENGTH = 2500, BOUNDS = 40 };

typedef struct reach_case {
    const char *spec;
    int exact; /* reach is the smallest possible: b never rises, or t5 alone */
} reach_case;

/* And every kernel of the list alone. */
static const reach_case MIXTURES[] = {
    {"t5:buckets=64,max=2000", 1},
    {"mep", 1},
    {"tanh + gauss", 1},
    {"3*exp + gauss + kerple_log + kerple_power", 1},
    {"mep_param", 0},
    {"t5 + kerple_log", 0},
    {"t5 + sandwich + exp", 0},
    {"mep/learn=weights,slopes", 1},
    {NULL, 0},
};

enum { CASES_MOST = 100 };
static reach_case CASES[CASES_MOST + 1];

/* A kernel without an upper bound of its own never rises. */
static void list_cases(void)
{
    int count = 0;
    for (int i = 0; mep_kernels[i] != NULL && count < CASES_MOST; i++)
        CASES[count++] = (reach_case){mep_kernels[i]->name, mep_kernels[i]->sup == NULL};
    for (int i = 0; MIXTURES[i].spec != NULL && count < CASES_MOST; i++) CASES[count++] = MIXTURES[i];
    assert(count < CASES_MOST);
}

static mep_bias *create(const char *spec, uint64_t seed)
{
    mep_bias *bias;
    if (mep_bias_create(&bias, spec, HEADS, 16) != MEP_OK) fail_msg("%s", mep_error_message());
    mep_bias_init(bias, seed);
    return bias;
}

/* Move the parameters away from their initial values, so that a kernel that can rise does. */
static void spread_params(mep_bias *bias, uint64_t seed)
{
    int64_t count = mep_bias_param_values(bias);
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < count; i++)
        values[i] = mep_bias_params(bias)[i] + 2.0 * mep_random_normal(seed, 4, (uint64_t)i);
    assert_int_equal(mep_bias_set_params(bias, values, count), MEP_OK);
    free(values);
}

/* One head: b[0 .. LENGTH-1] in float64 and float32. */
static void check_head(const reach_case *c, const double *b, const float *table, double bound, int64_t reach)
{
    assert_true(reach >= 0 && reach <= LENGTH);
    for (int64_t d = reach; d < LENGTH; d++)
        if (!(b[d] <= bound && (double)table[d] <= bound))
            fail_msg("%s: reach %lld for %.17g, but b(%lld) = %.17g", c->spec, (long long)reach, bound, (long long)d,
                     b[d]);
    if (!c->exact || reach == 0) return;
    double last = fmax(b[reach - 1], (double)table[reach - 1]);
    if (!(last > bound - 3e-14 * (1.0 + fabs(bound))))
        fail_msg("%s: reach %lld for %.17g, but b there - 1 is %.17g", c->spec, (long long)reach, bound, last);
}

/* The same of the largest kernel, whose values are known in float32. */
static void check_kernels(const reach_case *c, const mep_bias *bias, uint64_t seed)
{
    int64_t kernels = mep_bias_kernels(bias);
    float *table = malloc((size_t)(HEADS * kernels * LENGTH) * sizeof *table);
    double *scratch = malloc((size_t)mep_bias_scratch(bias) * sizeof *scratch), low[HEADS], high[HEADS];
    static double largest[HEADS * LENGTH];
    assert_non_null(table);
    assert_non_null(scratch);
    assert_int_equal(mep_bias_kernel_tables(bias, LENGTH, table, scratch), MEP_OK);
    assert_int_equal(mep_bias_kernels_at_zero(bias, low, high), MEP_OK);
    for (int64_t h = 0; h < HEADS; h++) {
        double smallest = INFINITY;
        for (int64_t d = 0; d < LENGTH; d++) {
            largest[h * LENGTH + d] = -INFINITY;
            for (int64_t m = 0; m < kernels; m++) {
                double x = (double)table[(h * kernels + m) * LENGTH + d];
                largest[h * LENGTH + d] = fmax(largest[h * LENGTH + d], x);
                if (d == 0) smallest = fmin(smallest, x);
            }
        }
        assert_true(smallest == (double)(float)low[h] && largest[h * LENGTH] == (double)(float)high[h]);
    }
    for (uint64_t i = 0; i < BOUNDS; i++) {
        int64_t place = (int64_t)(mep_random_bits(seed, 5, i) % (HEADS * LENGTH)), reach[HEADS];
        double bound = largest[place] + (i % 2 == 0 ? 0 : mep_random_normal(seed, 6, i));
        assert_int_equal(mep_bias_kernels_reach(bias, bound, LENGTH - 1, reach), MEP_OK);
        for (int64_t h = 0; h < HEADS; h++) {
            const double *b = largest + h * LENGTH;
            for (int64_t d = reach[h]; d < LENGTH; d++)
                if (!(b[d] <= bound))
                    fail_msg("%s: reach %lld for %.17g, but the largest kernel at %lld is %.17g", c->spec,
                             (long long)reach[h], bound, (long long)d, b[d]);
            if (c->exact && reach[h] > 0 && !(b[reach[h] - 1] >= bound - 1e-6 * (1 + fabs(bound))))
                fail_msg("%s: reach %lld for %.17g, but the largest kernel there - 1 is %.17g", c->spec,
                         (long long)reach[h], bound, b[reach[h] - 1]);
        }
    }
    free(table);
    free(scratch);
}

/* Bounds: values of b themselves, in either type, and values around them. */
static void check_case(const reach_case *c, uint64_t seed)
{
    static double b[HEADS * LENGTH];
    static float table[HEADS * LENGTH];
    static int64_t distances[LENGTH];
    mep_bias *bias = create(c->spec, seed);
    if (seed > 2) spread_params(bias, seed);
    for (int64_t d = 0; d < LENGTH; d++) distances[d] = d;
    assert_int_equal(mep_bias_at(bias, distances, LENGTH, b), MEP_OK);
    assert_int_equal(mep_bias_table(bias, LENGTH, table), MEP_OK);
    for (uint64_t i = 0; i < BOUNDS; i++) {
        int64_t place = (int64_t)(mep_random_bits(seed, 1, i) % (HEADS * LENGTH)), reach[HEADS];
        double bound = i % 4 == 0   ? b[place]
                       : i % 4 == 1 ? (double)table[place]
                                    : b[place] + mep_random_normal(seed, 2, i);
        assert_int_equal(mep_bias_reach(bias, bound, LENGTH - 1, reach), MEP_OK);
        for (int64_t h = 0; h < HEADS; h++) check_head(c, b + h * LENGTH, table + h * LENGTH, bound, reach[h]);
    }
    check_kernels(c, bias, seed);
    mep_bias_destroy(&bias);
}

static void test_brute_force(void **state)
{
    (void)state;
    for (const reach_case *c = CASES; c->spec != NULL; c++)
        for (uint64_t seed = 1; seed <= 5; seed++) check_case(c, seed);
}

/* Up to distance 2^31, at distances drawn beyond the reach. */
static void test_long(void **state)
{
    (void)state;
    const int64_t max = (int64_t)1 << 31;
    for (const reach_case *c = CASES; c->spec != NULL; c++) {
        mep_bias *bias = create(c->spec, 3);
        for (uint64_t i = 0; i < 200; i++) {
            int64_t reach[HEADS], head = (int64_t)(i % HEADS);
            double bound = -exp(20.0 * mep_random_uniform(5, 1, i)), b[HEADS];
            assert_int_equal(mep_bias_reach(bias, bound, max, reach), MEP_OK);
            int64_t d = reach[head] + (int64_t)((double)(max - reach[head]) * pow(mep_random_uniform(5, 2, i), 8.0));
            if (reach[head] > max) continue;
            assert_int_equal(mep_bias_at(bias, &d, 1, b), MEP_OK);
            assert_true(b[head] <= bound);
        }
        mep_bias_destroy(&bias);
    }
}

static void test_known(void **state)
{
    (void)state;
    int64_t reach[HEADS];
    mep_bias *bias = create("alibi", 0); /* slopes 1/4 1/16 1/64 1/256 1/2 for 5 heads */
    assert_int_equal(mep_bias_reach(bias, -104.0, 100000, reach), MEP_OK);
    const int64_t expected[HEADS] = {416, 1664, 6656, 26624, 208};
    assert_memory_equal(reach, expected, sizeof reach);
    assert_int_equal(mep_bias_reach(bias, -104.0, 1000, reach), MEP_OK);
    assert_int_equal(reach[0], 416);
    assert_int_equal(reach[1], 1001);
    assert_int_equal(mep_bias_reach(bias, 0.0, 1000, reach), MEP_OK);
    assert_int_equal(reach[0], 0);
    assert_int_equal(mep_bias_reach(bias, NAN, 1000, reach), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_reach(bias, -1.0, -1, reach), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_reach(bias, -1.0, ((int64_t)1 << 31) + 1, reach), MEP_ERROR_ARGUMENT);
    mep_bias_destroy(&bias);
}

int main(void)
{
    list_cases();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
