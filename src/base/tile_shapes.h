/* SPDX-License-Identifier: MIT */
/*
 * The shapes of AMX's tile registers, as the operand of ldtilecfg.
 */
#ifndef MEP_BASE_TILE_SHAPES_H
#define MEP_BASE_TILE_SHAPES_H

#include <stdint.h>

typedef struct mep_tile_shapes {
    uint8_t palette, first_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} mep_tile_shapes;

#endif
