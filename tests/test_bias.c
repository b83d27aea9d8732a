/* SPDX-License-Identifier: MIT */
/*
 * The values of distance biases and their gradients: the golden cases, a plain reference in long double, distances up
 * to 2^31, finite differences, initial values and ranges of parameters. Specs are tested in test_bias_spec.c, reach in
 * test_bias_reach.c.
 */
#include <assert.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/memory.h"
#include "base/random.h"
#include "bias/bias_internal.h"
#include "bias/table.h"
#include "bias/position.h"
#include "bias/t5.h"
#include "golden.h"
#include "io/safetensors.h"
#include "mep/bias.h"

static const int64_t FAR = (int64_t)1 << 31;

static const char *const MIXTURES[] = {
    "exp_half",
    "mep",
    "mep_param",
    "exp + gauss",
    "tanh + gauss",
    "t5 + kerple_log",
    "3*exp + gauss",
    "t5:buckets=10,max=40 + t5",
    "kerple_power + kerple_log + sandwich",
    "gauss:c=0.3/learn=slopes",
    "mep/learn=weights",
    "mep/learn=weights,slopes",
    "exp + 2*tanh + gauss + sandwich + t5 + kerple_power/learn=slopes,weights",
    "mep_param/learn=weights,slopes",
    "exp:bias_max=16",
    "exp + gauss:c=0.5,bias_max=4.5 + tanh:bias_max=16/learn=slopes",
    NULL,
};

enum { SPECS_MOST = 200 };
static char SPECS[SPECS_MOST][96]; /* those of MIXTURES, and every kernel alone and with what it can learn */
static int spec_count;

static void add_spec(const char *kernel, const char *learn)
{
    assert(spec_count < SPECS_MOST);
    snprintf(SPECS[spec_count++], sizeof SPECS[0], "%s%s", kernel, learn);
}

static void list_specs(void)
{
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        int has_slopes = 0;
        for (int n = 0; n < mep_kernel_param_count(mep_kernels[i]); n++)
            has_slopes |= mep_kernels[i]->params[n].learn == MEP_LEARN_SLOPES;
        add_spec(mep_kernels[i]->name, "");
        if (has_slopes) add_spec(mep_kernels[i]->name, "/learn=slopes");
    }
    for (int i = 0; MIXTURES[i] != NULL; i++) add_spec(MIXTURES[i], "");
}

static mep_bias *create(const char *spec, int64_t heads, int64_t head_dim)
{
    mep_bias *bias;
    if (mep_bias_create(&bias, spec, heads, head_dim) != MEP_OK) fail_msg("%s", mep_error_message());
    return bias;
}

/* Values around the initial ones, away from the ends of every range. */
static void randomize(mep_bias *bias, uint64_t seed)
{
    int64_t count = mep_bias_param_values(bias);
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    mep_bias_init(bias, seed);
    for (int64_t i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        for (int64_t n = entry->info.offset; n < entry->info.offset + entry->info.size; n++) {
            double x = mep_bias_params(bias)[n] + mep_random_uniform(seed, 7, (uint64_t)n) - 0.5;
            values[n] = fmin(fmax(x, entry->min + 0.05), entry->max - 0.05);
        }
    }
    assert_int_equal(mep_bias_set_params(bias, values, count), MEP_OK);
    free(values);
}

static void compare(const char *what, double got, double expected, double relative, double absolute)
{
    if (!(fabs(got - expected) <= relative * fabs(expected) + absolute))
        fail_msg("%s: %.17g, expected %.17g (difference %.3g)", what, got, expected, got - expected);
}

/* ---- Golden cases ---- */

static void golden_spec(json_t *golden, char spec[256])
{
    json_t *kernels = json_object_get(golden, "kernels"), *weights = json_object_get(golden, "weights");
    spec[0] = '\0';
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        size_t used = strlen(spec);
        const char *name = json_string_value(json_array_get(kernels, i));
        double weight = json_is_array(weights) ? json_number_value(json_array_get(weights, i)) : 1.0;
        snprintf(spec + used, 256 - used, "%s%.17g*%s", i == 0 ? "" : " + ", weight, name);
    }
}

/* The numbers of a list or a list of lists, row by row; returns how many. */
static int64_t flatten(json_t *list, double *values)
{
    int64_t count = 0;
    if (!json_is_array(list)) {
        *values = json_number_value(list);
        return 1;
    }
    for (size_t i = 0; i < json_array_size(list); i++) count += flatten(json_array_get(list, i), values + count);
    return count;
}

static int64_t count_numbers(json_t *list)
{
    int64_t count = json_is_array(list) ? 0 : 1;
    for (size_t i = 0; i < json_array_size(list); i++) count += count_numbers(json_array_get(list, i));
    return count;
}

static double *doubles(int64_t count)
{
    double *values = calloc((size_t)count + 1, sizeof *values);
    assert_non_null(values);
    return values;
}

static void set_golden_params(mep_bias *bias, json_t *params)
{
    double *values = doubles(mep_bias_param_values(bias));
    assert_int_equal(mep_bias_param_count(bias), json_object_size(params));
    for (int64_t i = 0; i < mep_bias_param_count(bias); i++) {
        mep_bias_param param;
        assert_int_equal(mep_bias_get_param(bias, i, &param), MEP_OK);
        json_t *list = json_object_get(params, param.name);
        if (list == NULL) fail_msg("the golden case has no parameter %s", param.name);
        assert_int_equal(count_numbers(list), param.size);
        flatten(list, values + param.offset);
    }
    assert_int_equal(mep_bias_set_params(bias, values, mep_bias_param_values(bias)), MEP_OK);
    free(values);
}

