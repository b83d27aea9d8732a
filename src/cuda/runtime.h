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
#ifdef __cplusplus
}
#endif

/* MEP_OK, or a failure that names what was being done. */
static inline mep_status mep_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return MEP_OK;
    return mep_fail(error == cudaErrorMemoryAllocation ? MEP_ERROR_MEMORY : MEP_ERROR_UNSUPPORTED, "CUDA: %s: %s", what,
                    cudaGetErrorString(error));
}

#endif
