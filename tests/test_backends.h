/* SPDX-License-Identifier: MIT */
/*
 * A list of back ends that replaces src/backends/registry.c: the CPU's, and a row for CUDA that a test can change. It
 * begins as a row that the build does not have.
 */
#ifndef MEP_TESTS_BACKENDS_H
#define MEP_TESTS_BACKENDS_H

#include "attention/attention_backend.h"
#include "base/backend.h"
#include "nn/network.h"

static mep_dtype float32_dtype(void)
{
    return MEP_FLOAT32;
}

static const mep_backend cpu_row = {.name = "cpu",
                                    .device = MEP_DEVICE_CPU,
                                    .dtypes = 1u << MEP_FLOAT32 | 1u << MEP_BFLOAT16,
                                    .dtype_auto = float32_dtype,
                                    .memory = &mep_host_memory,
                                    .attention = &mep_attention_cpu,
                                    .network = &mep_network_cpu};

static mep_backend cuda_row = {.name = "cuda",
                               .device = MEP_DEVICE_CUDA,
                               .missing = "this build has no CUDA; configure it with -DMEP_CUDA=ON",
                               .dtypes = 1u << MEP_BFLOAT16,
                               .dtype_auto = float32_dtype};

const mep_backend *mep_registered_backend(int index)
{
    return index == 0 ? &cpu_row : index == 1 ? &cuda_row : NULL;
}

#endif
