/* SPDX-License-Identifier: MIT */
/*
 * Finding and opening back ends.
 */
#include "base/backend.h"

#include <string.h>

#include "base/assertion.h"
#include "base/error.h"

const mep_backend *mep_backend_find(mep_device device)
{
    for (int i = 0; mep_registered_backend(i) != NULL; i++)
        if (mep_registered_backend(i)->device == device) return mep_registered_backend(i);
    return NULL;
}

const mep_backend *mep_backend_of(mep_device device)
{
    const mep_backend *backend = mep_backend_find(device);
    MEP_ASSERT(backend != NULL && backend->missing == NULL);
    return backend;
}

mep_status mep_backend_open(mep_device device, mep_dtype dtype, const mep_backend **backend)
{
    *backend = NULL;
    MEP_TRY(mep_device_check_dtype(device, dtype));
    MEP_TRY(mep_device_check(device));
    *backend = mep_backend_of(device);
    return MEP_OK;
}

static mep_status no_device(mep_device device)
{
    return mep_fail(MEP_ERROR_ARGUMENT, "%d is not a device", (int)device);
}

mep_status mep_device_check(mep_device device)
{
    const mep_backend *backend = mep_backend_find(device);
    if (backend == NULL) return no_device(device);
    if (backend->missing != NULL) return mep_fail(MEP_ERROR_UNSUPPORTED, "%s", backend->missing);
    return backend->memory->check();
}

static int computes_in(const mep_backend *backend, mep_dtype dtype)
{
    return dtype >= 0 && dtype < 32 && (backend->dtypes >> dtype & 1u);
}

int mep_device_computes_in(mep_device device, mep_dtype dtype)
{
    const mep_backend *backend = mep_backend_find(device);
    return backend != NULL && computes_in(backend, dtype);
}

mep_status mep_device_check_dtype(mep_device device, mep_dtype dtype)
{
    const mep_backend *backend = mep_backend_find(device);
    if (backend == NULL) return no_device(device);
    if (computes_in(backend, dtype)) return MEP_OK;
    char allowed[128] = "";
    for (int d = 0; d < 32; d++)
        if (computes_in(backend, (mep_dtype)d)) {
            if (allowed[0] != '\0') strncat(allowed, " or ", sizeof allowed - strlen(allowed) - 1);
            strncat(allowed, mep_dtype_name((mep_dtype)d), sizeof allowed - strlen(allowed) - 1);
        }
    int other = device != MEP_DEVICE_CPU && mep_device_computes_in(MEP_DEVICE_CPU, dtype);
    return mep_fail(MEP_ERROR_ARGUMENT, "the device %s computes in %s, not in %s; use %s%s", backend->name, allowed,
                    mep_dtype_name(dtype), allowed, other ? ", or the device cpu" : "");
}

mep_dtype mep_dtype_auto(mep_device device)
{
    const mep_backend *backend = mep_backend_find(device);
    return backend == NULL ? MEP_FLOAT32 : backend->dtype_auto();
}

const char *mep_device_name(mep_device device)
{
    const mep_backend *backend = mep_backend_find(device);
    return backend == NULL ? "no device" : backend->name;
}

int mep_device_find(const char *name)
{
    for (int i = 0; mep_registered_backend(i) != NULL; i++)
        if (strcmp(name, mep_registered_backend(i)->name) == 0) return (int)mep_registered_backend(i)->device;
    return -1;
}
