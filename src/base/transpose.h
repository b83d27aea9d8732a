/* SPDX-License-Identifier: MIT */
/*
 * Transposition of 32-bit values: float32, or pairs of bfloat16. Included by variants only, like simd.h.
 */
#ifndef MEP_BASE_TRANSPOSE_H
#define MEP_BASE_TRANSPOSE_H

#include "base/simd.h"

#if defined(__AVX512F__)
/* 16 x 16 values in four steps; step s swaps the blocks of s x s beside the diagonal of each block of 2s x 2s. */
MEP_INLINE void transpose_square(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    __m512i row[16];
    MEP_UNROLL
    for (int r = 0; r < 16; r++) row[r] = _mm512_loadu_si512(in + r * in_stride);
    MEP_UNROLL
    for (int s = 1; s < 16; s *= 2) {
        vi upper, lower; /* indices into a row and the one s below it, which are 16 .. 31 */
        for (int i = 0; i < 16; i++) {
            upper[i] = i & s ? i - s + 16 : i;
            lower[i] = i & s ? i + 16 : i + s;
        }
        MEP_UNROLL
        for (int r = 0; r < 16; r++) {
            if (r & s) continue;
            __m512i a = row[r], b = row[r + s];
            row[r] = _mm512_permutex2var_epi32(a, (__m512i)upper, b);
            row[r + s] = _mm512_permutex2var_epi32(a, (__m512i)lower, b);
        }
    }
    MEP_UNROLL
    for (int r = 0; r < 16; r++) _mm512_storeu_si512(out + r * out_stride, row[r]);
}
#else
MEP_INLINE void transpose_square(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 16; c++) memcpy(out + c * out_stride + r * 4, in + r * in_stride + c * 4, 4);
}
#endif

/* out = in transposed, in [rows x columns], strides in bytes. */
static void transpose_words(int64_t rows, int64_t columns, const void *in, int64_t in_stride, void *out,
                            int64_t out_stride)
{
    const char *from = in;
    char *to = out;
    for (int64_t r = 0; r < rows; r += 16)
        for (int64_t c = 0; c < columns; c += 16) {
            const char *square = from + r * in_stride + c * 4;
            char *turned = to + c * out_stride + r * 4;
            if (r + 16 <= rows && c + 16 <= columns) {
                transpose_square(square, in_stride, turned, out_stride);
                continue;
            }
            for (int64_t i = 0; i < 16 && r + i < rows; i++)
                for (int64_t j = 0; j < 16 && c + j < columns; j++)
                    memcpy(turned + j * out_stride + i * 4, square + i * in_stride + j * 4, 4);
        }
}

#endif
