/* SPDX-License-Identifier: MIT */
/*
 * Transposition of 32-bit values: float32, or pairs of bfloat16. Included by variants only, like simd.h.
 */
#ifndef MEP_BASE_TRANSPOSE_H
#define MEP_BASE_TRANSPOSE_H

#include "base/simd.h"

/* Column c of a block of LANES x LANES values becomes column[c]. Rows r, r + 4, r + 8, ... share a register, a quarter
 * of 128 bits each, so that all shuffles stay within quarters. */
#if defined(__AVX512F__)
#define SHUFFLE(name) _mm512_##name
typedef __m512 wide;
MEP_INLINE wide load_quarters(const char *in, int64_t in_stride)
{
    __m512 w = _mm512_castps128_ps512(_mm_loadu_ps((const float *)(const void *)in));
    w = _mm512_insertf32x4(w, _mm_loadu_ps((const float *)(const void *)(in + 4 * in_stride)), 1);
    w = _mm512_insertf32x4(w, _mm_loadu_ps((const float *)(const void *)(in + 8 * in_stride)), 2);
    return _mm512_insertf32x4(w, _mm_loadu_ps((const float *)(const void *)(in + 12 * in_stride)), 3);
}
#elif defined(__AVX2__)
#define SHUFFLE(name) _mm256_##name
typedef __m256 wide;
MEP_INLINE wide load_quarters(const char *in, int64_t in_stride)
{
    __m256 w = _mm256_castps128_ps256(_mm_loadu_ps((const float *)(const void *)in));
    return _mm256_insertf128_ps(w, _mm_loadu_ps((const float *)(const void *)(in + 4 * in_stride)), 1);
}
#endif

#if defined(__AVX2__)
MEP_INLINE void transpose_load(const char *in, int64_t in_stride, vf column[LANES])
{
    MEP_UNROLL
    for (int c = 0; c < LANES; c += 4) {
        wide row[4];
        MEP_UNROLL
        for (int r = 0; r < 4; r++) row[r] = load_quarters(in + r * in_stride + c * 4, in_stride);
        wide low01 = SHUFFLE(unpacklo_ps)(row[0], row[1]), high01 = SHUFFLE(unpackhi_ps)(row[0], row[1]),
             low23 = SHUFFLE(unpacklo_ps)(row[2], row[3]), high23 = SHUFFLE(unpackhi_ps)(row[2], row[3]);
        column[c] = (vf)SHUFFLE(shuffle_ps)(low01, low23, 0x44);
        column[c + 1] = (vf)SHUFFLE(shuffle_ps)(low01, low23, 0xee);
        column[c + 2] = (vf)SHUFFLE(shuffle_ps)(high01, high23, 0x44);
        column[c + 3] = (vf)SHUFFLE(shuffle_ps)(high01, high23, 0xee);
    }
}
#undef SHUFFLE
#else
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif
MEP_INLINE void transpose_load(const char *in, int64_t in_stride, vf column[LANES])
{
    vf row[LANES];
    for (int r = 0; r < LANES; r++) memcpy(&row[r], in + r * in_stride, sizeof row[r]);
    vf low01 = SHUFFLE(row[0], row[1], 0, 4, 1, 5), high01 = SHUFFLE(row[0], row[1], 2, 6, 3, 7),
       low23 = SHUFFLE(row[2], row[3], 0, 4, 1, 5), high23 = SHUFFLE(row[2], row[3], 2, 6, 3, 7);
    column[0] = SHUFFLE(low01, low23, 0, 1, 4, 5);
    column[1] = SHUFFLE(low01, low23, 2, 3, 6, 7);
    column[2] = SHUFFLE(high01, high23, 0, 1, 4, 5);
    column[3] = SHUFFLE(high01, high23, 2, 3, 6, 7);
}
#undef SHUFFLE
#endif

/* 16 x 16 values. */
MEP_INLINE void transpose_square(const char *in, int64_t in_stride, char *out, int64_t out_stride)
{
    MEP_UNROLL
    for (int r = 0; r < 16; r += LANES) {
        MEP_UNROLL
        for (int c = 0; c < 16; c += LANES) {
            vf column[LANES];
            transpose_load(in + r * in_stride + c * 4, in_stride, column);
            MEP_UNROLL
            for (int i = 0; i < LANES; i++) memcpy(out + (c + i) * out_stride + r * 4, &column[i], sizeof column[i]);
        }
    }
}

/* out = in transposed, in [rows x columns], strides in bytes. */
static inline void transpose_words(int64_t rows, int64_t columns, const void *in, int64_t in_stride, void *out,
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
