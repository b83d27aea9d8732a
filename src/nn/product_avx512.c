/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products at the level "avx512"; the build gives this file that level's flags.
 */
#define KERNELS mep_product_kernels_avx512
#define KERNELS_NAME "avx512"
#include "nn/product_body.h"
