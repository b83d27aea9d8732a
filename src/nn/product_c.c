/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products at the level "c"; the build gives this file that level's flags.
 */
#define KERNELS mep_product_kernels_c
#define KERNELS_NAME "c"
#include "nn/product_body.h"
