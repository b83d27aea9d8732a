/* SPDX-License-Identifier: MIT */
/*
 * Memory of devices: the processor's, sizes that no device takes, and a device that is not there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/device.h"
#include "base/error.h"

static void test_processor(void **state)
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
    const mep_device_memory *found = mep_device_cuda;
    char text[MEP_DEVICE_TEXT];
    void *data = text;
    mep_device_cuda = NULL;
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
    mep_device_cuda = found;
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processor),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
