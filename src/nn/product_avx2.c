/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products at the level "avx2"; the build gives this file that level's flags.
 */
#define KERNELS mep_product_kernels_avx2
#define KERNELS_NAME "avx2"
#include "nn/product_body.h"
