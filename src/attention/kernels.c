/* SPDX-License-Identifier: MIT */
/*
 * Choice of the tile kernels' variant.
 */
#include "attention/kernels.h"

const mep_attention_kernels *mep_attention_kernels_for(mep_cpu_level level)
{
    const mep_attention_kernels *kernels = &mep_attention_kernels_c;
#if defined(__x86_64__)
    if (level >= MEP_CPU_AVX2) kernels = &mep_attention_kernels_avx2;
    if (level >= MEP_CPU_AVX512) kernels = &mep_attention_kernels_avx512;
#else
    (void)level;
#endif
    return kernels;
}
