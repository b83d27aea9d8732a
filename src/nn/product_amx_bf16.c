/* SPDX-License-Identifier: MIT */
/*
 * The kernels of products of bfloat16 at the level "amx_bf16"; the build gives this file that level's flags.
 */
#include "base/amx_tiles.h"

#define KERNELS mep_product_kernels_amx_bf16
#define KERNELS_NAME "amx_bf16"
#include "nn/product_amx_body.h"
