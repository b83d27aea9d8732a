/* SPDX-License-Identifier: MIT */
/*
 * Choice of the tile kernels' variant.
 */
#include "attention/kernels.h"

const mep_attention_kernels *mep_attention_kernels_for(mep_cpu_level level, mep_dtype dtype)
{
    const mep_attention_kernels *kernels = &mep_attention_kernels_c;
#if defined(__x86_64__)
    if (level >= MEP_CPU_AVX2) kernels = &mep_attention_kernels_avx2;
    if (level >= MEP_CPU_AVX512) kernels = &mep_attention_kernels_avx512;
    if (level >= MEP_CPU_AVX512_BF16 && dtype == MEP_BFLOAT16) kernels = &mep_attention_kernels_avx512_bf16;
    if (level >= MEP_CPU_AMX_BF16 && dtype == MEP_BFLOAT16) kernels = &mep_attention_kernels_amx_bf16;
#elif defined(__aarch64__)
    if (level >= MEP_CPU_NEON) kernels = &mep_attention_kernels_neon;
    (void)dtype;
#else
    (void)level;
    (void)dtype;
#endif
    return kernels;
}