/* b to 1e-12 of its value, and 1e-15 where b is near 0 (log 1, where the golden file itself holds 1.1e-16). */
static void check_golden_case(json_t *golden, const int64_t *distances, int64_t count)
{
    char spec[256];
    int64_t heads = json_integer_value(json_object_get(golden, "heads"));
    double *slopes = doubles(heads), *expected_slopes = doubles(heads);
    double *got = doubles(heads * count), *expected = doubles(heads * count);
    golden_spec(golden, spec);
    mep_bias *bias = create(spec, heads, json_integer_value(json_object_get(golden, "head_dim")));
    set_golden_params(bias, json_object_get(golden, "params"));

    assert_int_equal(mep_alibi_slopes(heads, slopes), MEP_OK);
    json_t *golden_slopes = json_object_get(golden, "slopes"); /* kernels2.json has none */
    assert_true(golden_slopes == NULL || count_numbers(golden_slopes) == heads);
    if (golden_slopes != NULL) flatten(golden_slopes, expected_slopes);
    for (int64_t h = 0; h < heads && golden_slopes != NULL; h++)
        compare("slope", slopes[h], expected_slopes[h], 1e-12, 0.0);

    assert_int_equal(count_numbers(json_object_get(golden, "bias")), heads * count);
    flatten(json_object_get(golden, "bias"), expected);
    assert_int_equal(mep_bias_at(bias, distances, count, got), MEP_OK);
    for (int64_t n = 0; n < heads * count; n++) compare(spec, got[n], expected[n], 1e-12, 1e-15);
    mep_bias_destroy(&bias);
    free(slopes);
    free(expected_slopes);
    free(got);
    free(expected);
}

enum { KERNELS_MOST = 64 };

/* Note which kernels a golden case has. */
static void note_kernels(json_t *golden, int seen[KERNELS_MOST])
{
    size_t index;
    json_t *value;
    json_array_foreach(json_object_get(golden, "kernels"), index, value)
    {
        const char *name = json_string_value(value);
        for (int i = 0; mep_kernels[i] != NULL && i < KERNELS_MOST; i++)
            seen[i] |= strcmp(mep_kernels[i]->name, name) == 0;
    }
}

/* The cases of a file, and T5's buckets where it has them. */
static void check_golden_file(const char *path, int seen[KERNELS_MOST])
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) fail_msg("%s: %s", path, error.text);
    json_t *list = json_object_get(root, "distances"), *buckets = json_object_get(root, "t5_bucket");
    int64_t count = (int64_t)json_array_size(list), *distances = calloc((size_t)count + 1, sizeof *distances);
    assert_true(count > 0 && distances != NULL);
    assert_true(buckets == NULL || (int64_t)json_array_size(buckets) == count);
    for (int64_t n = 0; n < count; n++) {
        distances[n] = json_integer_value(json_array_get(list, (size_t)n));
        if (buckets != NULL)
            assert_int_equal(mep_t5_bucket((double)distances[n], 32, 128.0),
                             json_integer_value(json_array_get(buckets, (size_t)n)));
    }
    json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        note_kernels(json_array_get(cases, i), seen);
        check_golden_case(json_array_get(cases, i), distances, count);
    }
    json_decref(root);
    free(distances);
}

/* Every kernel of the list has a golden case. */
static void test_golden(void **state)
{
    (void)state;
    int seen[KERNELS_MOST] = {0};
    check_golden_file(golden_path("bias.json"), seen);
    check_golden_file(golden2_path("kernels2.json"), seen);
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        assert_true(i < KERNELS_MOST);
        if (!seen[i] && !mep_kernels[i]->alone) fail_msg("the kernel %s has no golden case", mep_kernels[i]->name);
    }
}

/* ---- fire, which depends on the position ---- */

/* A case has pairs (position, distance) instead of distances. */
static void check_fire_case(json_t *golden)
{
    char spec[64];
    int64_t heads = json_integer_value(json_object_get(golden, "heads"));
    json_t *pairs = json_object_get(golden, "position_distance");
    int64_t count = (int64_t)json_array_size(pairs),
            threshold = json_integer_value(json_object_get(golden, "threshold"));
    double *expected = doubles(heads * count), *got = doubles(heads);
    snprintf(spec, sizeof spec, "fire:max=%d", (int)threshold);
    mep_bias *bias = create(spec, heads, 64);
    set_golden_params(bias, json_object_get(golden, "params"));
    assert_int_equal(mep_bias_threshold(bias), threshold);
    assert_int_equal(count_numbers(json_object_get(golden, "bias")), heads * count);
    flatten(json_object_get(golden, "bias"), expected);
    for (int64_t n = 0; n < count; n++) {
        json_t *pair = json_array_get(pairs, (size_t)n);
        int64_t position = json_integer_value(json_array_get(pair, 0)),
                distance = json_integer_value(json_array_get(pair, 1));
        assert_int_equal(mep_bias_at_position(bias, position, &distance, 1, got), MEP_OK);
        for (int64_t h = 0; h < heads; h++) compare(spec, got[h], expected[h * count + n], 1e-12, 1e-14);
        if (position > threshold) continue;
        assert_int_equal(mep_bias_at(bias, &distance, 1, got), MEP_OK);
        for (int64_t h = 0; h < heads; h++) compare(spec, got[h], expected[h * count + n], 1e-12, 1e-14);
    }
    mep_bias_destroy(&bias);
    free(expected);
    free(got);
}

