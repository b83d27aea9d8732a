/* SPDX-License-Identifier: MIT */
/*
 * Vectors of float32 in the width that the including file is compiled for (GCC and clang vector extensions), and the
 * operations that kernels need: one source serves plain C, AVX2, AVX-512 and NEON. Included only by the variants of a
 * kernel table (NAME_c.c, NAME_avx2.c, NAME_avx512.c, NAME_neon.c).
 */
#ifndef MEP_BASE_SIMD_H
#define MEP_BASE_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "base/bf16.h"

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));

#define MEP_INLINE static inline __attribute__((always_inline))

/* Full unrolling of a loop with a constant count, so that arrays of vectors stay in registers. Not with sanitizers,
 * which check every access separately, so that compiling takes minutes. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define MEP_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(MEP_SANITIZED)
#define MEP_UNROLL
#elif defined(__clang__)
#define MEP_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MEP_UNROLL _Pragma("GCC unroll 32")
#endif

MEP_INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

MEP_INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

MEP_INLINE vf vf_set(float x)
{
    return x - (vf){0};
}

/* sum + a b in one operation at every level that has it. A compiler can turn `sum + a * b` into one operation in one
 * loop and into two in another, as gcc 14 does in chains of 256 bits; then equal chains have different bits. */
MEP_INLINE vf vf_multiply_add(vf sum, vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#elif defined(MEP_FUSED) && defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b);
#else
    return sum + a * b;
#endif
}

/* The same for one float. */
MEP_INLINE float multiply_add(float sum, float a, float b)
{
#if defined(__FMA__) || (defined(MEP_FUSED) && defined(__aarch64__))
    return __builtin_fmaf(a, b, sum);
#else
    return sum + a * b;
#endif
}

/* lanes of mask are 0 or -1 */
MEP_INLINE vf vf_select(vi mask, vf yes, vf no)
{
    return (vf)(((vi)yes & mask) | ((vi)no & ~mask));
}

MEP_INLINE vf vf_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vf_select(a > b, a, b);
#endif
}

/* Sum and maximum of the lanes, in a fixed order. */
MEP_INLINE float vf_sum(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float part[LANES], sum = 0;
    vf_store(part, v);
    for (int i = 0; i < LANES; i++) sum += part[i];
    return sum;
#endif
}

MEP_INLINE float vf_highest(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float part[LANES];
    vf_store(part, v);
    float highest = part[0];
    for (int i = 1; i < LANES; i++) highest = part[i] > highest ? part[i] : highest;
    return highest;
#endif
}

/*
 * exp(x) for x <= 88: n = round(x / ln 2), exp(x) = 2^n exp(r), |r| <= ln(2)/2, a polynomial of degree 6 (relative
 * error below 3e-7). Exactly 0 below -87.3, the end of float32's normal range; NaN stays NaN.
 */
MEP_INLINE vf vf_exp(vf x)
{
    const float magic = 12582912.0f + 127.0f; /* 1.5 * 2^23: adding it leaves n + 127 in the low bits */
    vf clamped = vf_max(vf_set(-87.3f), x);   /* returns the second operand where one is NaN */
    vf shifted = clamped * 1.44269504088896341f + magic;
    vf n = shifted - magic;
    vf r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    vf result = p * (vf)((vi)shifted << 23);
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.3f), _CMP_NLT_UQ), (__m512)result);
#else
    return vf_select(x < -87.3f, vf_set(0.0f), result);
#endif
}

#if defined(__AVX512BF16__)
/* Pairs of bfloat16, units of 32 bits, in the type vf. */

/* One pair in each lane. */
MEP_INLINE vf vf_set_pair(const float *pair)
{
    int32_t bits;
    memcpy(&bits, pair, sizeof bits);
    return (vf)(bits - (vi){0});
}

/* sum + a.low b.low + a.high b.high in each lane. */
MEP_INLINE vf vf_dot_pairs(vf sum, vf a, vf b)
{
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/* The 2 LANES values low, high as bfloat16, in order: neighbors become pairs. */
MEP_INLINE vf vf_to_pairs(vf low, vf high)
{
    return (vf)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

/* Units (low[i], high[i]) from 2 LANES bfloat16 values: low's in the first half, high's in the second. */
MEP_INLINE vf vf_interleave(vf halves)
{
    __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                     20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vf)_mm512_permutexvar_epi16(order, (__m512i)halves);
}
#endif

/*
 * erf(x) as an odd rational function on [-4, 4]; outside, it is 1 or -1 in float32. Absolute error below 5e-7.
 */
MEP_INLINE vf vf_erf(vf x)
{
    vf limit = vf_set(4.0f);
    vf t = vf_select(x > limit, limit, vf_select(x < -limit, -limit, x));
    vf s = t * t;
    vf p = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
    p = p * s + -2.10102402082508e-06f;
    p = p * s + -5.69250639462346e-05f;
    p = p * s + -7.34990630326855e-04f;
    p = p * s + -2.95459980854025e-03f;
    p = p * s + -1.60960333262415e-02f;
    vf q = s * -1.45660718464996e-05f + -2.13374055278905e-04f;
    q = q * s + -1.68282697438203e-03f;
    q = q * s + -7.37332916720468e-03f;
    q = q * s + -1.42647390514189e-02f;
    return t * p / q;
}

#endif
