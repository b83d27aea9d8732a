/* SPDX-License-Identifier: MIT */
/*
 * The row kernels at the level "avx512"; the build gives this file that level's flags.
 */
#define KERNELS mep_row_kernels_avx512
#define KERNELS_NAME "avx512"
#include "nn/rows_body.h"