static void test_fire_golden(void **state)
{
    (void)state;
    json_error_t error;
    json_t *root = json_load_file(golden2_path("kernels2.json"), 0, &error), *cases = json_object_get(root, "fire");
    if (root == NULL) fail_msg("%s", error.text);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) check_fire_case(json_array_get(cases, i));
    json_decref(root);
}

enum { FIRE_HEADS = 3, FIRE_THRESHOLD = 100, FIRE_QUERIES = 6 };
static const int64_t fire_positions[FIRE_QUERIES] = {101, 102, 150, 700, 5000, 100000};

/* The sum over queries beyond the threshold and some distances of a random number times the bias. */
static double fire_objective(const mep_bias *bias, double *values)
{
    double sum = 0;
    int64_t n = 0;
    for (int q = 0; q < FIRE_QUERIES; q++)
        for (int64_t d = 0; d <= fire_positions[q]; d = d * 3 / 2 + 1) {
            assert_int_equal(mep_bias_at_position(bias, fire_positions[q], &d, 1, values), MEP_OK);
            for (int h = 0; h < FIRE_HEADS; h++) sum += mep_random_normal(3, 1, (uint64_t)n++) * values[h];
        }
    return sum;
}

/* The pieces are the function, and sums over pieces give its gradient: finite differences. */
static void test_fire_pieces(void **state)
{
    (void)state;
    mep_bias *bias = create("fire:max=100", FIRE_HEADS, 16);
    for (uint64_t seed = 1; seed < 6; seed++) {
        double values[FIRE_HEADS], sums[FIRE_HEADS * MEP_BIAS_PIECES * 3] = {0}, params[512], grad[512] = {0};
        int64_t count = mep_bias_param_values(bias), n = 0;
        mep_bias_pieces p;
        randomize(bias, seed);
        memcpy(params, mep_bias_params(bias), (size_t)count * sizeof *params);
        assert_true(mep_bias_get_pieces(bias, &p) && p.count > 2 && p.threshold == FIRE_THRESHOLD);
        for (int q = 0; q < FIRE_QUERIES; q++)
            for (int64_t d = 0; d <= fire_positions[q]; d = d * 3 / 2 + 1) {
                double position = (double)fire_positions[q], scale = 1 / log1p(p.c * position);
                double x = log1p(p.c * (double)d) * scale;
                double by_c = scale * ((double)d / (1 + p.c * (double)d) - x * position / (1 + p.c * position));
                int64_t g = 0;
                while (g < p.count - 1 && p.knots[g] < x) g++;
                assert_int_equal(mep_bias_at_position(bias, fire_positions[q], &d, 1, values), MEP_OK);
                for (int64_t h = 0; h < FIRE_HEADS; h++) {
                    int64_t at = h * MEP_BIAS_PIECES + g;
                    double ds = mep_random_normal(3, 1, (uint64_t)n++);
                    compare("piece", p.slope[at] * x + p.offset[at], values[h], 1e-12, 1e-12);
                    sums[at * 3] += ds, sums[at * 3 + 1] += ds * x, sums[at * 3 + 2] += ds * by_c;
                }
            }
        mep_bias_pieces_backward(bias, sums, grad);
        for (int64_t i = 0; i < count; i++) {
            double step = 1e-6, x = params[i], above, below;
            params[i] = x + step;
            assert_int_equal(mep_bias_set_params(bias, params, count), MEP_OK);
            above = fire_objective(bias, values);
            params[i] = x - step;
            assert_int_equal(mep_bias_set_params(bias, params, count), MEP_OK);
            below = fire_objective(bias, values);
            params[i] = x;
            compare("gradient", grad[i], (above - below) / (2 * step), 1e-6, 1e-6);
        }
    }
    mep_bias_destroy(&bias);
}

/* The default threshold is the training length, and wrong calls are refused. */
static void test_fire_threshold(void **state)
{
    (void)state;
    mep_bias *fire = create("fire", 2, 16), *mep = create("mep", 2, 16);
    int64_t distance = 11, far[2] = {3, 11};
    double a[4], b[4];
    assert_int_equal(mep_bias_threshold(fire), 512);
    assert_int_equal(mep_bias_set_train_length(fire, 64), MEP_OK);
    assert_int_equal(mep_bias_threshold(fire), 64);
    assert_string_equal(mep_bias_spec(fire), "fire");
    assert_true(mep_bias_threshold(mep) == INT64_MAX && mep_bias_threshold(NULL) == INT64_MAX);
    assert_int_equal(mep_bias_set_train_length(fire, 0), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_at_position(fire, 10, &distance, 1, a), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_at_position(fire, -1, &distance, 1, a), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_at_position(mep, 10, far, 2, a), MEP_OK);
    assert_int_equal(mep_bias_at(mep, far, 2, b), MEP_OK);
    assert_memory_equal(a, b, sizeof a);
    mep_bias_destroy(&fire);
    mep_bias_destroy(&mep);
}

/* Where d/exact and max/exact are powers of 2, the quotient of their logarithms is rational and the bucket known
 * exactly. */
