/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products at the level "avx512_bf16"; the build gives this file that level's flags.
 */
#define KERNELS mep_product_kernels_avx512_bf16
#define KERNELS_NAME "avx512_bf16"
#define TILE_PAIRS 1
#include "nn/product_body.h"
