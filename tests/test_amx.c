/* SPDX-License-Identifier: MIT */
/*
 * The product kernels of the level amx_bf16, with emulated tile registers on any CPU, and with those of the CPU where
 * it has them: every element bit by bit in the order of docs/kernels.md, for any number of rows, columns and units, and
 * where results are flushed to zero; and the emulation itself. test_NAME_amx_emulated and test_NAME_amx_trapped run
 * complete products.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cmocka.h>

#include "base/cpu.h"
#include "base/random.h"
#include "emulator/amx_emulator.h"
#include "quick.h"

#define KERNELS emulated_kernels
#define KERNELS_NAME "amx_bf16"
#include "nn/product_amx_body.h"

/* Those that are tested. */
static const mep_product_kernels *kernels = &emulated_kernels;
static int64_t checks;

/* Whether tile registers are configured: of the emulation, or bits 17 and 18 of XINUSE, the states that are in use. */
static int registers_in_use(void)
{
#if defined(__x86_64__)
    if (kernels != &emulated_kernels) {
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
        return (low & 3u << 17) != 0;
    }
#endif
    return emulated.shapes.palette != 0;
}

/* ---- The emulation ---- */

static uint64_t random_bits(int64_t i)
{
    return mep_random_bits(5, mep_random_stream("bits"), (uint64_t)i);
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Known values: no rounding but the one of the result, which is flushed by what it would be with any exponent. */
static void test_flush(void **state)
{
    (void)state;
    const float least = FLT_MIN, denormal = FLT_MIN / 2, half_ulp = 0x1p-24f;
    assert_true(bits_of(flushed_multiply_add(denormal, 4, 0)) == 0);
    assert_true(bits_of(flushed_multiply_add(-denormal, 4, 1)) == bits_of(1));
    assert_true(bits_of(flushed_multiply_add(1, 1, denormal)) == bits_of(1));
    assert_true(bits_of(flushed_multiply_add(-least, 0.5f, 0)) == 0x80000000u);
    assert_true(flushed_multiply_add(least, 1, 0) == least);
    assert_true(bits_of(flushed_multiply_add(least, 1 - half_ulp, 0)) == 0); /* 24 bits, just below the least */
    /* (1 - 2^-26) FLT_MIN, which 24 bits round up */
    assert_true(flushed_multiply_add((1 - 0x1p-13f) * 0x1p-63f, (1 + 0x1p-13f) * 0x1p-63f, 0) == least);
    assert_true(bits_of(flushed_add(3 * denormal, -least)) == 0);
    assert_true(isnan(flushed_multiply_add(INFINITY, 0, 1)) && isinf(flushed_multiply_add(0x1p127f, 4, 1)));
}

#if defined(__x86_64__)
/* The same by the CPU's instruction with denormals flushed. */
__attribute__((target("fma"), noinline)) static float cpu_multiply_add(float x, float y, float z)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u); /* results and operands */
    __m128 sum = _mm_set_ss(z);
    __asm__ volatile("vfmadd231ss %2, %1, %0" : "+x"(sum) : "x"(_mm_set_ss(x)), "x"(_mm_set_ss(y)));
    _mm_setcsr(before);
    return _mm_cvtss_f32(sum);
}
#endif

/* Operands whose products are around the smallest normal number. */
static void test_flush_of_cpu(void **state)
{
    (void)state;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("fma")) skip();
    for (int64_t i = 0; i < 2000000; i++) {
        uint64_t bits = random_bits(i);
        uint32_t exponent = (uint32_t)(bits >> 48) % 128, other = 126 - exponent + (uint32_t)(bits >> 56) % 4;
        float x = float_of((uint32_t)(bits & 0x807F0000u) | exponent << 23),
              y = float_of((uint32_t)(bits << 16 & 0x807F0000u) | other << 23),
              z = float_of((uint32_t)(bits >> 32) % 64 << 20 | (uint32_t)(bits >> 40 & 3));
        if (i % 3 == 0) z = 0;
        float found = flushed_multiply_add(x, y, z), expected = cpu_multiply_add(x, y, z);
        if (bits_of(found) != bits_of(expected))
            fail_msg("%a * %a + %a is %a, and %a on this CPU", (double)x, (double)y, (double)z, (double)found,
                     (double)expected);
        checks++;
    }
