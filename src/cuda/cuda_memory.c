/* SPDX-License-Identifier: MIT */
/*
 * Memory of a CUDA device, and waiting for it, in the default stream.
 */
#include <stdio.h>

#include <string.h>

#include "base/memory.h"
#include "cuda/cuda_backend.h"
#include "cuda/runtime.h"

/* Compute capability that the kernels need: tensor cores that multiply bfloat16, asynchronous copies. */
enum { CAPABILITY = 8 };

static mep_status check(void)
{
    int count = 0, device = 0, major = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) error = cudaGetDevice(&device);
    if (error == cudaSuccess && count > 0)
        error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (error != cudaSuccess || count == 0) {
        cudaGetLastError(); /* clear the error, which is reported here */
        return mep_fail(MEP_ERROR_UNSUPPORTED, "there is no CUDA device: %s",
                        error == cudaErrorInsufficientDriver ? "NVIDIA's driver is missing, or too old for this build"
                        : error != cudaSuccess               ? cudaGetErrorString(error)
                                                             : "the driver names none");
    }
    if (major < CAPABILITY)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "the GPU has compute capability %d, and %d is needed; use the CPU, or select another GPU with "
                        "CUDA_VISIBLE_DEVICES",
                        major, (int)CAPABILITY);
    return MEP_OK;
}

mep_status mep_cuda_alloc(void *pointer, int64_t count, int64_t size)
{
    int64_t bytes = 0;
    void *memory = NULL;
    memcpy(pointer, &memory, sizeof memory);
    MEP_TRY(mep_multiply(count, size, 1, &bytes));
    cudaError_t error = cudaMalloc(&memory, (size_t)bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* clear the error: the device can continue */
        return mep_fail(MEP_ERROR_MEMORY,
                        "cannot allocate %.1f MB of the GPU's memory; use a smaller batch, length or model",
                        (double)bytes / 1e6);
    }
    MEP_TRY(mep_cuda_check(error, "memory"));
    memcpy(pointer, &memory, sizeof memory);
    return MEP_OK;
}

static void release(void *data)
{
    cudaFree(data);
}

static mep_status alloc(void **data, int64_t bytes)
{
    *data = NULL;
    if (bytes == 0) return MEP_OK;
    MEP_TRY(mep_cuda_alloc(data, bytes, 1));
    mep_status status = mep_cuda_check(cudaMemsetAsync(*data, 0, (size_t)bytes, NULL), "clearing memory");
    if (status == MEP_OK) return MEP_OK;
    release(*data);
    *data = NULL;
    return status;
}

static mep_status write(void *to, const void *from, int64_t bytes)
{
    return mep_cuda_check(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyHostToDevice), "copying to the device");
}

static mep_status read(void *to, const void *from, int64_t bytes)
{
    MEP_TRY(mep_cuda_check_queued());
    return mep_cuda_check(cudaMemcpy(to, from, (size_t)bytes, cudaMemcpyDeviceToHost),
                          "copying from the device, or work before it");
}

static mep_status wait(void)
{
    MEP_TRY(mep_cuda_check_queued());
    return mep_cuda_check(cudaDeviceSynchronize(), "work on the device");
}

static mep_status describe(char text[MEP_DEVICE_TEXT])
{
    struct cudaDeviceProp p;
    int device = 0;
    MEP_TRY(mep_cuda_check(cudaGetDevice(&device), "the current device"));
    MEP_TRY(mep_cuda_check(cudaGetDeviceProperties(&p, device), "properties of the device"));
    snprintf(text, MEP_DEVICE_TEXT, "%s, compute capability %d.%d, %.0f GiB", p.name, p.major, p.minor,
             (double)p.totalGlobalMem / (double)(1 << 30));
    return MEP_OK;
}

const mep_device_memory mep_cuda_memory = {.check = check,
                                           .alloc = alloc,
                                           .release = release,
                                           .write = write,
                                           .read = read,
                                           .wait = wait,
                                           .describe = describe};
