/* SPDX-License-Identifier: MIT */
/*
 * The row kernels at the level "c"; the build gives this file that level's flags.
 */
#define KERNELS mep_row_kernels_c
#define KERNELS_NAME "c"
#include "nn/rows_body.h"
