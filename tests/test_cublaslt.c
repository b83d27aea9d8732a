/* SPDX-License-Identifier: MIT */
/*
 * cuBLASLt's library has all that is taken from it; for builds with CUDA, which have found it, on any machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cuda/cublaslt.h"
#include "mep/status.h"

static void test_load(void **state)
{
    (void)state;
    const mep_cublaslt *lt = mep_cublaslt_load();
    if (lt == NULL) fail_msg("%s", mep_error_message());
    assert_ptr_equal(mep_cublaslt_load(), lt);
    assert_string_equal(lt->status_string(CUBLAS_STATUS_SUCCESS), "success");
    cublasLtMatrixLayout_t layout = NULL;
    assert_int_equal(lt->layout_create(&layout, CUDA_R_16BF, 3, 5, 8), CUBLAS_STATUS_SUCCESS);
    assert_non_null(layout);
    assert_int_equal(lt->layout_destroy(layout), CUBLAS_STATUS_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_load)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
