/* SPDX-License-Identifier: MIT */
/*
 * The row kernels at the level "avx2"; the build gives this file that level's flags.
 */
#define KERNELS mep_row_kernels_avx2
#define KERNELS_NAME "avx2"
#include "nn/rows_body.h"
