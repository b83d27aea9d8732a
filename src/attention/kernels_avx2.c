/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "avx2"; the build gives this file that level's flags.
 */
#define KERNELS mep_attention_kernels_avx2
#define KERNELS_NAME "avx2"
#include "attention/kernels_body.h"
