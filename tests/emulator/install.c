/* SPDX-License-Identifier: MIT */
/*
 * The emulator's cuBLASLt, which replaces src/cuda/cublaslt.c.
 */
#include "cuda/cublaslt.h"

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
