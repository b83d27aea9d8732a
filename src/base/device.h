/* SPDX-License-Identifier: MIT */
/*
 * The table behind include/mep/device.h, one for each device.
 */
#ifndef MEP_BASE_DEVICE_H
#define MEP_BASE_DEVICE_H

#include "mep/device.h"

enum { MEP_DEVICE_TEXT = 320 };

typedef struct mep_device_memory {
    mep_status (*check)(void);
    mep_status (*alloc)(void **data, int64_t bytes); /* zeroed */
    void (*release)(void *data);
    mep_status (*write)(void *to, const void *from, int64_t bytes);
    mep_status (*read)(void *to, const void *from, int64_t bytes);
    mep_status (*wait)(void);
    mep_status (*describe)(char text[MEP_DEVICE_TEXT]);
    int is_host; /* see mep_device_is_host */
} mep_device_memory;

/* NULL where the build has no CUDA. Tests put the emulated one there. */
extern const mep_device_memory *mep_device_cuda;

/* mep_alloc and mep_free in the device's memory: `count` elements of `size` bytes, zeroed, into the pointer at
 * `pointer` (a T **). */
mep_status mep_device_array(mep_device device, void *pointer, int64_t count, int64_t size);
void mep_device_release(mep_device device, void *pointer);

/* 1 where the device's memory is host memory, so that pointers are valid on both sides and a call returns when its work
 * is done; 0 where calls only queue work. */
int mep_device_is_host(mep_device device);

/* MEP_ERROR_ARGUMENT where the device does not compute in this dtype: CUDA does in bfloat16 alone. */
mep_status mep_device_check_dtype(mep_device device, mep_dtype dtype);

/* The device of a name; -1 for none. */
int mep_device_find(const char *name);

/* Which device it is, for people: a GPU's name, capability and memory. */
mep_status mep_device_describe(mep_device device, char text[MEP_DEVICE_TEXT]);

#endif
