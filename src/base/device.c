/* SPDX-License-Identifier: MIT */
/*
 * Devices: the processor's table, and the way to each one's.
 */
#include "base/device.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

#if MEP_HAVE_CUDA
extern const mep_device_memory mep_cuda_memory; /* cuda/memory.c */
const mep_device_memory *mep_device_cuda = &mep_cuda_memory;
#else
const mep_device_memory *mep_device_cuda = NULL;
#endif

static mep_status nothing(void)
{
    return MEP_OK;
}

static mep_status take(void **data, int64_t bytes)
{
    return mep_alloc(data, bytes, 1);
}

static void give_back(void *data)
{
    mep_free(&data);
}

static mep_status copy(void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) memmove(to, from, (size_t)bytes);
    return MEP_OK;
}

static mep_status describe(char text[MEP_DEVICE_TEXT])
{
    snprintf(text, MEP_DEVICE_TEXT, "the processor");
    return MEP_OK;
}

static const mep_device_memory cpu = {.check = nothing,
                                      .alloc = take,
                                      .release = give_back,
                                      .write = copy,
                                      .read = copy,
                                      .wait = nothing,
                                      .describe = describe,
                                      .is_host = 1};

static mep_status absent(void)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED, "this build has no CUDA; configure it with -DMEP_CUDA=ON");
}

static const mep_device_memory *table(mep_device device)
{
    static const mep_device_memory none = {.check = absent};
    return device == MEP_DEVICE_CPU ? &cpu : mep_device_cuda != NULL ? mep_device_cuda : &none;
}

int mep_device_is_host(mep_device device)
{
    return table(device)->is_host;
}

mep_status mep_device_check(mep_device device)
{
    if (device != MEP_DEVICE_CPU && device != MEP_DEVICE_CUDA)
        return mep_fail(MEP_ERROR_ARGUMENT, "%d is no device", (int)device);
    return table(device)->check();
}

mep_status mep_device_check_dtype(mep_device device, mep_dtype dtype)
{
    if (device == MEP_DEVICE_CPU || (device == MEP_DEVICE_CUDA && dtype == MEP_BFLOAT16)) return MEP_OK;
    if (device == MEP_DEVICE_CUDA)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the device cuda computes in bfloat16, not in %s; take bfloat16, or the cpu",
                        mep_dtype_name(dtype));
    return mep_fail(MEP_ERROR_ARGUMENT, "%d is no device", (int)device);
}

mep_dtype mep_dtype_auto(mep_device device)
{
    int has_bfloat16 = device == MEP_DEVICE_CUDA || mep_cpu_level_get() >= MEP_CPU_AVX512_BF16;
    return has_bfloat16 ? MEP_BFLOAT16 : MEP_FLOAT32;
}

static const char *const names[] = {"cpu", "cuda"};

const char *mep_device_name(mep_device device)
{
    return device == MEP_DEVICE_CPU || device == MEP_DEVICE_CUDA ? names[device] : "no device";
}

int mep_device_find(const char *name)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(name, names[i]) == 0) return i;
    return -1;
}

mep_status mep_device_describe(mep_device device, char text[MEP_DEVICE_TEXT])
{
    MEP_TRY(mep_device_check(device));
    return table(device)->describe(text);
}

/* A size that is negative has overflowed on its way here. */
static mep_status check_call(mep_device device, int64_t bytes)
{
    MEP_TRY(mep_device_check(device));
    if (bytes >= 0) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%lld bytes of a device's memory; sizes are 0 or more", (long long)bytes);
}

mep_status mep_device_alloc(mep_device device, void **data, int64_t bytes)
{
    MEP_REQUIRE(data);
    *data = NULL;
    MEP_TRY(check_call(device, bytes));
    return bytes == 0 ? MEP_OK : table(device)->alloc(data, bytes);
}

mep_status mep_device_array(mep_device device, void *pointer, int64_t count, int64_t size)
{
    void *data = NULL;
    int64_t bytes = 0;
    memcpy(pointer, &data, sizeof data);
    if (device == MEP_DEVICE_CPU) return mep_alloc(pointer, count, (size_t)size);
    MEP_TRY(mep_multiply(count, size, 1, &bytes));
    MEP_TRY(mep_device_alloc(device, &data, bytes));
    memcpy(pointer, &data, sizeof data);
    return MEP_OK;
}

void mep_device_release(mep_device device, void *pointer)
{
    void *data;
    memcpy(&data, pointer, sizeof data);
    mep_device_free(device, &data);
    memcpy(pointer, &data, sizeof data);
}

void mep_device_free(mep_device device, void **data)
{
    if (data == NULL) return;
    if (*data != NULL) table(device)->release(*data);
    *data = NULL;
}

mep_status mep_device_write(mep_device device, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) MEP_REQUIRE(to, from);
    MEP_TRY(check_call(device, bytes));
    return table(device)->write(to, from, bytes);
}

mep_status mep_device_read(mep_device device, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) MEP_REQUIRE(to, from);
    MEP_TRY(check_call(device, bytes));
    return table(device)->read(to, from, bytes);
}

mep_status mep_device_wait(mep_device device)
{
    MEP_TRY(mep_device_check(device));
    return table(device)->wait();
}
