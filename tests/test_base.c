/* SPDX-License-Identifier: MIT */
/*
 * The base room: random numbers against Philox's published answers, bfloat16 over all its values, checked sizes,
 * messages, CPU levels.
 */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assertion.h"
#include "base/bf16.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "mep/types.h"

/* Random123's known answers of philox4x32-10: counter 0, key 0; and pi's digits as counter and key. */
static void test_philox(void **state)
{
    (void)state;
    assert_true(mep_random_bits(0, 0, 0) == 0x6627e8d5e169c58du);
    assert_true(mep_random_bits(UINT64_MAX, UINT64_MAX, UINT64_MAX) == 0x408f276d41c83b0eu);
    assert_true(mep_random_bits(0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u) == 0xd16cfe0994fdccebu);
}

static void test_distributions(void **state)
{
    (void)state;
    enum { N = 200000 };
    double mean = 0, square = 0, fourth = 0, uniform = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = mep_random_normal(1, 2, i), u = mep_random_uniform(1, 2, i);
        assert_true(u >= 0 && u < 1);
        mean += x / N, square += x * x / N, fourth += x * x * x * x / N, uniform += u / N;
    }
    assert_true(fabs(mean) < 0.01 && fabs(square - 1) < 0.02 && fabs(fourth - 3) < 0.1 && fabs(uniform - 0.5) < 0.004);
}

/* Every bfloat16 survives conversion, and halfway values round to the even neighbor. */
static void test_bfloat16(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float x = mep_bf16_to_float((mep_bf16)bits);
        if (isnan(x))
            assert_true(isnan(mep_bf16_to_float(mep_bf16_from_float(x))));
        else
            assert_int_equal(mep_bf16_from_float(x), bits);
    }
    assert_int_equal(mep_bf16_from_float(1.00390625f), 0x3F80); /* 1 + 2^-8: halfway, down to even */
    assert_int_equal(mep_bf16_from_float(1.01171875f), 0x3F82); /* 1 + 3 * 2^-8: halfway, up to even */
    assert_int_equal(mep_bf16_from_float(1.00390637f), 0x3F81); /* just above halfway */
    assert_int_equal(mep_bf16_from_float(3.4e38f), 0x7F80);     /* rounds to infinity */
}

static void test_memory(void **state)
{
    (void)state;
    int64_t product;
    double *x;
    assert_int_equal(mep_multiply((int64_t)1 << 31, (int64_t)1 << 31, 1, &product), MEP_OK);
    assert_true(product == (int64_t)1 << 62);
    assert_int_equal(mep_multiply((int64_t)1 << 31, (int64_t)1 << 31, 4, &product), MEP_ERROR_MEMORY);
    assert_int_equal(mep_multiply(-1, 1, 1, &product), MEP_ERROR_MEMORY);
    assert_int_equal(MEP_ALLOC(&x, (int64_t)1 << 61), MEP_ERROR_MEMORY);
    assert_null(x);
    if (mep_memory_available() < INT64_MAX) { /* more than there is, which a system that overcommits would grant */
        assert_true(mep_memory_available() > 1 << 20);
        assert_int_equal(mep_alloc(&x, mep_memory_available() + (1 << 30), 1), MEP_ERROR_MEMORY);
        assert_non_null(strstr(mep_error_message(), "that are available"));
        assert_null(x);
    }
    assert_int_equal(MEP_ALLOC(&x, 3), MEP_OK);
    assert_true((uintptr_t)x % 64 == 0 && x[0] == 0 && x[2] == 0);
    x[2] = 5;
    assert_int_equal(MEP_GROW(&x, 3, 100), MEP_OK);
    assert_true(x[2] == 5 && x[99] == 0);
    mep_fail_allocation(1);
    double *y;
    assert_int_equal(MEP_ALLOC(&y, 1), MEP_ERROR_MEMORY);
    assert_null(y);
    assert_int_equal(mep_fail_allocation(0), 1);
    mep_free(&x);
    assert_null(x);
    mep_free(&x);
}

/* A false condition aborts with its text where assertions are on, and is not evaluated where they are off. */
static void test_assertions(void **state)
{
    (void)state;
    int evaluated = 0;
    MEP_ASSERT(++evaluated == 1);
    assert_int_equal(evaluated, MEP_ASSERTIONS);
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        MEP_ASSERT(evaluated == 7);
        _exit(0);
    }
    close(ends[1]);
    char text[512] = "";
    ssize_t size = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, MEP_ASSERTIONS);
    assert_int_equal(size > 0 && strstr(text, "test_base.c") != NULL && strstr(text, "evaluated == 7") != NULL,
                     MEP_ASSERTIONS);
}

