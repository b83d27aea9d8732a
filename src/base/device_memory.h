/* SPDX-License-Identifier: MIT */
/*
 * Devices by name and dtype, and arrays in their memory: what the library needs in addition to include/mep/device.h.
 */
#ifndef MEP_BASE_DEVICE_H
#define MEP_BASE_DEVICE_H

#include "mep/device.h"

enum { MEP_DEVICE_TEXT = 320 };

/* Allocate `count` elements of `size` bytes in the device's memory, zeroed, into the pointer at `pointer` (a T **), as
 * mep_alloc does; free them. */
mep_status mep_device_array(mep_device device, void *pointer, int64_t count, int64_t size);
void mep_device_release(mep_device device, void *pointer);

/* 1 where the device's memory is host memory, so that pointers are valid on both sides and a call returns when its work
 * is done; 0 where calls only queue work. */
int mep_device_is_host(mep_device device);

/* 1 where the device computes in this dtype, whether or not this build has the device. */
int mep_device_computes_in(mep_device device, mep_dtype dtype);

/* MEP_ERROR_ARGUMENT where mep_device_computes_in is 0; the message lists the dtypes of the device. */
mep_status mep_device_check_dtype(mep_device device, mep_dtype dtype);

/* The device of a name; -1 where there is none. */
int mep_device_find(const char *name);

/* A human-readable description of the device: a GPU's name, compute capability and memory. */
mep_status mep_device_describe(mep_device device, char text[MEP_DEVICE_TEXT]);

#endif