#else
    skip();
#endif
}

enum { WRONG_SHAPE, NOT_CONFIGURED, NO_SHAPE, REGISTER_TWICE, WRONG_PRODUCT, WRONG_USES };

static void use_wrongly(int use)
{
    mep_tile_shapes shapes = {.palette = 1};
    float memory[TILE * TILE] = {0};
    for (int tile = 0; tile < 3; tile++) set_shape(&shapes, tile, TILE, TILE_BYTES);
    if (use == WRONG_SHAPE) shapes.rows[1] = 0;
    if (use == WRONG_PRODUCT) shapes.rows[1] = 8;
    if (use != NOT_CONFIGURED) TILE_CONFIGURE(&shapes);
    if (use == NO_SHAPE) TILE_ZERO(3);
    TILE_LOAD(0, memory, TILE_BYTES);
    TILE_DOT(0, use == REGISTER_TWICE ? 2 : 1, 2);
}

/* What a CPU answers with an exception ends the program. */
static void test_wrong_uses(void **state)
{
    (void)state;
    for (int use = 0; use < WRONG_USES; use++) {
        int status = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            if (freopen("/dev/null", "w", stderr) != NULL) use_wrongly(use);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) fail_msg("wrong use %d was not noticed", use);
    }
}

/* ---- Kernels ---- */

/* Sizes of operands, in units; what is outside of the operands is NaN. */
enum { MOST_ROWS = 192, MOST_UNITS = 1536, GAP = 5 };

typedef struct operands {
    int64_t rows, columns, units;
    mep_bf16 *a; /* [rows][2 (units + GAP)] */
    mep_bf16 *b; /* [columns][2 (units + GAP)]: transposed */
    float *panel, *c, *start;
} operands;

/* Mostly of size 1; some so small that products are denormal, and some denormal. */
static mep_bf16 random_value(const char *name, int64_t i)
{
    uint64_t stream = mep_random_stream(name);
    float x = (float)mep_random_normal(7, stream, (uint64_t)i);
    int kind = (int)(mep_random_bits(8, stream, (uint64_t)i) % 16);
    return mep_bf16_from_float(kind == 0 ? x * 0x1p-70f : kind == 1 ? x * 0x1p-128f : x);
}

static mep_bf16 *random_rows(const char *name, int64_t rows, int64_t units)
{
    int64_t stride = 2 * (units + GAP);
    mep_bf16 *x = malloc((size_t)(rows * stride) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < rows * stride; i++)
        x[i] = i % stride < 2 * units ? random_value(name, i) : mep_bf16_from_float(NAN);
    return x;
}

static float *marked(int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) x[i] = NAN;
    return x;
}

static int64_t c_stride(const operands *o)
{
    return round_up(o->columns, TILE) + GAP;
}

/* B as mep_pack packs it: units of PANEL columns, with zeros after the last column. */
static operands make_operands(int64_t rows, int64_t columns, int64_t units)
{
    operands o = {.rows = rows, .columns = columns, .units = units};
    int64_t stride = units + GAP;
    o.a = random_rows("a", rows, units);
    o.b = random_rows("b", columns, units);
    o.panel = marked((units + GAP) * PANEL);
    memset(o.panel, 0, (size_t)(units * PANEL) * sizeof *o.panel);
    for (int64_t n = 0; n < columns && n < PANEL; n++)
        for (int64_t k = 0; k < units; k++) memcpy(o.panel + k * PANEL + n, o.b + 2 * (n * stride + k), 4);
    o.c = marked(rows * c_stride(&o));
    o.start = marked(rows * c_stride(&o));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t n = 0; n < columns; n++)
            o.start[i * c_stride(&o) + n] = mep_bf16_to_float(random_value("c", i * columns + n));
    return o;
}

static void free_operands(operands *o)
{
    free(o->a), free(o->b), free(o->panel), free(o->c), free(o->start);
}