static void test_t5_buckets(void **state)
{
    (void)state;
    for (int64_t k = 0; k < 6; k++) assert_int_equal(mep_t5_bucket((double)(16 << k), 32, 1024.0), 16 + 16 * k / 6);
    for (int64_t k = 0; k < 8; k++) assert_int_equal(mep_t5_bucket((double)(8 << k), 16, 2048.0), 8 + k);
    for (int64_t buckets = 2; buckets < 70; buckets += 3)
        for (int64_t d = 0, last = 0; d < 600; d++) {
            int64_t bucket = mep_t5_bucket((double)d, buckets, 300.0);
            assert_true(bucket >= last && bucket < buckets);
            if (d <= buckets / 2) assert_int_equal(bucket, d < buckets - 1 ? d : buckets - 1);
            if (d >= 300) assert_int_equal(bucket, buckets - 1);
            last = bucket;
        }
}

/* ---- Identities and a plain reference ---- */

/* log sum w exp(v), the terms' own logarithms taken as given. */
static double plain_mix(const mep_bias *bias, int64_t head, const double *values)
{
    long double top = -INFINITY, sum = 0.0L;
    for (int m = 0; m < bias->spec.count; m++) {
        long double x =
            (long double)values[m * bias->heads + head] + (long double)bias->log_weights[m * bias->heads + head];
        top = fmaxl(top, x);
    }
    for (int m = 0; m < bias->spec.count; m++) {
        long double x =
            (long double)values[m * bias->heads + head] + (long double)bias->log_weights[m * bias->heads + head];
        sum += expl(x - top);
    }
    return (double)(top + logl(sum));
}

static void test_reference_and_table(void **state)
{
    (void)state;
    enum { HEADS = 6, LENGTH = 300 };
    static double got[HEADS * LENGTH], values[32 * HEADS];
    static float table[HEADS * LENGTH];
    int64_t distances[LENGTH];
    for (int64_t d = 0; d < LENGTH; d++) distances[d] = d;
    for (int s = 0; s < spec_count; s++) {
        mep_bias *bias = create(SPECS[s], HEADS, 8);
        randomize(bias, (uint64_t)s);
        assert_int_equal(mep_bias_at(bias, distances, LENGTH, got), MEP_OK);
        assert_int_equal(mep_bias_table(bias, LENGTH, table), MEP_OK);
        for (int64_t n = 0; n < HEADS * LENGTH; n++) {
            mep_bias_log_values(bias, (double)(n % LENGTH), values);
            double plain = plain_mix(bias, n / LENGTH, values);
            compare(SPECS[s], got[n], plain, 1e-14, 2e-15);
            assert_true(table[n] == (float)got[n]);
        }
        mep_bias_destroy(&bias);
    }
}

/* A single kernel is the kernel's logarithm to the bit, and a sum of equal kernels is the kernel. */
static void test_single(void **state)
{
    (void)state;
    int64_t distances[] = {0, 1, 5, 100, 4321, 99999, FAR};
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        if (mep_kernels[i]->alone) continue;
        char twice[64];
        double one[7 * 3], two[7 * 3], values[3], params[2048];
        snprintf(twice, sizeof twice, "%s + %s", mep_kernels[i]->name, mep_kernels[i]->name);
        mep_bias *bias = create(mep_kernels[i]->name, 3, 16), *sum = create(twice, 3, 16);
        int64_t count = mep_bias_param_values(bias);
        randomize(bias, 5);
        assert_true(2 * count <= 2048);
        for (int64_t n = 0; n < 2 * count; n++) params[n] = mep_bias_params(bias)[n % count];
        assert_int_equal(mep_bias_set_params(sum, params, 2 * count), MEP_OK);
        assert_int_equal(mep_bias_at(bias, distances, 7, one), MEP_OK);
        assert_int_equal(mep_bias_at(sum, distances, 7, two), MEP_OK);
        for (int64_t n = 0; n < 7; n++) {
            mep_kernels[i]->log_value(&bias->terms[0], (double)distances[n], values);
            for (int64_t h = 0; h < 3; h++) {
                assert_true(one[h * 7 + n] == values[h]);
                assert_true(two[h * 7 + n] == values[h]);
            }
        }
        mep_bias_destroy(&bias);
        mep_bias_destroy(&sum);
    }
}

/* MEP's kernels underflow after a few hundred tokens; far away the slowest one with its weight is all of b. */
static void test_far(void **state)
{
    (void)state;
    int64_t distances[] = {FAR, FAR - 1, 1000003};
    double got[3 * 12], slopes[12];
    mep_alibi_slopes(12, slopes);
    mep_bias *bias = create("mep", 12, 64);
    assert_int_equal(mep_bias_at(bias, distances, 3, got), MEP_OK);
    for (int h = 0; h < 12; h++)
        for (int n = 0; n < 3; n++)
            compare("mep", got[h * 3 + n], -0.5 * slopes[h] * (double)distances[n] - log(3.0), 1e-15, 0.0);
    assert_int_equal(mep_bias_at(bias, distances, -1, got), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_at_position(bias, -1, distances, 3, got), MEP_ERROR_ARGUMENT);
    mep_bias_destroy(&bias);
}

/* Finite in float64 and float32 at every distance, for any parameters: random ones, and all at either end of their
 * ranges. */
