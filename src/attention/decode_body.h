/* SPDX-License-Identifier: MIT */
/*
 * The kernels of decoding: one query against a block of keys that lie in rows, float32 or bfloat16, read as they are.
 * Part of kernels_body.h; docs/kernels.md is the contract.
 */
#ifndef MEP_ATTENTION_DECODE_BODY_H
#define MEP_ATTENTION_DECODE_BODY_H

#include "attention/kernels.h"

#include "base/simd.h"

typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));

/* Elements i .. i + LANES - 1 of float32 or, where narrow, bfloat16 numbers. */
MEP_INLINE vf load_elements(const void *p, int64_t i, const int narrow)
{
    if (!narrow) return vf_load((const float *)p + i);
    vh half;
    memcpy(&half, (const mep_bf16 *)p + i, sizeof half);
    return (vf)(__builtin_convertvector(half, vu) << 16);
}

/* The first `count` < LANES of them; the others are 0. */
MEP_INLINE vf load_some(const void *p, int64_t i, int64_t count, const int narrow)
{
    float part[LANES] = {0};
    for (int64_t n = 0; n < count; n++)
        part[n] = narrow ? mep_bf16_to_float(((const mep_bf16 *)p)[i + n]) : ((const float *)p)[i + n];
    return vf_load(part);
}

/* s[key] = q . row of `keys` <= 4 keys from `rows` on. */
MEP_INLINE void dots(const int keys, int64_t channels, const float *q, const void *rows, int64_t row, int64_t stride,
                     const int narrow, float *s)
{
    vf sum[4];
    float all[4];
    int64_t i = 0;
    for (int n = 0; n < 4; n++) sum[n] = vf_set(0);
#if defined(TILE_PAIRS)
    for (; narrow && i + 2 * LANES <= channels; i += 2 * LANES) {
        vf x = vf_to_pairs(vf_load(q + i), vf_load(q + i + LANES));
        MEP_UNROLL
        for (int n = 0; n < keys; n++) {
            vf pairs;
            memcpy(&pairs, (const mep_bf16 *)rows + (row + n) * stride + i, sizeof pairs);
            sum[n] = vf_dot_pairs(sum[n], x, pairs);
        }
    }
#endif
    for (; i + LANES <= channels; i += LANES) {
        vf x = vf_load(q + i);
        MEP_UNROLL
        for (int n = 0; n < keys; n++)
            sum[n] = vf_multiply_add(sum[n], x, load_elements(rows, (row + n) * stride + i, narrow));
    }
    if (i < channels) {
        vf x = load_some(q, i, channels - i, 0);
        for (int n = 0; n < keys; n++)
            sum[n] = vf_multiply_add(sum[n], x, load_some(rows, (row + n) * stride + i, channels - i, narrow));
    }
    vf_sums(sum, all);
    for (int n = 0; n < keys; n++) s[n] = all[n];
}

MEP_INLINE float score_rows(int64_t count, int64_t channels, float scale, const float *q, const void *keys,
                            int64_t stride, const int narrow, const float *bias, float *s)
{
    int64_t key = 0;
    for (; key + 4 <= count; key += 4) dots(4, channels, q, keys, key, stride, narrow, s + key);
    for (; key < count; key++) dots(1, channels, q, keys, key, stride, narrow, s + key);
    for (; key < BLOCK_KEYS; key++) s[key] = 0;
    vf highest = vf_set(-INFINITY);
    for (int64_t n = 0; n < BLOCK_KEYS; n += LANES) {
        vf x = vf_load(s + n) * scale + vf_load(bias + n);
        vf_store(s + n, x);
        highest = vf_max(highest, x);
    }
    return vf_highest(highest);
}

