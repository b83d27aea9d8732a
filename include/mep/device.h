/* SPDX-License-Identifier: MIT */
/*
 * Devices: where tensors are stored and kernels run. The CPU's memory is host memory. A GPU's memory is allocated,
 * written and read through these functions, or through CUDA's own, whose pointers are the same. Calls that compute on a
 * GPU (such as mep_attention_forward) only queue work; mep_device_wait waits for it and returns the errors since.
 */
#ifndef MEP_DEVICE_H
#define MEP_DEVICE_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* MEP_OK where the device can be used; MEP_ERROR_UNSUPPORTED with the reason where the build or the machine does not
 * have it. Thread-safe. */
MEP_API mep_status mep_device_check(mep_device device);

/* "cpu", "cuda"; "no device" for other values. Thread-safe. */
MEP_API const char *mep_device_name(mep_device device);

/* The type in which training is fastest on the device: MEP_BFLOAT16 on cuda and on a CPU with bfloat16 arithmetic (the
 * levels avx512_bf16 and amx_bf16 of mep_cpu_level_name), MEP_FLOAT32 on every other CPU. Thread-safe. */
MEP_API mep_dtype mep_dtype_auto(mep_device device);

/* Allocate `bytes` of the device's memory into *data, zeroed and aligned to at least 64 bytes. *data is NULL for 0
 * bytes and on failure: MEP_ERROR_MEMORY where less is available. The caller owns the memory and frees it with
 * mep_device_free, which sets *data to NULL and accepts NULL. Thread-safe. */
MEP_API mep_status mep_device_alloc(mep_device device, void **data, int64_t bytes);
MEP_API void mep_device_free(mep_device device, void **data);

/* Copy `bytes` (0 or more) from host memory to the device (write) or back (read), after the work that was queued
 * before; the copy is complete on return. MEP_ERROR_UNSUPPORTED where the copy, or work before it, has failed.
 * Thread-safe for memory that no other thread uses at the same time. */
MEP_API mep_status mep_device_write(mep_device device, void *to, const void *from, int64_t bytes);
MEP_API mep_status mep_device_read(mep_device device, void *to, const void *from, int64_t bytes);

/* Wait for all work that this thread has queued; MEP_ERROR_UNSUPPORTED where some of it has failed. Thread-safe. */
MEP_API mep_status mep_device_wait(mep_device device);

#ifdef __cplusplus
}
#endif

#endif
