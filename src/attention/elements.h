/* SPDX-License-Identifier: MIT */
/*
 * Elements of tensors as vectors, and the largest score of a block. Part of kernels_body.h.
 */
#ifndef MEP_ATTENTION_ELEMENTS_H
#define MEP_ATTENTION_ELEMENTS_H

#include <math.h>

#include "attention/kernels.h"
#include "base/simd.h"

typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));

/* Elements i .. i + LANES - 1 of `p`: bfloat16 with `is_bf16`, else float32. */
MEP_INLINE vf load_elements(const void *p, int64_t i, const int is_bf16)
{
    if (!is_bf16) return vf_load((const float *)p + i);
    vh bits;
    memcpy(&bits, (const mep_bf16 *)p + i, sizeof bits);
    return (vf)(__builtin_convertvector(bits, vu) << 16);
}

/* Its first `count` < LANES elements; the others are 0. */
MEP_INLINE vf load_some(const void *p, int64_t i, int64_t count, const int is_bf16)
{
    float part[LANES] = {0};
    for (int64_t n = 0; n < count; n++)
        part[n] = is_bf16 ? mep_bf16_to_float(((const mep_bf16 *)p)[i + n]) : ((const float *)p)[i + n];
    return vf_load(part);
}

static void from_bf16(int64_t n, const mep_bf16 *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) vf_store(y + i, load_elements(x, i, 1));
    if (i < n) {
        vf rest = load_some(x, i, n - i, 1);
        memcpy(y + i, &rest, (size_t)(n - i) * sizeof *y);
    }
}

/* The largest scale s + bias of BLOCK_KEYS keys. */
MEP_INLINE float highest_in_block(float scale, const float *bias, const float *s)
{
    vf highest = vf_set(-INFINITY);
    for (int64_t n = 0; n < BLOCK_KEYS; n += LANES)
        highest = vf_max(highest, vf_multiply_add(vf_load(bias + n), vf_load(s + n), vf_set(scale)));
    return vf_highest(highest);
}

#endif