static void test_finite(void **state)
{
    (void)state;
    int64_t distances[] = {0, 1, 2, 1000, 1000000, FAR - 1, FAR};
    for (int s = 0; s < spec_count; s++) {
        mep_bias *bias = create(SPECS[s], 5, 64);
        int64_t count = mep_bias_param_values(bias);
        double got[7 * 5], *values = calloc((size_t)count + 1, sizeof *values);
        for (int round = 0; round < 3; round++) {
            for (int64_t n = 0; n < count; n++) values[n] = round == 1 ? DBL_MAX : -DBL_MAX;
            if (round == 0)
                randomize(bias, 3);
            else
                assert_int_equal(mep_bias_set_params(bias, values, count), MEP_OK);
            assert_int_equal(mep_bias_at(bias, distances, 7, got), MEP_OK);
            for (int n = 0; n < 35; n++)
                if (!isfinite((float)got[n])) fail_msg("%s, round %d: %g", SPECS[s], round, got[n]);
        }
        free(values);
        mep_bias_destroy(&bias);
    }
}

/* A weight too small for float64 still decides where the other kernels have vanished. */
static void test_tiny_weight(void **state)
{
    (void)state;
    mep_bias *bias = create("exp + gauss/learn=weights", 1, 1);
    double params[2] = {-1000.0, 0.0}, got[2];
    int64_t distances[] = {10, 1000000};
    assert_int_equal(mep_bias_set_params(bias, params, 2), MEP_OK);
    assert_int_equal(mep_bias_at(bias, distances, 2, got), MEP_OK);
    compare("near", got[0], -100.0 / 256.0, 1e-15, 0.0);
    compare("far", got[1], -1000000.0 / 256.0 - 1000.0, 1e-15, 0.0);
    mep_bias_destroy(&bias);
}

/* ---- Gradients ---- */

enum { GRAD_HEADS = 4, GRAD_LENGTH = 45 };

/* sum_h,d dtable b, as a function of the parameters. */
static double objective(mep_bias *bias, const double *params, const double *dtable)
{
    int64_t distances[GRAD_LENGTH];
    double b[GRAD_HEADS * GRAD_LENGTH], sum = 0.0;
    for (int64_t d = 0; d < GRAD_LENGTH; d++) distances[d] = d;
    assert_int_equal(mep_bias_set_params(bias, params, mep_bias_param_values(bias)), MEP_OK);
    assert_int_equal(mep_bias_at(bias, distances, GRAD_LENGTH, b), MEP_OK);
    for (int64_t n = 0; n < GRAD_HEADS * GRAD_LENGTH; n++) sum += dtable[n] * b[n];
    return sum;
}

/* Rounding of b over the step bounds the tolerance: b is good to 1e-16 of its size, but tanh far away only to 1e-10. */
static void check_bias_gradient(const char *spec, mep_bias *bias, uint64_t seed)
{
    double tolerance = strncmp(spec, "tanh/", 5) == 0 ? 2e-5 : 2e-7;
    randomize(bias, seed);
    int64_t count = mep_bias_param_values(bias);
    double dtable[GRAD_HEADS * GRAD_LENGTH], *params = calloc((size_t)count + 1, sizeof *params),
                                             *grad = calloc((size_t)count + 1, sizeof *grad);
    memcpy(params, mep_bias_params(bias), (size_t)count * sizeof *params);
    for (int64_t n = 0; n < GRAD_HEADS * GRAD_LENGTH; n++) dtable[n] = mep_random_normal(seed, 1, (uint64_t)n);
    for (int64_t n = 0; n < count; n++) grad[n] = 10.0; /* to be added to */
    assert_int_equal(mep_bias_table_backward(bias, GRAD_LENGTH, dtable, grad), MEP_OK);
    for (int64_t n = 0; n < count; n++) {
        double step = 1e-5, x = params[n];
        params[n] = x + step;
        double above = objective(bias, params, dtable);
        params[n] = x - step;
        double below = objective(bias, params, dtable);
        params[n] = x;
        compare(spec, grad[n] - 10.0, (above - below) / (2.0 * step), tolerance, tolerance);
    }
    free(params);
    free(grad);
}

static void check_gradient(const char *spec, uint64_t seed)
{
    mep_bias *bias = create(spec, GRAD_HEADS, 8);
    check_bias_gradient(spec, bias, seed);
    mep_bias_destroy(&bias);
}

/* ---- Golden gradients ---- */

/* A tensor of float64. The caller frees it. */
static double *golden_values(const mep_safetensors *file, const char *name, int64_t size)
{
    const mep_safetensors_entry *entry = mep_safetensors_find(file, name);
    if (entry == NULL || entry->size != size) fail_msg("no tensor %s of %lld values", name, (long long)size);
    double *values = doubles(size);
    assert_int_equal(mep_safetensors_read(file, name, MEP_FLOAT64, entry->ndim, entry->shape, values), MEP_OK);
    return values;
}

