/* SPDX-License-Identifier: MIT */
/*
 * Segments: the first key that each query of a call sees, for documents that are packed into one sequence and for
 * padding before a sequence. A masked score is MASKED: so far below every score that its weight is exactly 0. It is
 * finite, so a tile may visit blocks that a row does not see in any order once the row has a score of its own.
 */
#ifndef MEP_ATTENTION_SEGMENTS_H
#define MEP_ATTENTION_SEGMENTS_H

#include "attention/content.h"
#include "base/integer.h"
#include "mep/attention.h"

#define MEP_MASKED_SCORE (-1e30f)

/* The first key that query i of sequence b sees; its own key at the latest. */
static inline int64_t mep_segment_start(const mep_attention_call *c, int64_t b, int64_t i)
{
    if (c->starts == NULL) return 0;
    return min_i64(c->starts[b * c->queries + i], c->keys - c->queries + i);
}

/* The first key that any row of a tile sees. */
static inline int64_t mep_segment_first(const mep_attention_call *c, int64_t b, const mep_tile *tile)
{
    int64_t first = c->starts == NULL ? 0 : c->keys;
    for (int64_t r = 0; r < tile->rows && c->starts != NULL; r++)
        first = min_i64(first, mep_segment_start(c, b, tile->first + r));
    return first;
}

/* Mask the scores s = q.k, which are to be scaled, of the keys of a block that a row does not see; n counts keys of the
 * block from its first. */
static inline void mep_segment_mask_row(int64_t n, float scale, float *s)
{
    for (int64_t j = 0; j < min_i64(n, BLOCK_KEYS); j++) s[j] = MEP_MASKED_SCORE / scale;
}

/* The same for the rows [rows, BLOCK_KEYS] of a tile. */
static inline void mep_segment_mask(const mep_attention_call *c, int64_t b, const mep_tile *tile, int64_t block,
                                    float scale, float *s)
{
    for (int64_t r = 0; r < tile->rows && c->starts != NULL; r++)
        mep_segment_mask_row(mep_segment_start(c, b, tile->first + r) - block * BLOCK_KEYS, scale, s + r * BLOCK_KEYS);
}

#endif
