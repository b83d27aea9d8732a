/* SPDX-License-Identifier: MIT */
/*
 * The operations of base/amx_tiles.h in plain C, with the arithmetic of Intel's definition of TDPBF16PS. A use of the
 * registers that the CPU would refuse ends the program with the reason, and so do registers that a kernel has not
 * released.
 */
#ifndef MEP_TESTS_AMX_EMULATOR_H
#define MEP_TESTS_AMX_EMULATOR_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tile_sum.h"
#include "base/tile_shapes.h"

enum { EMULATED_TILES = 8, EMULATED_ROWS = 16, EMULATED_BYTES = 64, EMULATED_WORDS = 16 };

typedef struct emulated_registers {
    mep_tile_shapes shapes; /* palette 0: not configured */
    uint32_t tile[EMULATED_TILES][EMULATED_ROWS][EMULATED_WORDS];
} emulated_registers;

static _Thread_local emulated_registers emulated;

static inline void emulated_check(int condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "emulated AMX: %s\n", what);
    abort();
}

static inline int is_zeros(const void *memory, size_t size)
{
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return 0;
    return 1;
}

static inline void emulated_configure(const mep_tile_shapes *s)
{
    emulated_check(s->palette == 1 && s->first_row == 0 && is_zeros(s->reserved, sizeof s->reserved), "palette");
    for (int i = 0; i < 16; i++) {
        int limit = i < EMULATED_TILES ? 1 : 0;
        emulated_check(s->rows[i] <= limit * EMULATED_ROWS && s->row_bytes[i] <= limit * EMULATED_BYTES, "too large");
        emulated_check((s->rows[i] == 0) == (s->row_bytes[i] == 0), "a tile of rows without bytes, or the reverse");
    }
    emulated = (emulated_registers){.shapes = *s};
}

/* A release is for registers that are in use. */
static inline void emulated_release(void)
{
    emulated = (emulated_registers){.shapes = {.palette = 0}};
}

static inline void emulated_use(int tile)
{
    emulated_check(emulated.shapes.palette == 1, "registers are not configured");
    emulated_check(emulated.shapes.rows[tile] > 0, "a register without a shape");
}

static inline void emulated_zero(int tile)
{
    emulated_use(tile);
    memset(emulated.tile[tile], 0, sizeof emulated.tile[tile]);
}

static inline void emulated_load(int tile, const void *base, int64_t stride)
{
    emulated_zero(tile);
    for (int r = 0; r < emulated.shapes.rows[tile]; r++)
        memcpy(emulated.tile[tile][r], (const char *)base + r * stride, emulated.shapes.row_bytes[tile]);
}

static inline void emulated_store(int tile, void *base, int64_t stride)
{
    emulated_use(tile);
    for (int r = 0; r < emulated.shapes.rows[tile]; r++)
        memcpy((char *)base + r * stride, emulated.tile[tile][r], emulated.shapes.row_bytes[tile]);
}

/* The two bfloat16 values of a word. */
static inline float value_of(uint32_t word, int odd)
{
    uint32_t bits = odd ? word & 0xFFFF0000u : word << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return flush_denormal(x);
}

/* part[n] = a b[n] + part[n], flushed: flushed_multiply_add, in a form that compilers turn into vectors. */
static inline void multiply_add_row(float a, const float *restrict b, float *restrict part)
{
    float sum[EMULATED_WORDS];
    int is_at_limit = 0;
    for (int n = 0; n < EMULATED_WORDS; n++) sum[n] = fmaf(a, b[n], part[n]);
    for (int n = 0; n < EMULATED_WORDS; n++) is_at_limit += fabsf(sum[n]) == FLT_MIN ? 1 : 0;
    if (is_at_limit > 0)
        for (int n = 0; n < EMULATED_WORDS; n++) sum[n] = flushed_multiply_add(a, b[n], part[n]);
    for (int n = 0; n < EMULATED_WORDS; n++) part[n] = flush_denormal(sum[n]);
}

static inline void emulated_dot(int c, int a, int b)
{
    const mep_tile_shapes *s = &emulated.shapes;
    emulated_use(c), emulated_use(a), emulated_use(b);
    emulated_check(c != a && c != b && a != b, "a register twice");
    emulated_check(s->rows[c] == s->rows[a] && s->row_bytes[c] == s->row_bytes[b] &&
                       s->row_bytes[a] == 4 * s->rows[b] && s->row_bytes[b] % 4 == 0,
                   "shapes of a product");
    static _Thread_local float part[EMULATED_ROWS][2][EMULATED_WORDS];
    memset(part, 0, sizeof part);
    for (int k = 0; k < s->rows[b]; k++)
        for (int odd = 0; odd < 2; odd++) {
            float values[EMULATED_WORDS];
            for (int n = 0; n < EMULATED_WORDS; n++) values[n] = value_of(emulated.tile[b][k][n], odd);
            for (int m = 0; m < s->rows[c]; m++)
                multiply_add_row(value_of(emulated.tile[a][m][k], odd), values, part[m][odd]);
        }
    for (int m = 0; m < s->rows[c]; m++) {
        float sum[EMULATED_WORDS];
        memcpy(sum, emulated.tile[c][m], sizeof sum);
        for (int n = 0; n < EMULATED_WORDS; n++)
            sum[n] = flushed_add(sum[n], flushed_add(part[m][0][n], part[m][1][n]));
        memcpy(emulated.tile[c][m], sum, sizeof sum);
    }
}

/* Unless they are instructions already (product_amx_trapped.c). */
#ifndef TILE_CONFIGURE
#define TILE_CONFIGURE(shapes) emulated_configure(shapes)
#define TILE_ZERO(tile) emulated_zero(tile)
#define TILE_LOAD(tile, base, row_stride) emulated_load(tile, base, row_stride)
#define TILE_STORE(tile, base, row_stride) emulated_store(tile, base, row_stride)
#define TILE_DOT(sums, a, b) emulated_dot(sums, a, b)
#define TILE_RELEASE() emulated_release()
#endif

#endif
