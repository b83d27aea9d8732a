/* SPDX-License-Identifier: MIT */
/*
 * The back ends of this build. A new one is a row here and a room like src/cuda, which implements the tables of the
 * row; no other file outside that room names it.
 */
#include "attention/attention_backend.h"
#include "base/backend.h"
#include "base/cpu.h"
#include "nn/network.h"
#if MEP_HAVE_CUDA
#include "cuda/cuda_backend.h"
#endif

static mep_dtype dtype_of_cpu(void)
{
    return mep_cpu_level_get() >= MEP_CPU_AVX512_BF16 ? MEP_BFLOAT16 : MEP_FLOAT32;
}

static mep_dtype dtype_of_cuda(void)
{
    return MEP_BFLOAT16;
}

static const mep_backend backends[] = {
    {.name = "cpu",
     .device = MEP_DEVICE_CPU,
     .dtypes = 1u << MEP_FLOAT32 | 1u << MEP_BFLOAT16,
     .dtype_auto = dtype_of_cpu,
     .memory = &mep_host_memory,
     .attention = &mep_attention_cpu,
     .network = &mep_network_cpu},
    {.name = "cuda",
     .device = MEP_DEVICE_CUDA,
     .dtypes = 1u << MEP_BFLOAT16,
     .dtype_auto = dtype_of_cuda,
#if MEP_HAVE_CUDA
     .memory = &mep_cuda_memory,
     .attention = &mep_cuda_attention,
     .network = &mep_cuda_network
#else
     .missing = "this build has no CUDA; configure it with -DMEP_CUDA=ON"
#endif
    },
};

const mep_backend *mep_registered_backend(int index)
{
    const int count = (int)(sizeof backends / sizeof *backends);
    return index < count ? &backends[index] : NULL;
}
