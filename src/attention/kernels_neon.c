/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "neon"; the build gives this file that level's flags.
 */
#define KERNELS mep_attention_kernels_neon
#define KERNELS_NAME "neon"
#include "attention/kernels_body.h"
