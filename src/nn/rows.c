/* SPDX-License-Identifier: MIT */
/*
 * Selection of the variant of the row kernels.
 */
#include "nn/rows.h"

const mep_row_kernels *mep_row_kernels_for(mep_cpu_level level)
{
    const mep_row_kernels *kernels = &mep_row_kernels_c;
#if defined(__x86_64__)
    if (level >= MEP_CPU_AVX2) kernels = &mep_row_kernels_avx2;
    if (level >= MEP_CPU_AVX512) kernels = &mep_row_kernels_avx512;
    if (level >= MEP_CPU_AVX512_BF16) kernels = &mep_row_kernels_avx512_bf16;
#elif defined(__aarch64__)
    if (level >= MEP_CPU_NEON) kernels = &mep_row_kernels_neon;
#else
    (void)level;
#endif
    return kernels;
}
