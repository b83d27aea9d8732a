/* SPDX-License-Identifier: MIT */
/*
 * The row kernels at the level "neon"; the build gives this file that level's flags.
 */
#define KERNELS mep_row_kernels_neon
#define KERNELS_NAME "neon"
#include "nn/rows_body.h"