/* The usual numbers of channels are compiled each on its own, without loops over them. */
static float score_block(int64_t count, int64_t channels, float scale, const float *q, const void *keys, int64_t stride,
                         int narrow, const float *bias, float *s)
{
    if (channels == 64)
        return narrow ? score_rows(count, 64, scale, q, keys, stride, 1, bias, s)
                      : score_rows(count, 64, scale, q, keys, stride, 0, bias, s);
    if (channels == 128)
        return narrow ? score_rows(count, 128, scale, q, keys, stride, 1, bias, s)
                      : score_rows(count, 128, scale, q, keys, stride, 0, bias, s);
    return narrow ? score_rows(count, channels, scale, q, keys, stride, 1, bias, s)
                  : score_rows(count, channels, scale, q, keys, stride, 0, bias, s);
}

/* `vectors` vectors of channels from channel i on. */
MEP_INLINE void weigh_strip(const int vectors, int64_t i, int64_t count, const float *weights, const void *values,
                            int64_t stride, const int narrow, float *out)
{
    vf sum[8];
    MEP_UNROLL
    for (int n = 0; n < vectors; n++) sum[n] = vf_load(out + i + n * LANES);
    for (int64_t key = 0; key < count; key++) {
        vf weight = vf_set(weights[key]);
        MEP_UNROLL
        for (int n = 0; n < vectors; n++)
            sum[n] = vf_multiply_add(sum[n], weight, load_elements(values, key * stride + i + n * LANES, narrow));
    }
    MEP_UNROLL
    for (int n = 0; n < vectors; n++) vf_store(out + i + n * LANES, sum[n]);
}

/* The same of bfloat16, two vectors at a time: a word has an even channel in its lower and an odd one in its upper
 * half.
 */
MEP_INLINE void weigh_words(const int words, int64_t i, int64_t count, const float *weights, const void *values,
                            int64_t stride, float *out)
{
    vf even[4], odd[4];
    MEP_UNROLL
    for (int n = 0; n < words; n++) even[n] = odd[n] = vf_set(0);
    for (int64_t key = 0; key < count; key++) {
        vf weight = vf_set(weights[key]);
        MEP_UNROLL
        for (int n = 0; n < words; n++) {
            vu word;
            memcpy(&word, (const mep_bf16 *)values + key * stride + i + n * 2 * LANES, sizeof word);
            even[n] = vf_multiply_add(even[n], weight, (vf)(word << 16));
            odd[n] = vf_multiply_add(odd[n], weight, (vf)(word & 0xffff0000u));
        }
    }
    for (int n = 0; n < words; n++)
        for (int lane = 0; lane < LANES; lane++) {
            out[i + (n * LANES + lane) * 2] += even[n][lane];
            out[i + (n * LANES + lane) * 2 + 1] += odd[n][lane];
        }
}

MEP_INLINE void weigh_rows(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                           const int narrow, float *out)
{
    int64_t i = 0;
    for (; narrow && i + 8 * LANES <= channels; i += 8 * LANES) weigh_words(4, i, count, weights, values, stride, out);
    for (; narrow && i + 4 * LANES <= channels; i += 4 * LANES) weigh_words(2, i, count, weights, values, stride, out);
    for (; i + 8 * LANES <= channels; i += 8 * LANES) weigh_strip(8, i, count, weights, values, stride, narrow, out);
    for (; i + 4 * LANES <= channels; i += 4 * LANES) weigh_strip(4, i, count, weights, values, stride, narrow, out);
    for (; i + LANES <= channels; i += LANES) weigh_strip(1, i, count, weights, values, stride, narrow, out);
    if (i == channels) return;
    vf sum = load_some(out, i, channels - i, 0);
    for (int64_t key = 0; key < count; key++)
        sum += vf_set(weights[key]) * load_some(values, key * stride + i, channels - i, narrow);
    for (int64_t n = 0; i + n < channels; n++) out[i + n] = sum[n];
}

static void weigh_block(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                        int narrow, float *out)
{
    if (narrow)
        weigh_rows(count, channels, weights, values, stride, 1, out);
    else
        weigh_rows(count, channels, weights, values, stride, 0, out);
}

#endif