/* bam's table and the gradients of its parameters, from the gradient of the table, by the second oracle. */
static void test_golden_gradient(void **state)
{
    (void)state;
    enum { HEADS = 4, LENGTH = 37 };
    int64_t distances[LENGTH];
    double table[HEADS * LENGTH], grad[2 * HEADS] = {0.0}, params[2 * HEADS];
    mep_safetensors *file;
    mep_bias *bias = create("bam", HEADS, 16);
    assert_int_equal(mep_safetensors_open(&file, golden2_path("terms_bam.safetensors")), MEP_OK);
    double *a = golden_values(file, "param.bam.log_a", HEADS), *p = golden_values(file, "param.bam.p", HEADS),
           *da = golden_values(file, "dparam.bam.log_a", HEADS), *dp = golden_values(file, "dparam.bam.p", HEADS),
           *expected = golden_values(file, "table", HEADS * LENGTH),
           *dtable = golden_values(file, "dtable", HEADS * LENGTH);
    for (int64_t d = 0; d < LENGTH; d++) distances[d] = d;
    memcpy(params, a, sizeof params / 2);
    memcpy(params + HEADS, p, sizeof params / 2);
    assert_int_equal(mep_bias_set_params(bias, params, 2 * HEADS), MEP_OK);
    assert_int_equal(mep_bias_at(bias, distances, LENGTH, table), MEP_OK);
    for (int n = 0; n < HEADS * LENGTH; n++) compare("table", table[n], expected[n], 1e-12, 1e-15);
    assert_int_equal(mep_bias_table_backward(bias, LENGTH, dtable, grad), MEP_OK);
    for (int h = 0; h < HEADS; h++) {
        compare("log_a", grad[h], da[h], 1e-11, 1e-12);
        compare("p", grad[HEADS + h], dp[h], 1e-11, 1e-12);
    }
    double *const buffers[] = {a, p, da, dp, expected, dtable};
    for (int i = 0; i < 6; i++) free(buffers[i]);
    mep_safetensors_close(&file);
    mep_bias_destroy(&bias);
}

/* ---- A kernel of any shape ---- */

/* Three options, and parameters of every kind of shape: log K_h(d) = -d (exp(c) + sum_r w[h, r] v[r]) + t[d, h]. */
enum { PROBE_ROWS = 5 };
enum { C, V, W, T };

static double probe_rate(const mep_term *term, int64_t head)
{
    double rate = exp(mep_term_param(term, C)[0]);
    for (int r = 0; r < PROBE_ROWS; r++)
        rate += mep_term_param(term, W)[head * PROBE_ROWS + r] * mep_term_param(term, V)[r];
    return rate;
}

static int64_t probe_row(const mep_term *term, double distance)
{
    int64_t last = (int64_t)term->options[1] - 1;
    return (int64_t)distance < last ? (int64_t)distance : last;
}

static void probe_value(const mep_term *term, double distance, double *out)
{
    const double *row = mep_term_param(term, T) + probe_row(term, distance) * term->heads;
    for (int64_t h = 0; h < term->heads; h++) out[h] = row[h] - distance * probe_rate(term, h);
}

static void probe_gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    const double *v = mep_term_param(term, V), *w = mep_term_param(term, W);
    double *dc = mep_term_gradient(term, C, grad), *dv = mep_term_gradient(term, V, grad),
           *dw = mep_term_gradient(term, W, grad), *dt = mep_term_gradient(term, T, grad);
    for (int64_t h = 0; h < term->heads; h++) {
        dc[0] -= upstream[h] * distance * exp(mep_term_param(term, C)[0]);
        dt[probe_row(term, distance) * term->heads + h] += upstream[h];
        for (int r = 0; r < PROBE_ROWS; r++) {
            dv[r] -= upstream[h] * distance * w[h * PROBE_ROWS + r];
            dw[h * PROBE_ROWS + r] -= upstream[h] * distance * v[r];
        }
    }
}

static double probe_init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)term;
    return 0.1 * param + mep_random_uniform(seed, stream, (uint64_t)index);
}

static const mep_kernel_option probe_options[] = {
    {.name = "first", .value = 1, .min = 0, .max = 9},
    {.name = "rows", .value = 7, .min = 1, .max = 99, .integer = 1},
    {.name = "third", .value = 3, .min = 0, .max = 9},
    {.name = NULL},
};

static const mep_kernel_param probe_params[] = {
    [C] = {.name = "c", .shape = {MEP_DIMENSION_NONE}, .min = -9, .max = 9},
    [V] = {.name = "v", .shape = {PROBE_ROWS}, .min = -9, .max = 9},
    [W] = {.name = "w", .shape = {MEP_DIMENSION_HEADS, PROBE_ROWS}, .min = -9, .max = 9},
    [T] = {.name = "t", .shape = {MEP_DIMENSION_OPTION - 1, MEP_DIMENSION_HEADS}, .min = -9, .max = 9},
    {.name = NULL},
};

static const mep_kernel probe = {.name = "probe",
                                 .options = probe_options,
                                 .params = probe_params,
                                 .init = probe_init,
                                 .log_value = probe_value,
                                 .gradient = probe_gradient};

static void test_any_shape(void **state)
{
    (void)state;
    static const mep_bias_param expected[] = {
        {"probe.c", 0, {1, 1}, 1, 0},
        {"probe.v", 1, {PROBE_ROWS, 1}, PROBE_ROWS, 1},
        {"probe.w", 2, {GRAD_HEADS, PROBE_ROWS}, GRAD_HEADS * PROBE_ROWS, 1 + PROBE_ROWS},
        {"probe.t", 2, {8, GRAD_HEADS}, 8 * GRAD_HEADS, 1 + PROBE_ROWS + GRAD_HEADS * PROBE_ROWS},
    };
    double options[] = {1, 8, 3};
    mep_position_entry entry = {.kind = MEP_POSITION_BIAS};
    mep_position position = {.count = 1, .entries = &entry, .spec = (char *)"probe:rows=8"};
    entry.mixture =
        (mep_spec){.count = 1, .terms = {{.kernel = &probe, .weight = 1}}, .options = options, .option_count = 3};
    mep_bias *bias;
    assert_int_equal(mep_bias_create_from(&bias, &position, GRAD_HEADS, 8), MEP_OK);
    assert_string_equal(mep_bias_spec(bias), "probe:rows=8");
    assert_int_equal(mep_bias_param_count(bias), 4);
    for (int64_t i = 0; i < 4; i++) {
        mep_bias_param param;
        assert_int_equal(mep_bias_get_param(bias, i, &param), MEP_OK);
        assert_string_equal(param.name, expected[i].name);
        assert_int_equal(param.ndim, expected[i].ndim);
        assert_memory_equal(param.shape, expected[i].shape, sizeof param.shape);
        assert_int_equal(param.size, expected[i].size);
        assert_int_equal(param.offset, expected[i].offset);
    }
    assert_true(mep_position_values(&position, GRAD_HEADS) == (double)mep_bias_param_values(bias));
    check_bias_gradient("probe", bias, 3);
    mep_bias_destroy(&bias);
}

