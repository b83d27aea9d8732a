/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the level amx_bf16 with emulated tile registers, and a machine that has AMX. A test program that links
 * this object uses it in place of the library's, at the level that MEP_CPU=amx_bf16 selects.
 */
#include "amx_emulator.h"

#define KERNELS mep_product_kernels_amx_bf16
#define KERNELS_NAME "amx_bf16"
#include "nn/product_amx_body.h"

#include "base/amx.h"

const char *mep_amx_missing(void)
{
    return NULL;
}
