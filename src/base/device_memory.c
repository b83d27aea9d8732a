/* SPDX-License-Identifier: MIT */
/*
 * Memory of devices: the public calls, with their checks, and the CPU's functions.
 */
#include "base/device_memory.h"

#include <stdio.h>
#include <string.h>

#include "base/backend.h"
#include "base/error.h"
#include "base/memory.h"

/* ---- The CPU ---- */

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
    snprintf(text, MEP_DEVICE_TEXT, "the CPU");
    return MEP_OK;
}

const mep_device_memory mep_host_memory = {
    .check = nothing,
    .alloc = take,
    .release = give_back,
    .write = copy,
    .read = copy,
    .wait = nothing,
    .describe = describe,
    .is_host = 1,
};

/* ---- All devices ---- */

static const mep_device_memory *memory_of(mep_device device)
{
    return mep_backend_of(device)->memory;
}

int mep_device_is_host(mep_device device)
{
    const mep_backend *backend = mep_backend_find(device);
    return backend != NULL && backend->memory != NULL && backend->memory->is_host;
}

mep_status mep_device_describe(mep_device device, char text[MEP_DEVICE_TEXT])
{
    MEP_TRY(mep_device_check(device));
    return memory_of(device)->describe(text);
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
    return bytes == 0 ? MEP_OK : memory_of(device)->alloc(data, bytes);
}

mep_status mep_device_array(mep_device device, void *pointer, int64_t count, int64_t size)
{
    void *data = NULL;
    int64_t bytes = 0;
    memcpy(pointer, &data, sizeof data);
    MEP_TRY(mep_multiply(count, size, 1, &bytes));
    MEP_TRY(check_call(device, bytes));
    MEP_TRY(memory_of(device)->alloc(&data, bytes));
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
    if (*data != NULL) memory_of(device)->release(*data);
    *data = NULL;
}

mep_status mep_device_write(mep_device device, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) MEP_REQUIRE(to, from);
    MEP_TRY(check_call(device, bytes));
    return memory_of(device)->write(to, from, bytes);
}

mep_status mep_device_read(mep_device device, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) MEP_REQUIRE(to, from);
    MEP_TRY(check_call(device, bytes));
    return memory_of(device)->read(to, from, bytes);
}

mep_status mep_device_wait(mep_device device)
{
    MEP_TRY(mep_device_check(device));
    return memory_of(device)->wait();
}
