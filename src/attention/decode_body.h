/* SPDX-License-Identifier: MIT */
/*
 * The kernels of decoding: one query against a block of keys. Sums are made of the same chains as in the tile kernels,
 * so a query has the same bits in both. Part of kernels_body.h; docs/kernels.md is the contract.
 */
#ifndef MEP_ATTENTION_DECODE_BODY_H
#define MEP_ATTENTION_DECODE_BODY_H

#include "attention/elements.h"
#include "attention/kernels.h"

#include "base/simd.h"
#include "base/tile.h"

/* S = q K^T for up to 8 vectors of keys from key n, by the chains of the tile product. */
MEP_INLINE void score_keys(int64_t units, const float *q, const void *keys, int64_t n, const int is_bf16, float *s)
{
    enum { CHAINS = BLOCK_KEYS / LANES < 8 ? BLOCK_KEYS / LANES : 8 };
    vf sum[CHAINS];
    MEP_UNROLL
    for (int i = 0; i < CHAINS; i++) sum[i] = vf_set(0);
    for (int64_t u = 0; u < units; u++) {
        vf broadcast = tile_broadcast(q + u);
        MEP_UNROLL
        for (int i = 0; i < CHAINS; i++)
            sum[i] = tile_multiply_add(sum[i], broadcast, load_elements(keys, u * BLOCK_KEYS + n + i * LANES, is_bf16));
    }
    MEP_UNROLL
    for (int i = 0; i < CHAINS; i++) vf_store(s + n + i * LANES, sum[i]);
}

static float score_block(int64_t units, const float *q, const void *keys, int is_bf16, float scale, const float *bias,
                         float *s)
{
    for (int64_t n = 0; n < BLOCK_KEYS; n += 8 * LANES)
        if (is_bf16)
            score_keys(units, q, keys, n, 1, s);
        else
            score_keys(units, q, keys, n, 0, s);
    return highest_in_block(scale, bias, s);
}

#if !defined(TILE_PAIRS)
/* `vectors` vectors of channels from channel i. */
MEP_INLINE void weigh_strip(const int vectors, int64_t i, int64_t count, const float *weights, const void *values,
                            int64_t stride, const int is_bf16, float *out)
{
    vf sum[8];
    MEP_UNROLL
    for (int n = 0; n < vectors; n++) sum[n] = vf_load(out + i + n * LANES);
    for (int64_t key = 0; key < count; key++) {
        vf weight = vf_set(weights[key]);
        MEP_UNROLL
        for (int n = 0; n < vectors; n++)
            sum[n] = vf_multiply_add(sum[n], weight, load_elements(values, key * stride + i + n * LANES, is_bf16));
    }
    MEP_UNROLL
    for (int n = 0; n < vectors; n++) vf_store(out + i + n * LANES, sum[n]);
}

/* The same for bfloat16, two vectors at a time: a word contains an even channel in its lower half and an odd one in its
 * upper half. */
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

/* out += the weighted sum of `count` rows of values, in steps of as many channels as possible. */
MEP_INLINE void weigh_rows(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                           const int is_bf16, float *out)
{
    int64_t i = 0;
    for (; is_bf16 && i + 8 * LANES <= channels; i += 8 * LANES) weigh_words(4, i, count, weights, values, stride, out);
    for (; is_bf16 && i + 4 * LANES <= channels; i += 4 * LANES) weigh_words(2, i, count, weights, values, stride, out);
    for (; i + 8 * LANES <= channels; i += 8 * LANES) weigh_strip(8, i, count, weights, values, stride, is_bf16, out);
    for (; i + 4 * LANES <= channels; i += 4 * LANES) weigh_strip(4, i, count, weights, values, stride, is_bf16, out);
    for (; i + LANES <= channels; i += LANES) weigh_strip(1, i, count, weights, values, stride, is_bf16, out);
    if (i == channels) return;
    vf sum = load_some(out, i, channels - i, 0);
    for (int64_t key = 0; key < count; key++)
        sum = vf_multiply_add(sum, vf_set(weights[key]), load_some(values, key * stride + i, channels - i, is_bf16));
    for (int64_t n = 0; i + n < channels; n++) out[i + n] = sum[n];
}
#endif

#if defined(TILE_PAIRS)
/* Weights are pairs along the keys, as in the tile product. Two rows of values are interleaved into pairs: the lower
 * and the upper four of each group of 8 channels. */
MEP_INLINE void weigh_pairs(int64_t i, int64_t pairs, int last_is_half, const float *weights, const mep_bf16 *values,
                            int64_t stride, float *out)
{
    vf low = vf_set(0), high = vf_set(0);
    for (int64_t p = 0; p < pairs; p++) {
        const mep_bf16 *row = values + 2 * p * stride + i;
        __m512i even = _mm512_loadu_si512(row);
        __m512i odd = p == pairs - 1 && last_is_half ? _mm512_setzero_si512() : _mm512_loadu_si512(row + stride);
        vf weight = tile_broadcast(weights + p);
        low = vf_dot_pairs(low, weight, (vf)_mm512_unpacklo_epi16(even, odd));
        high = vf_dot_pairs(high, weight, (vf)_mm512_unpackhi_epi16(even, odd));
    }
    for (int64_t lane = 0; lane < LANES; lane++) {
        int64_t channel = i + lane / 4 * 8 + lane % 4;
        out[channel] = low[lane];
        out[channel + 4] = high[lane];
    }
}

/* The last channels, fewer than weigh_pairs reads. */
MEP_INLINE void weigh_last_pairs(int64_t i, int64_t channels, int64_t count, const float *weights,
                                 const mep_bf16 *values, int64_t stride, float *out)
{
    mep_bf16 rest[BLOCK_KEYS][2 * LANES] = {{0}};
    float all[2 * LANES];
    for (int64_t key = 0; key < count; key++)
        memcpy(rest[key], values + key * stride + i, (size_t)(channels - i) * sizeof **rest);
    weigh_pairs(0, (count + 1) / 2, 0, weights, rest[0], 2 * LANES, all);
    memcpy(out + i, all, (size_t)(channels - i) * sizeof *all);
}
#endif

static void weigh_block(int64_t count, int64_t channels, const float *weights, const void *values, int64_t stride,
                        int is_bf16, float *out)
{
#if defined(TILE_PAIRS)
    int64_t i = 0;
    for (; i + 2 * LANES <= channels; i += 2 * LANES)
        weigh_pairs(i, (count + 1) / 2, count % 2, weights, values, stride, out);
    if (i < channels) weigh_last_pairs(i, channels, count, weights, values, stride, out);
    (void)is_bf16;
#else
    memset(out, 0, (size_t)channels * sizeof *out);
    if (is_bf16)
        weigh_rows(count, channels, weights, values, stride, 1, out);
    else
        weigh_rows(count, channels, weights, values, stride, 0, out);
#endif
}

#endif
