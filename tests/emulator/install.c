/* SPDX-License-Identifier: MIT */
/*
 * Puts the CUDA back end that was built for the emulator into the library's tables, before main.
 */
#include "attention/device.h"
#include "base/device.h"
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
