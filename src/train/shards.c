/* SPDX-License-Identifier: MIT */
/*
 * Buckets, shards, and their transfer between processes.
 */
#include "train/shards.h"

#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

/* The largest bucket: at most 16 MB are sent, and wait to be added, at a time. */
enum { BUCKET = 4 << 20 };
static_assert(BUCKET % MEP_CHUNK == 0, "a bucket consists of complete chunks");

mep_range mep_shard(const mep_shards *s, int64_t bucket, int64_t rank)
{
    mep_range b = s->bucket[bucket];
    int64_t chunks = mep_chunks(b.count);
    int64_t first = min_i64(mep_dist_first(s->group, chunks, rank) * MEP_CHUNK, b.count),
            end = min_i64(mep_dist_first(s->group, chunks, rank + 1) * MEP_CHUNK, b.count);
    return (mep_range){b.first + first, end - first};
}

/* Divide the values of tensors first .. end - 1 into buckets. If s->bucket is NULL, only count them. */
static void divide(mep_shards *s, const mep_model *model, int64_t first, int64_t end)
{
    if (first >= end) return;
    int64_t at = mep_tensor_offset(model, first),
            stop = mep_tensor_offset(model, end - 1) + model->tensors[end - 1].size;
    for (; at < stop; s->count++) {
        int64_t count = min_i64(stop - at, BUCKET);
        if (s->bucket != NULL) s->bucket[s->count] = (mep_range){at, count};
        at += count;
    }
}

/* Divide the model where a training pass reports final gradients (mep_range_at). Returns the number of buckets before
 * the position bias. */
static int64_t divide_model(mep_shards *s, const mep_model *m)
{
    int64_t before = 0;
    s->count = 0;
    for (int64_t r = 0; r < mep_range_count(m); r++) {
        mep_tensor_range range = mep_range_at(m, r);
        before = s->count;
        divide(s, m, range.first, range.end);
    }
    return before;
}

mep_status mep_shards_create(mep_shards **shards, const mep_model *model, mep_dist *group)
{
    mep_shards *s;
    mep_status status;
    *shards = NULL;
    MEP_TRY(MEP_ALLOC(&s, 1));
    s->group = group;
    int64_t before = divide_model(s, model);
    MEP_TRY_OR(status, MEP_ALLOC(&s->bucket, s->count), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&s->order, s->count), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&s->own, s->count), failed);
    divide_model(s, model);
    for (int64_t i = 0; i < s->count; i++) {
        s->order[i] = i < before ? before - 1 - i : i; /* from the output to the input, the position bias last */
        s->own[i] = mep_shard(s, i, group->rank);
        s->size += s->own[i].count;
        for (int64_t r = 0; r < group->size; r++) s->most = max_i64(s->most, mep_shard(s, i, r).count);
    }
    *shards = s;
    return MEP_OK;
failed:
    mep_shards_destroy(&s);
    return status;
}

void mep_shards_destroy(mep_shards **shards)
{
    if (*shards == NULL) return;
    mep_free(&(*shards)->bucket);
    mep_free(&(*shards)->order);
    mep_free(&(*shards)->own);
    mep_free(shards);
}

/* A transfer from or to process `rank`: the shard of process `owner` of a bucket, in `block`. */
static mep_dist_block shard_in(float *block, const mep_shards *s, int64_t bucket, int64_t rank, int64_t owner)
{
    mep_range shard = mep_shard(s, bucket, owner);
    return (mep_dist_block){.rank = rank, .data = block + shard.first, .bytes = shard.count * (int64_t)sizeof *block};
}

mep_status mep_shards_gather(const mep_shards *s, float *block)
{
    mep_dist *g = s->group;
    mep_dist_block *send;
    mep_status status = MEP_OK;
    if (g->size == 1) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&send, 2 * g->size));
    mep_dist_block *receive = send + g->size;
    for (int64_t i = 0; i < s->count && status == MEP_OK; i++) {
        int64_t count = 0;
        for (int64_t r = 0; r < g->size; r++) {
            if (r == g->rank) continue;
            send[count] = shard_in(block, s, i, r, g->rank);
            receive[count++] = shard_in(block, s, i, r, r);
        }
        status = mep_dist_transfer(g, send, count, receive, count);
    }
    mep_free(&send);
    return status;
}

/* Move values between process 0, which has the block of all values, and the other processes, which have their own
 * shards: to the block if to_block, otherwise from it. Process 0 has shards of its own too. */
static mep_status move(const mep_shards *s, int to_block, float *own, float *block)
{
    mep_dist *g = s->group;
    mep_dist_block *others;
    mep_status status = MEP_OK;
    MEP_TRY(MEP_ALLOC(&others, g->size));
    for (int64_t i = 0; i < s->count && status == MEP_OK; i++) {
        size_t bytes = (size_t)s->own[i].count * sizeof *own;
        int64_t count = 0;
        if (g->rank > 0) {
            others[count++] = (mep_dist_block){.rank = 0, .data = own, .bytes = (int64_t)bytes};
        } else {
            float *in_block = block + s->own[i].first;
            memcpy(to_block ? in_block : own, to_block ? own : in_block, bytes);
            for (int64_t r = 1; r < g->size; r++) others[count++] = shard_in(block, s, i, r, r);
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
