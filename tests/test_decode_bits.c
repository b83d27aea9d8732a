/* SPDX-License-Identifier: MIT */
/*
 * Calls of one to four queries, which are decoded, have the bits of the same queries in a call of all queries, which is
 * computed in tiles: output and log-sum-exp, under every CPU level, with every type, for any number of channels, with
 * and without skipping.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/random.h"
#include "mep/mep.h"

enum { HEADS = 3, BATCH = 2, MOST = 1400 };

/* [batch, tokens, heads, channels] in one buffer: tokens of a head are HEADS * channels values apart. */
static void *random_tensor(int64_t length, int64_t channels, mep_dtype dtype, double size, const char *name)
{
    int64_t n = BATCH * length * HEADS * channels;
    void *x = calloc((size_t)n, 4);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)(size * mep_random_normal(5, mep_random_stream(name), (uint64_t)i));
        if (dtype == MEP_FLOAT32)
            ((float *)x)[i] = value;
        else
            ((mep_bf16 *)x)[i] = mep_bf16_from_float(value);
    }
    return x;
}

static mep_tensor_view view(void *x, int64_t first, int64_t length, int64_t channels, mep_dtype dtype)
{
    int64_t row = HEADS * channels;
    return (mep_tensor_view){.data = (char *)x + first * row * (dtype == MEP_FLOAT32 ? 4 : 2),
                             .batch_stride = length * row,
                             .head_stride = channels,
                             .token_stride = row};
}

static mep_attention *make_plan(const char *spec, int64_t length, int64_t channels, mep_dtype dtype, int skip_far)
{
    static float table[HEADS * MOST];
    mep_attention_settings s;
    mep_attention *plan;
    mep_bias *bias;
    mep_attention_defaults(&s);
    s.heads = HEADS, s.head_dim = channels, s.max_length = length, s.dtype = dtype, s.skip_far = skip_far;
    assert_int_equal(mep_attention_create(&plan, &s), MEP_OK);
    if (spec == NULL) return plan;
    assert_int_equal(mep_bias_create(&bias, spec, HEADS, channels), MEP_OK);
    assert_int_equal(mep_bias_table(bias, length, table), MEP_OK);
    const mep_attention_terms terms = {.table = table, .table_length = length};
    assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
    mep_bias_destroy(&bias);
    return plan;
}

/* Compare queries end - count .. end - 1 with the keys before them, and the same rows of the sequence. */
static void check_end(mep_attention *plan, int64_t length, int64_t channels, mep_dtype dtype, void *const x[4],
                      const float *lse, int64_t end, int64_t count)
{
    int64_t first = end - count, row = HEADS * channels, size = dtype == MEP_FLOAT32 ? 4 : 2;
    char *out = calloc((size_t)(BATCH * count * row), 4);
    float *found = calloc((size_t)(BATCH * HEADS * count), sizeof *found);
    const mep_attention_call call = {.batch = BATCH,
                                     .queries = count,
                                     .keys = end,
                                     .q = view(x[0], first, length, channels, dtype),
                                     .k = view(x[1], 0, length, channels, dtype),
                                     .v = view(x[2], 0, length, channels, dtype),
                                     .out = view(out, 0, count, channels, dtype),
                                     .lse = found};
    assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
    for (int64_t b = 0; b < BATCH; b++)
        for (int64_t i = 0; i < count; i++) {
            const char *all = (const char *)x[3] + (b * length + first + i) * row * size;
            if (memcmp(out + (b * count + i) * row * size, all, (size_t)(row * size)) != 0)
                fail_msg("%s %s, %lld channels: query %lld of %lld has other bits when decoded", mep_cpu_level_name(),
                         mep_dtype_name(dtype), (long long)channels, (long long)(first + i), (long long)length);
            for (int64_t h = 0; h < HEADS; h++)
                assert_true(found[(b * HEADS + h) * count + i] == lse[(b * HEADS + h) * length + first + i]);
        }
    free(out);
    free(found);
}

static void check(const char *spec, int64_t length, int64_t channels, mep_dtype dtype, double size)
{
    void *x[4] = {random_tensor(length, channels, dtype, size, "q"), random_tensor(length, channels, dtype, size, "k"),
                  random_tensor(length, channels, dtype, 1, "v"), random_tensor(length, channels, dtype, 0, "out")};
    float *lse = calloc((size_t)(BATCH * HEADS * length), sizeof *lse);
    for (int skip_far = 0; skip_far < 2; skip_far++) {
        mep_attention *plan = make_plan(spec, length, channels, dtype, skip_far);
        const mep_attention_call call = {.batch = BATCH,
                                         .queries = length,
                                         .keys = length,
                                         .q = view(x[0], 0, length, channels, dtype),
                                         .k = view(x[1], 0, length, channels, dtype),
                                         .v = view(x[2], 0, length, channels, dtype),
                                         .out = view(x[3], 0, length, channels, dtype),
                                         .lse = lse};
        assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
        for (int64_t end = 5; end <= length; end += length < 100 ? 7 : 61)
            check_end(plan, length, channels, dtype, x, lse, end, 1 + end % 4);
        check_end(plan, length, channels, dtype, x, lse, length, 1);
        mep_attention_destroy(&plan);
    }
    for (int i = 0; i < 4; i++) free(x[i]);
    free(lse);
}

static void test_bits(void **state)
{
    (void)state;
    static const int64_t channels[] = {1, 16, 33, 64, 80, 96, 128};
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        mep_cpu_level_set((mep_cpu_level)level);
        for (int type = 0; type < 2; type++) {
            mep_dtype dtype = type ? MEP_BFLOAT16 : MEP_FLOAT32;
            for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) check("mep", 200, channels[i], dtype, 1);
            check(NULL, MOST, 64, dtype, 1);
            check("mep", MOST, 64, dtype, 2); /* far blocks have a weight of exactly 0 */
            check("t5 + kerple_log", 500, 48, dtype, 3);
            check(NULL, 70, 300, dtype, 1);
        }
    }
    mep_cpu_level_set(mep_cpu_level_detected());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
