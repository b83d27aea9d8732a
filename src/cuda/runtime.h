/* SPDX-License-Identifier: MIT */
/*
 * The CUDA runtime as this room's files see it, and its errors as ours.
 */
#ifndef MEP_CUDA_RUNTIME_H
#define MEP_CUDA_RUNTIME_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "base/error.h"

/* *pointer = device memory of `count` values. Fails with MEP_ERROR_MEMORY; *pointer is then NULL. */
mep_status mep_cuda_alloc(void *pointer, int64_t count, int64_t size);

#ifdef __cplusplus
}
#endif

/* MEP_OK, or a failure that names what was being done; CUDA forgets it where it can. */
static inline mep_status mep_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return MEP_OK;
    cudaGetLastError();
    return mep_fail(error == cudaErrorMemoryAllocation ? MEP_ERROR_MEMORY : MEP_ERROR_UNSUPPORTED, "CUDA: %s: %s", what,
                    cudaGetErrorString(error));
}

/* Whether all work has been taken and, as far as it has been done, went well. */
static inline mep_status mep_cuda_check_queued(void)
{
    return mep_cuda_check(cudaGetLastError(), "work on the device failed, start the program again");
}

#endif