static void test_messages(void **state)
{
    (void)state;
    assert_int_equal(mep_fail(MEP_ERROR_FORMAT, "line %d", 7), MEP_ERROR_FORMAT);
    assert_int_equal(mep_fail_in(MEP_ERROR_IO, "%s: ", "file"), MEP_ERROR_IO);
    assert_string_equal(mep_error_message(), "file: line 7");
    assert_string_equal(mep_status_name(MEP_ERROR_IO), "MEP_ERROR_IO");
    assert_string_equal(mep_status_name((mep_status)99), "unknown status");
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    mep_fail(MEP_ERROR_IO, "%s", long_text);
    assert_true(strlen(mep_error_message()) == 1023);
    mep_fail(MEP_ERROR_FORMAT, "%s", "a\n\x1b[2Jb\x7f\xc3\xa9"); /* control characters in quoted text */
    mep_fail_in(MEP_ERROR_FORMAT, "%s: ", "c\r\td");
    assert_string_equal(mep_error_message(), "c??d: a??[2Jb?\xc3\xa9");
}

static void test_levels(void **state)
{
    (void)state;
    mep_cpu_level highest = mep_cpu_level_detected();
    assert_int_equal(mep_cpu_level_set(MEP_CPU_C), MEP_CPU_C);
    assert_string_equal(mep_cpu_level_name(), "c");
    mep_cpu_level last = (mep_cpu_level)(MEP_CPU_LEVELS - 1);
    assert_true((mep_cpu_level_missing(last) == NULL) == (highest == last));
    assert_int_equal(mep_cpu_level_set(last), highest);
    assert_int_equal(mep_cpu_level_set(highest), highest);
    assert_true(highest < MEP_CPU_LEVELS);
    for (int level = 0; level <= (int)highest; level++) assert_null(mep_cpu_level_missing((mep_cpu_level)level));
    assert_string_equal(mep_cpu_level_name(), mep_cpu_level_text(highest));
#if defined(__aarch64__)
    assert_string_equal(mep_cpu_level_name(), "neon");
#else
    assert_true(mep_cpu_level_set(MEP_CPU_NEON) == highest); /* no machine of this architecture has it */
    assert_non_null(mep_cpu_level_missing(MEP_CPU_NEON));
    assert_string_equal(mep_cpu_level_text(MEP_CPU_NEON), "neon");
#endif
    assert_int_equal(mep_dtype_size(MEP_BFLOAT16), 2);
    assert_int_equal(mep_dtype_size((mep_dtype)77), 0);
}

#if defined(__x86_64__) && defined(__linux__)
/* Whether this process has the permission to use tile registers: bit 18 of ARCH_GET_XCOMP_PERM. */
static int may_use_tiles(void)
{
    uint64_t permitted = 0;
    return syscall(SYS_arch_prctl, 0x1022, &permitted) == 0 && (permitted >> 18 & 1) != 0;
}

/* The permission that a new process of this program has after it has found its level. */
static int permission_at(const char *level)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        unsetenv("MEP_TEST_OTHER_LEVEL");
        setenv("MEP_CPU", level, 1);
        execl("/proc/self/exe", "test_base", "permission", (char *)NULL);
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status);
}

/* Tile registers are requested at the level that has them, and at no other. */
static void test_permission(void **state)
{
    (void)state;
    mep_cpu_level highest = mep_cpu_level_detected();
    for (int level = 0; level <= (int)highest; level++)
        assert_int_equal(permission_at(mep_cpu_level_text((mep_cpu_level)level)), level == MEP_CPU_AMX_BF16);
}
#else
static int may_use_tiles(void)
{
    return 0;
}

static void test_permission(void **state)
{
    (void)state;
    skip();
}
#endif

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "permission") == 0) {
        mep_cpu_level_get();
        return may_use_tiles();
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_philox),     cmocka_unit_test(test_distributions),
                                       cmocka_unit_test(test_bfloat16),   cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_assertions), cmocka_unit_test(test_messages),
                                       cmocka_unit_test(test_levels),     cmocka_unit_test(test_permission)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
