/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels at the level "amx_bf16"; the build gives this file that level's flags.
 */
#include "base/amx_tiles.h"

#define KERNELS mep_attention_kernels_amx_bf16
#define KERNELS_NAME "amx_bf16"
#define TILE_PAIRS 1
#define AMX_TILES 1
#include "attention/kernels_body.h"
