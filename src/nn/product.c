/* SPDX-License-Identifier: MIT */
/*
 * Selection of the variant of the kernels for matrix products.
 */
#include "nn/product.h"

const mep_product_kernels *mep_product_kernels_for(mep_cpu_level level, mep_dtype dtype)
{
    const mep_product_kernels *kernels = &mep_product_kernels_c;
#if defined(__x86_64__)
    if (level >= MEP_CPU_AVX2) kernels = &mep_product_kernels_avx2;
    if (level >= MEP_CPU_AVX512) kernels = &mep_product_kernels_avx512;
    if (level >= MEP_CPU_AVX512_BF16 && dtype == MEP_BFLOAT16) kernels = &mep_product_kernels_avx512_bf16;
    if (level >= MEP_CPU_AMX_BF16 && dtype == MEP_BFLOAT16) kernels = &mep_product_kernels_amx_bf16;
#elif defined(__aarch64__)
    (void)dtype;
    if (level >= MEP_CPU_NEON) kernels = &mep_product_kernels_neon;
#else
    (void)level, (void)dtype;
#endif
    return kernels;
}
