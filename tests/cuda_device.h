/* SPDX-License-Identifier: MIT */
/*
 * What the C tests of the CUDA back end share. Each is built twice: with the emulator of tests/emulator, and, where the
 * build has CUDA, for a GPU, under the name gpu_NAME. It tests nothing itself.
 */
#ifndef MEP_TESTS_CUDA_DEVICE_H
#define MEP_TESTS_CUDA_DEVICE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/device_memory.h"
#include "base/error.h"

#ifdef MEP_CUDA_EMULATED
#include <cublasLt.h>
#else
/* A GPU has an order of its own. */
static inline void cuda_emulator_seed(unsigned long seed)
{
    (void)seed;
}
#endif

/* For main: whether there is a GPU; if not, why the program ends with exit code 77, a skip. */
static inline int device_is_there(void)
{
    if (mep_device_check(MEP_DEVICE_CUDA) == MEP_OK) return 1;
    printf("skipped: %s\n", mep_error_message());
    return 0;
}

static inline void check(mep_status status)
{
    if (status != MEP_OK) fail_msg("%s", mep_error_message());
}

#endif
