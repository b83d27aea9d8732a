/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "avx512_bf16"; the build gives this file that level's flags.
 */
#define KERNELS mep_attention_kernels_avx512_bf16
#define KERNELS_NAME "avx512_bf16"
#define TILE_PAIRS 1
#include "attention/kernels_body.h"