static void test_gradients(void **state)
{
    (void)state;
    for (int s = 0; s < spec_count; s++) check_gradient(SPECS[s], (uint64_t)s + 100);
}

/* A clamped value takes its gradient as any other: PyTorch's .data.clamp does not stop it. */
static void test_gradient_at_the_end_of_a_range(void **state)
{
    (void)state;
    mep_bias *bias = create("kerple_log", 1, 1);
    double params[2] = {-3.0, -3.0}, dtable[3] = {0.0, 0.0, 1.0}, grad[2] = {0.0, 0.0};
    assert_int_equal(mep_bias_set_params(bias, params, 2), MEP_OK);
    assert_true(mep_bias_params(bias)[0] == 0.01 && mep_bias_params(bias)[1] == 0.01);
    assert_int_equal(mep_bias_table_backward(bias, 3, dtable, grad), MEP_OK);
    compare("p", grad[0], -log(1.02), 1e-14, 0.0);
    compare("a", grad[1], -0.01 * 2.0 / 1.02, 1e-14, 0.0);
    mep_bias_destroy(&bias);
}

/* ---- Parameters ---- */

static void test_init(void **state)
{
    (void)state;
    mep_bias *a = create("mep_param", 12, 64), *b = create("kerple_log + t5 + exp + gauss", 12, 64);
    int64_t count = mep_bias_param_values(a);
    size_t bytes = (size_t)count * sizeof(double);
    assert_int_equal(count, 32 * 12 + 24);
    assert_int_equal(mep_bias_param_values(b), count);
    assert_memory_equal(mep_bias_params(a), mep_bias_params(b), bytes);
    mep_bias_init(a, 9);
    assert_memory_not_equal(mep_bias_params(a), mep_bias_params(b), bytes);
    mep_bias_init(b, 9);
    assert_memory_equal(mep_bias_params(a), mep_bias_params(b), bytes);
    mep_bias_destroy(&a);
    mep_bias_destroy(&b);
}

/* Mean and spread of the initial values against their distributions, within five standard errors. */
static void test_init_distributions(void **state)
{
    (void)state;
    enum { HEADS = 20000 };
    mep_bias *bias = create("kerple_log + t5:buckets=4,max=8", HEADS, 64);
    const double mean[] = {0.0, 1.0, 0.5}, deviation[] = {sqrt(2.0 / (4 + HEADS)), 2.0 / sqrt(12.0), 1.0 / sqrt(12.0)};
    const char *const names[] = {"t5.table", "kerple_log.p", "kerple_log.a"};
    for (int i = 0; i < 3; i++) {
        mep_bias_param param;
        assert_int_equal(mep_bias_get_param(bias, i, &param), MEP_OK);
        assert_string_equal(param.name, names[i]);
        double sum = 0.0, squares = 0.0, n = (double)param.size;
        for (int64_t k = 0; k < param.size; k++) {
            double x = mep_bias_params(bias)[param.offset + k];
            assert_true(i == 0 || x >= 0.01);
            sum += x;
            squares += (x - mean[i]) * (x - mean[i]);
        }
        compare("mean", sum / n, mean[i], 0.0, 5.0 * deviation[i] / sqrt(n));
        compare("deviation", sqrt(squares / n), deviation[i], 5.0 / sqrt(n), 0.0);
    }
    mep_bias_destroy(&bias);
}

/* bias_max: MPT's slopes by its own formula (attention.py of mosaicml/mpt-7b): 2^(-bias_max i/n) for i = 1..n, n the
 * power of two from `heads` on; where that is not `heads`, the 2nd, 4th, ... come first, then the 1st, 3rd, .... */
static void test_bias_max(void **state)
{
    (void)state;
    static const double most[] = {8, 16, 4.5, 1};
    for (int64_t heads = 1; heads <= 20; heads++)
        for (int m = 0; m < 4; m++) {
            char spec[64];
            int64_t n = 1, distance = 37;
            double got[20], gauss[20];
            while (n < heads) n *= 2;
            snprintf(spec, sizeof spec, "exp:bias_max=%g", most[m]);
            mep_bias *bias = create(spec, heads, 8);
            assert_string_equal(mep_bias_spec(bias), most[m] == 8 ? "alibi" : spec);
            assert_int_equal(mep_bias_at(bias, &distance, 1, got), MEP_OK);
            mep_bias_destroy(&bias);
            snprintf(spec, sizeof spec, "gauss:c=3,bias_max=%g", most[m]);
            bias = create(spec, heads, 8);
            assert_int_equal(mep_bias_at(bias, &distance, 1, gauss), MEP_OK);
            mep_bias_destroy(&bias);
            for (int64_t h = 0; h < heads; h++) {
                int64_t i = n == heads ? h + 1 : h < n / 2 ? 2 * (h + 1) : 2 * (h - n / 2) + 1;
                double slope = exp2(-most[m] * (double)i / (double)n);
                compare("exp:bias_max", got[h], -slope * 37, 1e-14, 0);
                compare("gauss:bias_max", gauss[h], -3 * slope * 37 * 37, 1e-14, 0);
            }
        }
}

