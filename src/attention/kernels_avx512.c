/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "avx512"; the build gives this file that level's flags.
 */
#define KERNELS mep_attention_kernels_avx512
#define KERNELS_NAME "avx512"
#include "attention/kernels_body.h"
