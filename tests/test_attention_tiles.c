/* SPDX-License-Identifier: MIT */
/*
 * Attention's products of the level amx_bf16, on CPUs with AMX and, as test_attention_tiles_amx_emulated, on those with
 * AVX512_BF16: every element bit by bit in the order of docs/kernels.md ("Sums of amx_bf16"), in tiles and in decoding,
 * also where results are flushed to zero.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attention/kernels.h"
#include "base/cpu.h"
#include "base/random.h"
#include "quick.h"
#include "tile_sum.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { MOST_UNITS = 72, MOST_COLUMNS = 160, GAP = 5, C_ROW = MOST_COLUMNS + GAP };

static const mep_attention_kernels *kernels;
static int64_t checks;

/* Factors of the operands: products of size 1, and around the smallest normal number. */
static const float factors[] = {1, 0x1p-63f};
enum { FACTORS = sizeof factors / sizeof *factors };

static mep_bf16 random_value(const char *name, int64_t i, float factor)
{
    return mep_bf16_from_float((float)mep_random_normal(7, mep_random_stream(name), (uint64_t)i) * factor);
}

static void check_bits(float found, float expected, const char *what, int64_t i, int64_t n)
{
    if (memcmp(&found, &expected, sizeof found) != 0)
        fail_msg("%s, element %lld %lld is %a, expected %a", what, (long long)i, (long long)n, (double)found,
                 (double)expected);
    checks++;
}

/* [TILE_ROWS, 2 MOST_UNITS], [MOST_COLUMNS, 2 MOST_UNITS]: A, and B transposed. */
static mep_bf16 a[TILE_ROWS][2 * MOST_UNITS], b[MOST_COLUMNS][2 * MOST_UNITS];
/* The same in the forms that kernels read, and C before and after. */
static float a_rows[TILE_ROWS * (MOST_UNITS + GAP)], a_columns[MOST_UNITS * (TILE_ROWS + GAP)],
    b_units[MOST_UNITS * C_ROW], before[TILE_ROWS * C_ROW], c[TILE_ROWS * C_ROW];

static void fill(float factor)
{
    for (int64_t r = 0; r < TILE_ROWS; r++)
        for (int64_t k = 0; k < 2 * MOST_UNITS; k++) a[r][k] = random_value("a", r * 2 * MOST_UNITS + k, factor);
    for (int64_t n = 0; n < MOST_COLUMNS; n++)
        for (int64_t k = 0; k < 2 * MOST_UNITS; k++) b[n][k] = random_value("b", n * 2 * MOST_UNITS + k, factor);
    for (int64_t i = 0; i < TILE_ROWS * C_ROW; i++)
        before[i] = mep_bf16_to_float(random_value("c", i, factor * factor));
    for (int64_t k = 0; k < MOST_UNITS; k++) {
        for (int64_t r = 0; r < TILE_ROWS; r++) {
            memcpy(a_rows + r * (MOST_UNITS + GAP) + k, &a[r][2 * k], sizeof *a_rows);
            memcpy(a_columns + k * (TILE_ROWS + GAP) + r, &a[r][2 * k], sizeof *a_columns);
        }
        for (int64_t n = 0; n < MOST_COLUMNS; n++) memcpy(b_units + k * C_ROW + n, &b[n][2 * k], sizeof *b_units);
    }
}

static void check_product(int64_t rows, int64_t columns, int64_t units, int transposed, int accumulate)
{
    memcpy(c, before, sizeof c);
    if (transposed)
        kernels->product(rows, columns, units, a_columns, 1, TILE_ROWS + GAP, b_units, C_ROW, c, C_ROW, accumulate);
    else
        kernels->product(rows, columns, units, a_rows, MOST_UNITS + GAP, 1, b_units, C_ROW, c, C_ROW, accumulate);
    for (int64_t i = 0; i < TILE_ROWS; i++)
        for (int64_t n = 0; n < C_ROW; n++) {
            float old = before[i * C_ROW + n], found = c[i * C_ROW + n];
            if (i >= rows || n >= columns) {
                check_bits(found, old, "outside", i, n);
            } else if ((i * 3 + n) % quick(3, 11) == 0) {
                float sum = tile_sum(0, 2 * units, a[i], 1, b[n], 1);
                check_bits(found, accumulate ? old + sum : sum, transposed ? "transposed" : "product", i, n);
            }
        }
}

