/* SPDX-License-Identifier: MIT */
/*
 * bfloat16: the upper half of a float32.
 */
#ifndef MEP_BASE_BF16_H
#define MEP_BASE_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t mep_bf16;

static inline float mep_bf16_to_float(mep_bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to nearest even; NaN stays NaN. */
static inline mep_bf16 mep_bf16_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    uint32_t nan = bits >> 16 | 0x40u;
    return (mep_bf16)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

#endif
