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
#elif defined(__AVX2__)
/* 8 x 8 values: rows r and r + 4 share a register, so that all shuffles stay within halves of 128 bits. */
MEP_INLINE void transpose_quarter(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    __m256 row[4][2]; /* columns 0 .. 3 and 4 .. 7 of rows r and r + 4 */
    MEP_UNROLL
    for (int r = 0; r < 4; r++) {
        const char *low = in + r * in_stride, *high = low + 4 * in_stride;
        MEP_UNROLL
        for (int half = 0; half < 2; half++)
            row[r][half] =
                _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps((const float *)(const void *)(low + half * 16))),
                                     _mm_loadu_ps((const float *)(const void *)(high + half * 16)), 1);
    }
    MEP_UNROLL
    for (int half = 0; half < 2; half++) {
        __m256 low01 = _mm256_unpacklo_ps(row[0][half], row[1][half]),
               high01 = _mm256_unpackhi_ps(row[0][half], row[1][half]),
               low23 = _mm256_unpacklo_ps(row[2][half], row[3][half]),
               high23 = _mm256_unpackhi_ps(row[2][half], row[3][half]);
        const __m256 column[4] = {_mm256_shuffle_ps(low01, low23, 0x44), _mm256_shuffle_ps(low01, low23, 0xee),
                                  _mm256_shuffle_ps(high01, high23, 0x44), _mm256_shuffle_ps(high01, high23, 0xee)};
        MEP_UNROLL
        for (int c = 0; c < 4; c++)
            _mm256_storeu_ps((float *)(void *)(out + (half * 4 + c) * out_stride), column[c]);
    }
}

MEP_INLINE void transpose_square(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    MEP_UNROLL
    for (int r = 0; r < 16; r += 8) {
        MEP_UNROLL
        for (int c = 0; c < 16; c += 8)
            transpose_quarter(in + r * in_stride + c * 4, in_stride, out + c * out_stride + r * 4, out_stride);
    }
}
#else
MEP_INLINE void transpose_square(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    for (int r = 0; r < 16; r += 4)
        for (int c = 0; c < 16; c += 4) {
            vf a[4];
            for (int i = 0; i < 4; i++) memcpy(&a[i], in + (r + i) * in_stride + c * 4, sizeof a[i]);
            vf low01 = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5), high01 = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7),
               low23 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5), high23 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
            const vf column[4] = {
                __builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
            for (int i = 0; i < 4; i++) memcpy(out + (c + i) * out_stride + r * 4, &column[i], sizeof column[i]);
        }
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
