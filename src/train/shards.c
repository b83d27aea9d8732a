/* SPDX-License-Identifier: MIT */
/*
 * Cutting a block into pieces and shares, and moving shares between processes.
 */
#include "train/shards.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Values of a piece at most, a multiple of a chunk: 16 MB travel, and wait to be added, at a time. */
enum { PIECE = 4 << 20 };

mep_range mep_shard(const mep_shards *s, int64_t piece, int64_t rank)
{
    mep_range p = s->piece[piece];
    int64_t chunks = mep_chunks(p.count);
    int64_t first = mep_dist_first(s->group, chunks, rank) * MEP_CHUNK,
            end = mep_dist_first(s->group, chunks, rank + 1) * MEP_CHUNK;
    if (first > p.count) first = p.count;
    if (end > p.count) end = p.count;
    return (mep_range){p.first + first, end - first};
}

/* Cut the values of tensors first .. end - 1 into pieces; with s->piece NULL only count them. */
static void cut(mep_shards *s, const mep_model *model, int64_t first, int64_t end)
{
    if (first >= end) return;
    int64_t at = mep_tensor_offset(model, first),
            stop = mep_tensor_offset(model, end - 1) + model->tensors[end - 1].size;
    for (; at < stop; s->count++) {
        int64_t count = stop - at < PIECE ? stop - at : PIECE;
        if (s->piece != NULL) s->piece[s->count] = (mep_range){at, count};
        at += count;
    }
}

/* Where a training pass reports final gradients (mep_range_at); returns the number of pieces before the position bias.
 */
static int64_t cut_all(mep_shards *s, const mep_model *m)
{
    int64_t before = 0;
    s->count = 0;
    for (int64_t r = 0; r < mep_range_count(m); r++) {
        mep_tensor_range range = mep_range_at(m, r);
        before = s->count;
        cut(s, m, range.first, range.end);
    }
    return before;
}

mep_status mep_shards_create(mep_shards **shards, const mep_model *model, mep_dist *group)
{
    mep_shards *s;
    *shards = NULL;
    MEP_TRY(mep_alloc(&s, 1, sizeof *s));
    s->group = group;
    int64_t before = cut_all(s, model);
    mep_status status = mep_alloc(&s->piece, s->count, sizeof *s->piece);
    if (status == MEP_OK) status = mep_alloc(&s->order, s->count, sizeof *s->order);
    if (status == MEP_OK) status = mep_alloc(&s->own, s->count, sizeof *s->own);
    if (status == MEP_OK) cut_all(s, model);
    for (int64_t i = 0; i < s->count && status == MEP_OK; i++) {
        s->order[i] = i < before ? before - 1 - i : i; /* from the end to the beginning, the position bias last */
        s->own[i] = mep_shard(s, i, group->rank);
        s->size += s->own[i].count;
        for (int64_t r = 0; r < group->size; r++) {
            int64_t count = mep_shard(s, i, r).count;
            s->most = count > s->most ? count : s->most;
        }
    }
    if (status != MEP_OK) mep_shards_destroy(&s);
    *shards = s;
    return status;
}

void mep_shards_destroy(mep_shards **shards)
{
    if (*shards == NULL) return;
    mep_free(&(*shards)->piece);
    mep_free(&(*shards)->order);
    mep_free(&(*shards)->own);
    mep_free(shards);
}

/* What travels from or to process `rank`: its share of a piece in a block. */
static mep_dist_block in_block(const mep_shards *s, int64_t piece, int64_t rank, int64_t share_of, float *block)
{
    mep_range share = mep_shard(s, piece, share_of);
    return (mep_dist_block){rank, block + share.first, share.count * (int64_t)sizeof *block};
}

mep_status mep_shards_gather(const mep_shards *s, float *block)
{
    mep_dist *g = s->group;
    mep_dist_block *send;
    if (g->size == 1) return MEP_OK;
    MEP_TRY(mep_alloc(&send, 2 * g->size, sizeof *send));
    mep_dist_block *receive = send + g->size;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->count && status == MEP_OK; i++) {
        int64_t count = 0;
        for (int64_t r = 0; r < g->size; r++) {
            if (r == g->rank) continue;
            send[count] = in_block(s, i, r, g->rank, block);
            receive[count++] = in_block(s, i, r, r, block);
        }
        status = mep_dist_transfer(g, send, count, receive, count);
    }
    mep_free(&send);
    return status;
}

/* Between process 0, which has the block, and all others, which have their own values. */
static mep_status move(const mep_shards *s, int to_block, float *own, float *block)
{
    mep_dist *g = s->group;
    mep_dist_block *others;
    MEP_TRY(mep_alloc(&others, g->size, sizeof *others));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->count && status == MEP_OK; i++) {
        size_t bytes = (size_t)s->own[i].count * sizeof *own;
        int64_t count = 0;
        if (g->rank > 0) {
            others[count++] = (mep_dist_block){0, own, (int64_t)bytes};
        } else {
            float *place = block + s->own[i].first;
            memcpy(to_block ? place : own, to_block ? own : place, bytes);
            for (int64_t r = 1; r < g->size; r++) others[count++] = in_block(s, i, r, r, block);
        }
        int sends = to_block == (g->rank > 0);
        status = mep_dist_transfer(g, others, sends ? count : 0, others, sends ? 0 : count);
        own += s->own[i].count;
    }
    mep_free(&others);
    return status;
}

mep_status mep_shards_collect(const mep_shards *s, const float *own, float *block)
{
    return move(s, 1, (float *)own, block);
}

mep_status mep_shards_scatter(const mep_shards *s, const float *block, float *own)
{
    return move(s, 0, own, (float *)block);
}
