/* SPDX-License-Identifier: MIT */
/*
 * How long threads spin: which value for which load, and what /proc/loadavg says.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/wait_policy.h"

static void test_loadavg(void **state)
{
    (void)state;
    assert_int_equal(mep_cli_running_threads("0.20 0.18 0.12 1/80 11206\n"), 1);
    assert_int_equal(mep_cli_running_threads("27.86 24.85 20.70 13/812 5\n"), 13);
    static const char *const damaged[] = {"", "\n", "words", "1 2", "1 2 3 /5", "1 2 3 0/5", "1 2 3 -4/5"};
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++)
        assert_int_equal(mep_cli_running_threads(damaged[i]), 1);
}

static void test_count(void **state)
{
    (void)state;
    long idle = atol(mep_cli_spin_count(0, 2, 2));
    assert_true(idle > atol(mep_cli_spin_count(1, 2, 2)));
    assert_true(idle == atol(mep_cli_spin_count(2, 2, 4))); /* cores for all */
    assert_true(idle > atol(mep_cli_spin_count(3, 2, 4)));  /* one too many */
    assert_true(idle > atol(mep_cli_spin_count(0, 8, 4)));  /* too many of our own */
    assert_true(atol(mep_cli_spin_count(9, 2, 2)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loadavg), cmocka_unit_test(test_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