/* Rows first .. first + rows, in blocks of the depth as nn/gemm.c divides it; odd numbers of values end with zeros. */
static void run_product(const operands *o, int64_t first, int64_t rows, int accumulate)
{
    float *c = o->c + first * c_stride(o);
    int64_t stride = o->units + GAP;
    memcpy(c, o->start + first * c_stride(o), (size_t)(rows * c_stride(o)) * sizeof *c);
    for (int64_t k = 0; k < o->units; k += MEP_DEPTH)
        kernels->product(rows, o->columns, min_i64(MEP_DEPTH, o->units - k),
                         (const float *)(const void *)o->a + first * stride + k, stride, 1, o->panel + k * PANEL, c,
                         c_stride(o), accumulate || k > 0);
    assert_int_equal(registers_in_use(), 0);
}

static void check_element(const operands *o, int64_t i, int64_t n, int accumulate, const char *what)
{
    int64_t at = i * c_stride(o) + n, stride = 2 * (o->units + GAP);
    float expected = tile_sum(accumulate ? o->start[at] : 0, 2 * o->units, o->a + i * stride, 1, o->b + n * stride, 1);
    if (bits_of(o->c[at]) != bits_of(expected))
        fail_msg("%s, %lld x %lld x %lld units: element %lld %lld is %a, expected %a", what, (long long)o->rows,
                 (long long)o->columns, (long long)o->units, (long long)i, (long long)n, (double)o->c[at],
                 (double)expected);
    checks++;
}

static void check_all(const operands *o, int64_t columns, int accumulate, const char *what)
{
    for (int64_t i = 0; i < o->rows; i++) {
        for (int64_t n = 0; n < columns; n++) check_element(o, i, n, accumulate, what);
        for (int64_t n = round_up(o->columns, TILE); n < c_stride(o); n++)
            assert_true(isnan(o->c[i * c_stride(o) + n]));
    }
}

/* All rows together, then each row alone and some groups, which have the bits of all. */
static void check_shape(int64_t rows, int64_t columns, int64_t units)
{
    operands o = make_operands(rows, columns, units);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        run_product(&o, 0, rows, accumulate);
        check_all(&o, columns, accumulate, "product");
        for (int64_t i = 0; i < rows; i += 1 + rows / 5) {
            run_product(&o, i, 1, accumulate);
            for (int64_t n = 0; n < columns; n++) check_element(&o, i, n, accumulate, "one row");
        }
        if (rows > 3) {
            run_product(&o, 2, rows - 3, accumulate);
            check_all(&o, columns, accumulate, "some rows");
        }
    }
    free_operands(&o);
}

static void test_product(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 2, 4, 15, 16, 17, 31, 32, 33, 48, 49, 100, MOST_ROWS},
                         columns[] = {1, 15, 16, 17, 32, 33, 47, 64}, units[] = {1, 8, 15, 16, 17, 40, 100};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            for (size_t u = 0; u < sizeof units / sizeof *units; u++)
                if ((r + c + u) % (size_t)quick(2, 5) == 0) check_shape(rows[r], columns[c], units[u]);
    static const int64_t deep[] = {383, 384, 385, 400, 768, 1000, 1535, MOST_UNITS};
    for (size_t u = 0; u < sizeof deep / sizeof *deep; u++) check_shape(5 + 15 * (int64_t)(u % 3), 40, deep[u]);
    assert_true(checks > 100000);
}

/* The columns that few_rows computes, from B as it is stored, have the bits of product. */
static void test_few_rows(void **state)
{
    (void)state;
    static const int64_t columns[] = {1, 16, 31, 32, 48, 63, 64, 130}, units[] = {16, 48, 384, 400, 784, MOST_UNITS};
    for (int64_t rows = 1; rows <= MEP_FEW_ROWS; rows++)
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
            for (size_t u = 0; u < sizeof units / sizeof *units; u++)
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    operands o = make_operands(rows, columns[c], units[u]);
                    int64_t stride = o.units + GAP, bytes = stride * 4;
                    memcpy(o.c, o.start, (size_t)(rows * c_stride(&o)) * sizeof *o.c);
                    int64_t complete =
                        kernels->few_rows(rows, columns[c], units[u], (const float *)(const void *)o.a, stride,
                                          (const char *)o.b, bytes, o.c, c_stride(&o), accumulate);
                    assert_int_equal(registers_in_use(), 0);
                    assert_int_equal(complete, columns[c] / TILE * TILE);
                    check_all(&o, complete, accumulate, "few rows");
                    for (int64_t i = 0; i < rows; i++)
                        for (int64_t n = complete; n < columns[c]; n++)
                            assert_true(o.c[i * c_stride(&o) + n] == o.start[i * c_stride(&o) + n]);
                    free_operands(&o);
                }
    operands o = make_operands(2, 32, 17);
    assert_int_equal(kernels->few_rows(2, 32, 17, (const float *)(const void *)o.a, 17 + GAP, (const char *)o.b,
                                       4 * (17 + GAP), o.c, c_stride(&o), 0),
                     0);
    free_operands(&o);
}

