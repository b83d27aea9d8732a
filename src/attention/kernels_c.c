/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "c"; the build gives this file that level's flags.
 */
#define KERNELS mep_attention_kernels_c
#define KERNELS_NAME "c"
#include "attention/kernels_body.h"
