/* SPDX-License-Identifier: MIT */
/*
 * The kernels of matrix products at the level "neon"; the build gives this file that level's flags.
 */
#define KERNELS mep_product_kernels_neon
#define KERNELS_NAME "neon"
#include "nn/product_body.h"
