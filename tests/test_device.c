/* SPDX-License-Identifier: MIT */
/*
 * Devices: the CPU's memory, sizes that no device accepts, a device that the build does not have, names and dtypes, and
 * the one check where a back end is opened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "test_backends.h"

static void test_cpu(void **state)
{
    (void)state;
    enum { BYTES = 1000 };
    unsigned char in[BYTES], out[BYTES] = {0};
    void *data = &in;
    for (int i = 0; i < BYTES; i++) in[i] = (unsigned char)(i % 251 + 1);
    assert_int_equal(mep_device_alloc(MEP_DEVICE_CPU, &data, BYTES), MEP_OK);
    assert_int_equal((uintptr_t)data % 64, 0);
    assert_memory_equal(data, out, BYTES);
    assert_int_equal(mep_device_write(MEP_DEVICE_CPU, data, in, BYTES), MEP_OK);
    assert_int_equal(mep_device_read(MEP_DEVICE_CPU, out, data, BYTES), MEP_OK);
    assert_memory_equal(in, out, BYTES);
    assert_int_equal(mep_device_wait(MEP_DEVICE_CPU), MEP_OK);
    mep_device_free(MEP_DEVICE_CPU, &data);
    assert_null(data);
    mep_device_free(MEP_DEVICE_CPU, &data);
}

static void test_sizes(void **state)
{
    (void)state;
    int here = 7, *there = &here;
    void *data = &here;
    assert_int_equal(mep_device_alloc(MEP_DEVICE_CPU, &data, 0), MEP_OK);
    assert_null(data);
    data = &here;
    assert_int_equal(mep_device_alloc(MEP_DEVICE_CPU, &data, -8), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "-8 bytes"));
    assert_null(data);
    assert_int_equal(mep_device_write(MEP_DEVICE_CPU, &here, &here, -1), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_device_read(MEP_DEVICE_CPU, &here, &here, -1), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_device_write(MEP_DEVICE_CPU, NULL, NULL, 0), MEP_OK);
    assert_int_equal(mep_device_array(MEP_DEVICE_CPU, &there, INT64_MAX, sizeof *there), MEP_ERROR_MEMORY);
    assert_null(there);
    assert_int_equal(here, 7);
}

static void test_absent(void **state)
{
    (void)state;
    char text[MEP_DEVICE_TEXT];
    void *data = text;
    assert_int_equal(mep_device_check(MEP_DEVICE_CPU), MEP_OK);
    assert_int_equal(mep_device_check(MEP_DEVICE_CUDA), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "this build has no CUDA"));
    assert_int_equal(mep_device_alloc(MEP_DEVICE_CUDA, &data, 8), MEP_ERROR_UNSUPPORTED);
    assert_null(data);
    mep_device_free(MEP_DEVICE_CUDA, &data);
    assert_int_equal(mep_device_describe(MEP_DEVICE_CUDA, text), MEP_ERROR_UNSUPPORTED);
    assert_int_equal(mep_device_wait(MEP_DEVICE_CUDA), MEP_ERROR_UNSUPPORTED);
    assert_int_equal(mep_device_check((mep_device)2), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_device_check((mep_device)-1), MEP_ERROR_ARGUMENT);
}

static void test_names(void **state)
{
    (void)state;
    for (int d = 0; d < 2; d++) assert_int_equal(mep_device_find(mep_device_name((mep_device)d)), d);
    assert_string_equal(mep_device_name(MEP_DEVICE_CUDA), "cuda");
    assert_string_equal(mep_device_name((mep_device)2), "no device");
    assert_int_equal(mep_device_find("no device"), -1);
    assert_int_equal(mep_device_check_dtype(MEP_DEVICE_CPU, MEP_FLOAT32), MEP_OK);
    assert_int_equal(mep_device_check_dtype(MEP_DEVICE_CUDA, MEP_BFLOAT16), MEP_OK);
    assert_int_equal(mep_device_check_dtype(MEP_DEVICE_CUDA, MEP_FLOAT32), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_device_check_dtype((mep_device)2, MEP_BFLOAT16), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_device_check_dtype(MEP_DEVICE_CPU, MEP_INT64), MEP_ERROR_ARGUMENT);
    assert_string_equal(mep_error_message(),
                        "the device cpu computes in float32 or bfloat16, not in int64; use float32 "
                        "or bfloat16");
    assert_int_equal(mep_device_check_dtype(MEP_DEVICE_CUDA, MEP_FLOAT32), MEP_ERROR_ARGUMENT);
    assert_string_equal(mep_error_message(),
                        "the device cuda computes in bfloat16, not in float32; use bfloat16, or the "
                        "device cpu");
}

static mep_status no_machine(void)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED, "no such machine");
}

/* In the order dtype, build, machine; a back end only where all three fit. */
static void test_open(void **state)
{
    (void)state;
    const mep_device_memory absent = {.check = no_machine};
    const mep_backend kept = cuda_row, *found = &cuda_row;
    assert_int_equal(mep_backend_open(MEP_DEVICE_CPU, MEP_BFLOAT16, &found), MEP_OK);
    assert_ptr_equal(found, &cpu_row);
    assert_int_equal(mep_backend_open(MEP_DEVICE_CUDA, MEP_FLOAT32, &found), MEP_ERROR_ARGUMENT);
    assert_null(found);
    assert_int_equal(mep_backend_open(MEP_DEVICE_CUDA, MEP_BFLOAT16, &found), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "this build has no CUDA"));
    cuda_row.missing = NULL, cuda_row.memory = &absent;
    assert_int_equal(mep_backend_open(MEP_DEVICE_CUDA, MEP_BFLOAT16, &found), MEP_ERROR_UNSUPPORTED);
    assert_string_equal(mep_error_message(), "no such machine");
    assert_null(found);
    cuda_row = kept;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),   cmocka_unit_test(test_sizes), cmocka_unit_test(test_absent),
        cmocka_unit_test(test_names), cmocka_unit_test(test_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
