/* SPDX-License-Identifier: MIT */
/*
 * Puts the CUDA back end that was built for the emulator into the library's tables, before main, and the emulator's
 * cuBLASLt in the place of src/cuda/cublaslt.c.
 */
#include "attention/device.h"
#include "base/device.h"
#include "cuda/cublaslt.h"
#include "nn/device.h"

extern const mep_device_memory mep_cuda_memory;
extern const mep_attention_device mep_cuda_attention;
extern const mep_nn_device mep_cuda_nn;

__attribute__((constructor)) static void install(void)
{
    mep_device_cuda = &mep_cuda_memory;
    mep_attention_cuda = &mep_cuda_attention;
    mep_nn_cuda = &mep_cuda_nn;
}

const mep_cublaslt *mep_cublaslt_load(void)
{
    static const mep_cublaslt emulated = {
        cublasLtCreate,
        cublasLtDestroy,
        cublasLtGetStatusString,
        cublasLtMatrixLayoutCreate,
        cublasLtMatrixLayoutDestroy,
        cublasLtMatmulDescCreate,
        cublasLtMatmulDescDestroy,
        cublasLtMatmulDescSetAttribute,
        cublasLtMatmulPreferenceCreate,
        cublasLtMatmulPreferenceDestroy,
        cublasLtMatmulPreferenceSetAttribute,
        cublasLtMatmulAlgoGetHeuristic,
        cublasLtMatmul,
    };
    return &emulated;
}