static void test_product(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64},
                         columns[] = {16, 32, 48, 64, 80, 96, 128, 160},
                         units[] = {0, 1, 7, 8, 15, 16, 17, 24, 31, 32, 40, 64, MOST_UNITS};
    enum { ROWS = sizeof rows / sizeof *rows, COLUMNS = sizeof columns / sizeof *columns };
    for (int f = 0; f < FACTORS; f++) {
        fill(factors[f]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++)
            for (size_t i = u; i < ROWS * COLUMNS; i += (size_t)quick(7, 29))
                for (int how = 0; how < 4; how++)
                    if (how < 2 || units[u] <= TILE_ROWS / 2)
                        check_product(rows[i % ROWS], columns[i / ROWS], units[u], how / 2, how % 2);
    }
    assert_true(checks > 10000);
}

#if defined(__x86_64__)
/* Rounding, flags and flushing of the thread are what they were. */
static void check_control(unsigned before_call)
{
    assert_int_equal(_mm_getcsr(), before_call);
}
#else
static unsigned _mm_getcsr(void)
{
    return 0;
}

static void check_control(unsigned before_call)
{
    (void)before_call;
}
#endif

static void test_score_block(void **state)
{
    (void)state;
    static const int64_t units[] = {8, 16, 24, 32, 40, 64, MOST_UNITS};
    static float keys[MOST_UNITS * BLOCK_KEYS], s[BLOCK_KEYS], bias[BLOCK_KEYS];
    for (int f = 0; f < FACTORS; f++) {
        fill(factors[f]);
        for (int64_t k = 0; k < MOST_UNITS; k++)
            for (int64_t n = 0; n < BLOCK_KEYS; n++) keys[k * BLOCK_KEYS + n] = b_units[k * C_ROW + n];
        for (size_t u = 0; u < sizeof units / sizeof *units; u++)
            for (int64_t row = 0; row < quick(8, 2); row++) {
                unsigned control = _mm_getcsr();
                float found = kernels->score_block(units[u], a_rows + row * (MOST_UNITS + GAP), keys, 0, 1, bias, s),
                      highest = -INFINITY;
                check_control(control);
                for (int64_t n = 0; n < BLOCK_KEYS; n++) {
                    check_bits(s[n], tile_sum(0, 2 * units[u], a[row], 1, b[n], 1), "score", row, n);
                    highest = s[n] > highest ? s[n] : highest;
                }
                check_bits(found, highest, "the highest score", row, 0);
            }
    }
}

static void test_weigh_block(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 3, 16, 31, 32, 33, 47, 62, 63, 64},
                         channels[] = {1, 5, 16, 17, 40, 64, 65, 80, 128, 160};
    static mep_bf16 values[BLOCK_KEYS * (MOST_COLUMNS + GAP)], weights[BLOCK_KEYS], column[BLOCK_KEYS];
    static float units[BLOCK_KEYS / 2], out[MOST_COLUMNS + GAP];
    for (int f = 0; f < FACTORS; f++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            for (size_t j = i % 2; j < sizeof channels / sizeof *channels; j += 2) {
                int64_t count = counts[i], stride = channels[j] + GAP;
                for (int64_t key = 0; key < BLOCK_KEYS; key++) {
                    weights[key] = key < count ? random_value("weights", key, factors[f]) : mep_bf16_from_float(0);
                    for (int64_t n = 0; n < stride; n++) /* what is not read is NaN */
                        values[key * stride + n] = key < count && n < channels[j]
                                                       ? random_value("values", key * stride + n, factors[f])
                                                       : mep_bf16_from_float(NAN);
                }
                memcpy(units, weights, sizeof weights);
                for (int64_t n = 0; n < MOST_COLUMNS + GAP; n++) out[n] = 1;
                unsigned control = _mm_getcsr();
                kernels->weigh_block(count, channels[j], units, values, stride, 1, out);
                check_control(control);
                for (int64_t n = 0; n < channels[j]; n++) {
                    for (int64_t key = 0; key < BLOCK_KEYS; key++)
                        column[key] = key < count ? values[key * stride + n] : mep_bf16_from_float(0);
                    check_bits(out[n], tile_sum(0, BLOCK_KEYS, weights, 1, column, 1), "weighted", count, n);
                }
                for (int64_t n = channels[j]; n < MOST_COLUMNS + GAP; n++) check_bits(out[n], 1, "after", count, n);
            }
}

int main(void)
{
    const char *missing = mep_cpu_level_missing(MEP_CPU_AMX_BF16);
    if (missing != NULL) {
        printf("skipped: no CPU level amx_bf16: %s\n", missing);
        return 77;
    }
    kernels = mep_attention_kernels_for(MEP_CPU_AMX_BF16, MEP_BFLOAT16);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_product), cmocka_unit_test(test_score_block),
                                       cmocka_unit_test(test_weigh_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
