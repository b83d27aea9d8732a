/* SPDX-License-Identifier: MIT */
/*
 * Device memory and the CUDA runtime's functions (cuda_runtime.h).
 */
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "inside.h"

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#endif

struct CUevent_st {
    struct timespec time;
};

struct CUstream_st {
    int unused;
};

namespace emulator {

char failure[1024];

namespace {

enum : size_t { GUARD_BYTES = 64 * 1024, DEVICE_BYTES = (size_t)1 << 30, DEVICE_ALIGNMENT = 256 };

std::map<uintptr_t, guarded> allocations; /* by start */
size_t used_bytes;
cudaError_t last_error, kernel_error; /* the second is returned by calls after a kernel */

size_t round_up(size_t bytes, size_t multiple)
{
    return (bytes + multiple - 1) / multiple * multiple;
}

/* The allocation that contains the address or is the last before it, or NULL. */
const guarded *allocation_before(const void *address)
{
    auto next = allocations.upper_bound((uintptr_t)address);
    return next == allocations.begin() ? NULL : &std::prev(next)->second;
}

/* Poison the memory around an allocation for AddressSanitizer, or take that back. */
void poison(const guarded *memory, bool on)
{
#ifdef EMULATOR_ASAN
    unsigned char *end = memory->start + memory->bytes;
    if (!on) __asan_unpoison_memory_region(memory->pages, memory->page_bytes);
    if (on) __asan_poison_memory_region(memory->pages, (size_t)(memory->start - memory->pages));
    if (on) __asan_poison_memory_region(end, (size_t)(memory->pages + memory->page_bytes - end));
#else
    (void)memory, (void)on;
#endif
}

} // namespace

bool guard(guarded *memory, size_t bytes, size_t alignment)
{
    size_t aligned = round_up(bytes, alignment), size = round_up(aligned, (size_t)sysconf(_SC_PAGESIZE));
    size_t huge = size >= 2 << 20 ? 2 << 20 : 0, whole = size + 2 * GUARD_BYTES;
    void *all = mmap(NULL, whole + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return false;
    unsigned char *pages = static_cast<unsigned char *>(all) + GUARD_BYTES;
    if (huge > 0) { /* large pages, which are quick to protect */
        size_t before = round_up((uintptr_t)pages, huge) - (uintptr_t)pages;
        pages += before;
        if (before > 0) munmap(all, before);
        if (before < huge) munmap(pages - GUARD_BYTES + whole, huge - before);
        madvise(pages, size, MADV_HUGEPAGE);
    }
    *memory = {pages + size - aligned, pages, bytes, size};
    protect(memory, true);
    if (size > 0) memset(pages, 0xff, size);
    poison(memory, true);
    return true;
}

void unguard(guarded *memory)
{
    if (memory->pages == NULL) return;
    poison(memory, false);
    munmap(memory->pages - GUARD_BYTES, memory->page_bytes + 2 * GUARD_BYTES);
    *memory = {};
}

void protect(const guarded *memory, bool accessible)
{
    mprotect(memory->pages, memory->page_bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

bool damaged(const guarded *memory, const char *what, char *text, size_t bytes)
{
#ifndef EMULATOR_ASAN /* which has detected it */
    const unsigned char *end = memory->start + memory->bytes, *last = memory->pages + memory->page_bytes;
    for (const unsigned char *p = memory->pages; p < last; p++) {
        if (p == memory->start) p = end;
        if (p == last || *p == 0xff) continue;
        bool before = p < memory->start;
        snprintf(text, bytes, "memory was written %zu bytes %s the %zu bytes of %s at %p",
                 (size_t)(before ? memory->start - p : p - end), before ? "before" : "after the end of", memory->bytes,
                 what, (void *)memory->start);
        return true;
    }
#endif
    (void)memory, (void)what, (void)text, (void)bytes;
    return false;
}

void open_memory(bool accessible)
{
    for (const auto &a : allocations) protect(&a.second, accessible);
}

bool in_memory(const void *start, size_t bytes)
{
    const guarded *a = allocation_before(start);
    if (a == NULL) return false;
    size_t offset = (uintptr_t)start - (uintptr_t)a->start;
    return offset <= a->bytes && bytes <= a->bytes - offset;
}

bool memory_damaged(char *text, size_t bytes)
{
    for (const auto &a : allocations)
        if (damaged(&a.second, "device memory", text, bytes)) return true;
    return false;
}

void describe_address(const void *address, char *text, size_t bytes)
{
    const guarded *a = allocation_before(address);
    int length = snprintf(text, bytes, "%p is not in device memory", address);
    if (a != NULL && (size_t)length < bytes)
        snprintf(text + length, bytes - (size_t)length, ", but %zu bytes after the start of the %zu bytes at %p",
                 (uintptr_t)address - (uintptr_t)a->start, a->bytes, (void *)a->start);
}

cudaError_t keep_error(cudaError_t error)
{
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t keep_kernel_error(cudaError_t error)
{
    if (error != cudaSuccess) kernel_error = error;
    return keep_error(kernel_error);
}

} // namespace emulator

using namespace emulator;

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = kernel_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidPitchValue:
        return "invalid pitch argument";
    case cudaErrorInvalidMemcpyDirection:
        return "invalid copy direction for memcpy";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure:
        return failure;
    }
    return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return keep_error(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    if (device != 0) return keep_error(cudaErrorInvalidDevice);
    *properties = {"emulator", DEVICE_BYTES, 48 * 1024, SHARED_BYTES, 8, 0, 3, 32, 1024};
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    if (device != 0) return keep_error(cudaErrorInvalidDevice);
    if (attribute != cudaDevAttrComputeCapabilityMajor) return keep_error(cudaErrorInvalidValue);
    *value = 8;
    return cudaSuccess;
}

/* Kernels have ended before the call, and their errors are kept here. */
cudaError_t cudaDeviceSynchronize(void)
{
    return kernel_error;
}

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    guarded a = {};
    if (memory == NULL) return keep_error(cudaErrorInvalidValue);
    *memory = NULL;
    if (bytes == 0) return cudaSuccess;
    if (bytes > DEVICE_BYTES - used_bytes || !guard(&a, bytes, DEVICE_ALIGNMENT))
        return keep_error(cudaErrorMemoryAllocation);
    protect(&a, false);
    allocations[(uintptr_t)a.start] = a;
    used_bytes += bytes;
    *memory = a.start;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    if (memory == NULL) return cudaSuccess;
    auto a = allocations.find((uintptr_t)memory);
    if (a == allocations.end()) return keep_error(cudaErrorInvalidValue);
    used_bytes -= a->second.bytes;
    unguard(&a->second);
    allocations.erase(a);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    *memory = malloc(bytes);
    return *memory != NULL || bytes == 0 ? cudaSuccess : keep_error(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *memory)
{
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = DEVICE_BYTES - used_bytes;
    *total_bytes = DEVICE_BYTES;
    return cudaSuccess;
}

/* Copy `height` rows of `width` bytes; one row needs no pitch. */
static cudaError_t copy_rows(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                             size_t height, cudaMemcpyKind kind)
{
    if (kernel_error != cudaSuccess) return kernel_error;
    if (width == 0 || height == 0) return cudaSuccess;
    bool device_to = in_memory(to, (height - 1) * to_pitch + width);
    bool device_from = in_memory(from, (height - 1) * from_pitch + width);
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return keep_error(cudaErrorInvalidMemcpyDirection);
    if (kind != cudaMemcpyDefault && (to_device != device_to || from_device != device_from))
        return keep_error(cudaErrorInvalidValue);
    open_memory(true);
    for (size_t row = 0; row < height; row++)
        memmove(static_cast<char *>(to) + row * to_pitch, static_cast<const char *>(from) + row * from_pitch, width);
    open_memory(false);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    return copy_rows(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t)
{
    if (width > to_pitch || width > from_pitch) return keep_error(cudaErrorInvalidPitchValue);
    return copy_rows(to, to_pitch, from, from_pitch, width, height, kind);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t)
{
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void *memory, int byte, size_t bytes)
{
    if (kernel_error != cudaSuccess) return kernel_error;
    if (bytes == 0) return cudaSuccess;
    if (!in_memory(memory, bytes)) return keep_error(cudaErrorInvalidValue);
    open_memory(true);
    memset(memory, byte, bytes);
    open_memory(false);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int byte, size_t bytes, cudaStream_t)
{
    return cudaMemset(memory, byte, bytes);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    *stream = new CUstream_st();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return kernel_error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return kernel_error;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    *event = new CUevent_st();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    return kernel_error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return kernel_error;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    *milliseconds = (float)(end->time.tv_sec - start->time.tv_sec) * 1e3f +
                    (float)(end->time.tv_nsec - start->time.tv_nsec) * 1e-6f;
    return kernel_error;
}
