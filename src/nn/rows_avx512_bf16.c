/* SPDX-License-Identifier: MIT */
/*
 * The row kernels at the level "avx512_bf16"; the build gives this file that level's flags.
 */
#define KERNELS mep_row_kernels_avx512_bf16
#define KERNELS_NAME "avx512_bf16"
#include "nn/rows_body.h"
