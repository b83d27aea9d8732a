/* SPDX-License-Identifier: MIT */
/*
 * Back ends: what computes on a device, as tables of functions. A back end is a row {memory, attention, network}; the
 * rows of a build are listed in one file, src/backends/registry.c, which is the only one that names CUDA. This header
 * belongs to the lowest room, so that every room can find a back end without knowing which ones there are.
 */
#ifndef MEP_BASE_BACKEND_H
#define MEP_BASE_BACKEND_H

#include "base/device_memory.h"

/* Functions for the device's memory: those of include/mep/device.h, with arguments checked. */
typedef struct mep_device_memory {
    mep_status (*check)(void);                       /* whether the machine has the device */
    mep_status (*alloc)(void **data, int64_t bytes); /* zeroed; 0 bytes are allowed */
    void (*release)(void *data);
    mep_status (*write)(void *to, const void *from, int64_t bytes);
    mep_status (*read)(void *to, const void *from, int64_t bytes);
    mep_status (*wait)(void);
    mep_status (*describe)(char text[MEP_DEVICE_TEXT]);
    int is_host; /* see mep_device_is_host */
} mep_device_memory;

typedef struct mep_backend {
    const char *name; /* see mep_device_name */
    mep_device device;
    const char *missing;           /* why this build does not have the back end, as a message; NULL where it does */
    unsigned dtypes;               /* bit 1 << dtype is set for each mep_dtype that it computes in */
    mep_dtype (*dtype_auto)(void); /* see mep_dtype_auto */
    const mep_device_memory *memory;
    const struct mep_attention_backend *attention; /* attention/attention_backend.h */
    const struct mep_network *network;             /* nn/network.h */
} mep_backend;

/* Back end number `index` of the list, NULL after the last. The list (src/backends/registry.c) defines this function,
 * and programs that test back ends define another one. */
const mep_backend *mep_registered_backend(int index);

/* The back end of a device, also one that this build does not have; NULL for a value that is not a device. */
const mep_backend *mep_backend_find(mep_device device);

/* The back end of a device that mep_device_check has accepted. */
const mep_backend *mep_backend_of(mep_device device);

/* Check that the device computes in `dtype` and that this build and this machine have it; then its back end. This is
 * the one check before anything is computed: MEP_ERROR_ARGUMENT, MEP_ERROR_UNSUPPORTED. */
mep_status mep_backend_open(mep_device device, mep_dtype dtype, const mep_backend **backend);

/* The CPU's memory. */
extern const mep_device_memory mep_host_memory;

#endif
