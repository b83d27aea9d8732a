/* SPDX-License-Identifier: MIT */
/*
 * Attention's tile kernels of the level amx_bf16 with emulated tile registers, as product_amx_emulated.c has the
 * others.
 */
#include "amx_emulator.h"

#include "attention/kernels.h"

static void released_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                             int64_t a_column, const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate);

#define KERNELS mep_attention_kernels_amx_bf16
#define KERNELS_NAME "amx_bf16"
#define TILE_PAIRS 1
#define AMX_TILES 1
#define PRODUCT released_product
#include "attention/kernels_body.h"

static void released_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                             int64_t a_column, const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate)
{
    product(rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, accumulate);
    emulated_check(emulated.shapes.palette == 0, "registers were not released");
}
