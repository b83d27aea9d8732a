/* SPDX-License-Identifier: MIT */
/*
 * Segments: the keys that each query of a call sees, for documents that are packed into one sequence and for padding.
 * A masked score is MASKED: so far below every score that its weight is exactly 0. It is finite, so a tile may visit
 * blocks that a row does not see in any order: the row's own key is visible, and removes what was summed before it.
 */
#ifndef MEP_ATTENTION_SEGMENTS_H
#define MEP_ATTENTION_SEGMENTS_H

#include "attention/content.h"
#include "base/integer.h"
#include "mep/attention.h"

#define MEP_MASKED_SCORE (-1e30f)

/* Keys first .. end - 1. In a causal call the table masks keys after the query, and `end` is larger than all. */
typedef struct mep_segment {
    int64_t first, end;
} mep_segment;

/* What query i of sequence b sees. */
static inline mep_segment mep_segment_of(const mep_attention_call *c, int bidirectional, int64_t b, int64_t i)
{
    int64_t position = c->keys - c->queries + i, at = b * c->queries + i;
    mep_segment s = {0, bidirectional ? c->keys : INT64_MAX};
    if (c->starts != NULL) s.first = min_i64(c->starts[at], position);
    if (c->ends != NULL) s.end = max_i64(min_i64(c->ends[at], c->keys), position + 1);
    return s;
}

/* What the rows of a tile see together. */
static inline mep_segment mep_segment_of_tile(const mep_attention_call *c, int bidirectional, int64_t b,
                                              const mep_tile *tile)
{
    mep_segment all = mep_segment_of(c, bidirectional, b, tile->first);
    if (c->starts == NULL && c->ends == NULL) return all;
    for (int64_t r = 1; r < tile->rows; r++) {
        mep_segment s = mep_segment_of(c, bidirectional, b, tile->first + r);
        all = (mep_segment){min_i64(all.first, s.first), max_i64(all.end, s.end)};
    }
    return all;
}

/* Mask the scores s = q.k, which are to be scaled, of the keys of a block, the first of which is `key`. */
static inline void mep_segment_mask_row(mep_segment segment, int64_t key, float scale, float *s)
{
    for (int64_t j = 0; j < min_i64(segment.first - key, BLOCK_KEYS); j++) s[j] = MEP_MASKED_SCORE / scale;
    for (int64_t j = max_i64(segment.end - key, 0); j < BLOCK_KEYS; j++) s[j] = MEP_MASKED_SCORE / scale;
}

/* The same for the rows [rows, BLOCK_KEYS] of a tile. */
static inline void mep_segment_mask(const mep_attention_call *c, int bidirectional, int64_t b, const mep_tile *tile,
                                    int64_t block, float scale, float *s)
{
    int64_t key = block * BLOCK_KEYS;
    if (c->starts == NULL && c->ends == NULL && (!bidirectional || key + BLOCK_KEYS <= c->keys)) return;
    for (int64_t r = 0; r < tile->rows; r++)
        mep_segment_mask_row(mep_segment_of(c, bidirectional, b, tile->first + r), key, scale, s + r * BLOCK_KEYS);
}

#endif
