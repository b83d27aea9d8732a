/* SPDX-License-Identifier: MIT */
/*
 * cuBLASLt's functions, from its shared library. It is loaded at the first product: loading takes a tenth of a second,
 * and programs that use the CPU need neither the time nor the library.
 */
#ifndef MEP_CUDA_CUBLASLT_H
#define MEP_CUDA_CUBLASLT_H

#include <cublasLt.h>

typedef struct mep_cublaslt {
    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtGetStatusString) *status_string;
    __typeof__(cublasLtMatrixLayoutCreate) *layout_create;
    __typeof__(cublasLtMatrixLayoutDestroy) *layout_destroy;
    __typeof__(cublasLtMatmulDescCreate) *operation_create;
    __typeof__(cublasLtMatmulDescDestroy) *operation_destroy;
    __typeof__(cublasLtMatmulDescSetAttribute) *operation_set;
    __typeof__(cublasLtMatmulPreferenceCreate) *preference_create;
    __typeof__(cublasLtMatmulPreferenceDestroy) *preference_destroy;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *heuristic;
    __typeof__(cublasLtMatmul) *matmul;
} mep_cublaslt;

/* The functions, valid until the program ends; NULL, and a message, where the library is not found. Thread-safe. */
const mep_cublaslt *mep_cublaslt_load(void);

#endif