/* Learned weights and slopes start at the values of the fixed bias. */
static void test_learned_start(void **state)
{
    (void)state;
    int64_t distances[] = {0, 1, 7, 300, FAR};
    double fixed[5 * 12], learned[5 * 12];
    mep_bias *a = create("2*exp + exp:c=0.5 + 3*tanh", 12, 64),
             *b = create("2*exp + exp:c=0.5 + 3*tanh/learn=weights,slopes", 12, 64);
    const char *const names[] = {"exp.log_c", "exp_2.log_c", "tanh.log_c", "weights"};
    assert_int_equal(mep_bias_param_count(a), 0);
    assert_int_equal(mep_bias_param_count(b), 4);
    for (int64_t i = 0; i < 4; i++) {
        mep_bias_param param;
        assert_int_equal(mep_bias_get_param(b, i, &param), MEP_OK);
        assert_string_equal(param.name, names[i]);
        assert_int_equal(param.ndim, i < 3 ? 1 : 2);
        assert_int_equal(param.shape[0], i < 3 ? 12 : 3);
        assert_int_equal(param.shape[1], i < 3 ? 1 : 12);
        assert_int_equal(param.offset, 12 * i);
    }
    assert_int_equal(mep_bias_at(a, distances, 5, fixed), MEP_OK);
    assert_int_equal(mep_bias_at(b, distances, 5, learned), MEP_OK);
    for (int n = 0; n < 60; n++) compare("learned", learned[n], fixed[n], 1e-14, 4e-16);
    mep_bias_destroy(&a);
    mep_bias_destroy(&b);
}

static void test_ranges(void **state)
{
    (void)state;
    mep_bias *bias = create("kerple_power", 2, 4);
    double good[4] = {0.5, 0.001, 5.0, 1.5}, bad[4] = {0.5, 0.5, NAN, 0.5};
    assert_int_equal(mep_bias_set_params(bias, good, 4), MEP_OK);
    const double *p = mep_bias_params(bias);
    assert_true(p[0] == 0.5 && p[1] == 0.01 && p[2] == 2.0 && p[3] == 1.5);
    assert_int_equal(mep_bias_set_params(bias, bad, 4), MEP_ERROR_NUMERIC);
    assert_non_null(strstr(mep_error_message(), "kerple_power.p"));
    assert_true(p[0] == 0.5 && p[2] == 2.0);
    assert_int_equal(mep_bias_set_params(bias, good, 3), MEP_ERROR_ARGUMENT);

    float masters[4] = {0.5f, -1.0f, 3.0f, NAN};
    mep_bias_constrain(bias, masters);
    assert_true(masters[0] == 0.5f && masters[1] == 0.01f && masters[2] == 2.0f && isnan(masters[3]));
    mep_bias_destroy(&bias);
}

/* ---- Calls that fail ---- */

static void test_errors(void **state)
{
    (void)state;
    mep_bias *bias = create("mep", 2, 4), *none;
    int64_t distances[] = {-1, FAR + 1};
    double out[2], slopes[1];
    float table[2];
    mep_bias_param param;
    assert_int_equal(mep_bias_at(bias, &distances[0], 1, out), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_at(bias, &distances[1], 1, out), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_table(bias, 0, table), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_table_backward(bias, 0, out, out), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_get_param(bias, 0, &param), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_alibi_slopes(0, slopes), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_create(&none, "mep", 0, 4), MEP_ERROR_ARGUMENT);
    assert_null(none);
    assert_int_equal(mep_bias_create(&none, "mep", INT64_MAX / 2, 4), MEP_ERROR_MEMORY);
    assert_null(none);
    mep_bias_destroy(&none);
    mep_bias_destroy(&bias);
    assert_null(bias);
}

/* Every allocation of creation fails once; none leaks (under a sanitizer) and none crashes. */
static void test_failing_allocations(void **state)
{
    (void)state;
    mep_fail_allocation(0);
    mep_bias *bias = create("mep_param/learn=weights", 3, 8);
    int64_t needed = mep_fail_allocation(0);
    assert_true(needed >= 6);
    mep_bias_destroy(&bias);
    for (int64_t n = 1; n <= needed; n++) {
        mep_fail_allocation(n);
        assert_int_equal(mep_bias_create(&bias, "mep_param/learn=weights", 3, 8), MEP_ERROR_MEMORY);
        assert_null(bias);
    }
    mep_fail_allocation(0);
}

int main(void)
{
    list_specs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bias_max),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_fire_golden),
        cmocka_unit_test(test_fire_pieces),
        cmocka_unit_test(test_fire_threshold),
        cmocka_unit_test(test_t5_buckets),
        cmocka_unit_test(test_reference_and_table),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_far),
        cmocka_unit_test(test_finite),
        cmocka_unit_test(test_tiny_weight),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_any_shape),
        cmocka_unit_test(test_golden_gradient),
        cmocka_unit_test(test_gradient_at_the_end_of_a_range),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_distributions),
        cmocka_unit_test(test_learned_start),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