/* Products and sums around the smallest normal number; C begins with numbers of that size, some of them denormal. */
static void test_flush_of_kernels(void **state)
{
    (void)state;
    enum { ROWS = 33, COLUMNS = 64, UNITS = 16 };
    for (int trial = 0; trial < quick(60, 10); trial++) {
        operands o = make_operands(ROWS, COLUMNS, UNITS);
        int64_t stride = 2 * (UNITS + GAP);
        uint32_t exponent = 1 + (uint32_t)trial;
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t k = 0; k < 2 * UNITS; k++) {
                uint32_t bits = (uint32_t)random_bits(trial * 100000 + i * stride + k);
                o.a[i * stride + k] = mep_bf16_from_float(float_of((bits & 0x807F0000u) | exponent << 23));
            }
        for (int64_t n = 0; n < COLUMNS; n++)
            for (int64_t k = 0; k < UNITS; k++) {
                mep_bf16 *pair = o.b + n * stride + 2 * k;
                uint64_t bits = random_bits(trial * 100000 + 50000 + n * stride + k);
                uint32_t other = 126 - exponent + (uint32_t)(bits >> 60) % 3, low = (uint32_t)bits & 0x807F0000u;
                pair[0] = mep_bf16_from_float(float_of(low | other << 23));
                pair[1] = mep_bf16_from_float(float_of((low ^ 0x80210000u) | other << 23));
                memcpy(o.panel + k * PANEL + n, pair, 4);
            }
        for (int64_t i = 0; i < ROWS; i++)
            for (int64_t n = 0; n < COLUMNS; n++)
                o.start[i * c_stride(&o) + n] = float_of((uint32_t)random_bits(i * COLUMNS + n) & 0x81FFFFFFu);
        for (int accumulate = 0; accumulate < 2; accumulate++) {
            run_product(&o, 0, ROWS, accumulate);
            check_all(&o, COLUMNS, accumulate, "small products");
        }
        free_operands(&o);
    }
}

/* Where the CPU has tile registers and lets this process use them. */
static int use_cpu(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (mep_cpu_level_missing(MEP_CPU_AMX_BF16) == NULL) kernels = &mep_product_kernels_amx_bf16;
#endif
    return 0;
}

static int use_emulation(void **state)
{
    (void)state;
    kernels = &emulated_kernels;
    return 0;
}

static void of_cpu(void **state, CMUnitTestFunction test)
{
    if (kernels == &emulated_kernels) {
        printf("skipped: %s\n", mep_cpu_level_missing(MEP_CPU_AMX_BF16));
        skip();
    }
    test(state);
}

static void test_product_of_cpu(void **state)
{
    of_cpu(state, test_product);
}

static void test_few_rows_of_cpu(void **state)
{
    of_cpu(state, test_few_rows);
}

static void test_flush_of_kernels_of_cpu(void **state)
{
    of_cpu(state, test_flush_of_kernels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_flush_of_cpu),
        cmocka_unit_test(test_wrong_uses),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_flush_of_kernels),
        cmocka_unit_test_setup_teardown(test_product_of_cpu, use_cpu, use_emulation),
        cmocka_unit_test_setup_teardown(test_few_rows_of_cpu, use_cpu, use_emulation),
        cmocka_unit_test_setup_teardown(test_flush_of_kernels_of_cpu, use_cpu, use_emulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
