/* SPDX-License-Identifier: MIT */
/*
 * The CUDA runtime for the files of this room, and its errors as mep_status.
 */
#ifndef MEP_CUDA_RUNTIME_H
#define MEP_CUDA_RUNTIME_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "base/error.h"

/* Allocate `count` elements of `size` bytes of device memory into the pointer at `pointer`. On MEP_ERROR_MEMORY it is
 * NULL. */
mep_status mep_cuda_alloc(void *pointer, int64_t count, int64_t size);

#ifdef __cplusplus
}
#endif

/* MEP_OK, or a failure whose message names the operation `what`. CUDA's error is cleared where that is possible. */
static inline mep_status mep_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return MEP_OK;
    cudaGetLastError();
    return mep_fail(error == cudaErrorMemoryAllocation ? MEP_ERROR_MEMORY : MEP_ERROR_UNSUPPORTED, "CUDA: %s: %s", what,
                    cudaGetErrorString(error));
}

/* MEP_OK where all work has been queued and, as far as it has been done, has succeeded. */
static inline mep_status mep_cuda_check_queued(void)
{
    return mep_cuda_check(cudaGetLastError(), "work on the device failed, start the program again");
}

#endif
