/* SPDX-License-Identifier: MIT */
/*
 * The tile registers of AMX, as amx_product.h uses them: eight registers of up to 16 rows of 64 bytes.
 * tests/emulator/amx_emulator.h has the same operations in plain C.
 */
#ifndef MEP_BASE_AMX_TILES_H
#define MEP_BASE_AMX_TILES_H

#include <immintrin.h>

/* GCC's intrinsics do not tell the compiler which memory they read; the barriers keep stores before and after them in
 * order. Register numbers are literals. */
#define TILE_BARRIER() __asm__ volatile("" ::: "memory")

/* Set the shapes of all registers and fill them with zeros. */
#define TILE_CONFIGURE(shapes)                                                                                         \
    (__extension__({                                                                                                   \
        TILE_BARRIER();                                                                                                \
        _tile_loadconfig(shapes);                                                                                      \
        TILE_BARRIER();                                                                                                \
    }))
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_LOAD(tile, base, row_stride)                                                                              \
    (__extension__({                                                                                                   \
        TILE_BARRIER();                                                                                                \
        _tile_loadd(tile, base, row_stride);                                                                           \
        TILE_BARRIER();                                                                                                \
    }))
#define TILE_STORE(tile, base, row_stride)                                                                             \
    (__extension__({                                                                                                   \
        TILE_BARRIER();                                                                                                \
        _tile_stored(tile, base, row_stride);                                                                          \
        TILE_BARRIER();                                                                                                \
    }))
/* sums[m][n] += a[m] . b[n]: TDPBF16PS */
#define TILE_DOT(sums, a, b) _tile_dpbf16ps(sums, a, b)
/* Leave the registers as a thread begins with them: not configured. */
#define TILE_RELEASE() _tile_release()

#endif
