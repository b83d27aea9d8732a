/* SPDX-License-Identifier: MIT */
/*
 * The thread that adds gradients, and its synchronization.
 */
#include "train/reduction.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"

struct mep_reduction {
    const mep_model *model;
    const mep_shards *shards;
    float *gradients;
    float *received;                /* [processes, largest shard] */
    mep_dist_block *send, *receive; /* [processes] each */

    pthread_t thread;
    int has_thread;
    pthread_mutex_t lock; /* protects the members below */
    pthread_cond_t changed;
    int64_t ready, done; /* number of buckets that are final, and that are added */
    int close;
    mep_status status;
    char message[1024];
};

/* The gradients that process `rank` has computed for this process's shard. */
static float *shard_from(const mep_reduction *r, mep_range own, int64_t rank)
{
    return rank == r->shards->group->rank ? r->gradients + own.first : r->received + rank * r->shards->most;
}

/* Add the shards of all processes: adjacent pairs, then pairs of those sums, and so on (gradient_tree.h). */
static void add(const mep_reduction *r, mep_range own)
{
    enum { BLOCK = 1024 };
    const mep_dist *g = r->shards->group;
    for (int64_t at = 0; at < own.count; at += BLOCK) {
        int64_t n = min_i64(own.count - at, BLOCK);
        for (int64_t step = 1; step < g->size; step *= 2)
            for (int64_t rank = 0; rank + step < g->size; rank += 2 * step) {
                float *sum = shard_from(r, own, rank) + at;
                const float *x = shard_from(r, own, rank + step) + at;
                for (int64_t i = 0; i < n; i++) sum[i] += x[i];
            }
        if (g->rank > 0)
            memcpy(r->gradients + own.first + at, shard_from(r, own, 0) + at, (size_t)n * sizeof *r->gradients);
    }
}

/* Exchange and add bucket number `index` in the order of the backward pass. */
static mep_status reduce(mep_reduction *r, int64_t index)
{
    const mep_shards *s = r->shards;
    int64_t bucket = s->order[index], count = 0, size = (int64_t)sizeof *r->gradients;
    for (int64_t rank = 0; rank < s->group->size; rank++) {
        mep_range theirs = mep_shard(s, bucket, rank);
        if (rank == s->group->rank) continue;
        r->send[count] =
            (mep_dist_block){.rank = rank, .data = r->gradients + theirs.first, .bytes = theirs.count * size};
        r->receive[count++] =
            (mep_dist_block){.rank = rank, .data = r->received + rank * s->most, .bytes = s->own[bucket].count * size};
    }
    MEP_TRY(mep_dist_transfer(s->group, r->send, count, r->receive, count));
    add(r, s->own[bucket]);
    return MEP_OK;
}

/* Reduce every bucket that is ready. The caller holds the lock, which is released while a bucket is transferred. */
static void reduce_ready(mep_reduction *r)
{
    while (r->done < r->ready && r->status == MEP_OK) {
        int64_t index = r->done;
        pthread_mutex_unlock(&r->lock);
        mep_status status = reduce(r, index);
        pthread_mutex_lock(&r->lock);
        r->done++;
        r->status = status;
        if (status != MEP_OK) snprintf(r->message, sizeof r->message, "%s", mep_error_message());
    }
}

static void *work(void *argument)
{
    mep_reduction *r = argument;
    pthread_mutex_lock(&r->lock);
    while (!r->close) {
        reduce_ready(r);
        pthread_cond_broadcast(&r->changed);
        if (r->done == r->ready || r->status != MEP_OK) pthread_cond_wait(&r->changed, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

mep_status mep_reduction_create(mep_reduction **reduction, const mep_model *model, const mep_shards *shards,
                                float *gradients)
{
    mep_reduction *r;
    int64_t size = shards->group->size, values = 0;
    mep_status status;
    *reduction = NULL;
    MEP_TRY(MEP_ALLOC(&r, 1));
    *r = (mep_reduction){.model = model, .shards = shards, .gradients = gradients};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    if (size > 1) MEP_TRY_OR(status, mep_multiply(size, shards->most, 1, &values), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&r->received, values), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&r->send, 2 * size), failed);
    r->receive = r->send + size;
    if (size > 1 && shards->group->any_thread) {
        r->has_thread = pthread_create(&r->thread, NULL, work, r) == 0;
        if (!r->has_thread) {
            status = mep_fail(MEP_ERROR_MEMORY, "cannot start a thread for the gradients");
            goto failed;
        }
    }
    *reduction = r;
    return MEP_OK;
failed:
    mep_reduction_destroy(&r);
    return status;
}

void mep_reduction_destroy(mep_reduction **reduction)
{
    mep_reduction *r = *reduction;
    if (r == NULL) return;
    pthread_mutex_lock(&r->lock);
    r->close = 1;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->has_thread) pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    mep_free(&r->received);
    mep_free(&r->send);
    mep_free(reduction);
}

void mep_reduction_final(void *reduction, int64_t first, int64_t end)
{
    mep_reduction *r = reduction;
    const mep_model *m = r->model;
    if (r->shards->group->size == 1) return;
    int64_t begin = mep_tensor_offset(m, first), stop = mep_tensor_offset(m, end - 1) + m->tensors[end - 1].size;
    pthread_mutex_lock(&r->lock);
    for (; r->ready < r->shards->count; r->ready++) {
        mep_range next = r->shards->bucket[r->shards->order[r->ready]];
        if (next.first < begin || next.first + next.count > stop) break;
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

mep_status mep_reduction_finish(mep_reduction *r)
{
    if (r->shards->group->size == 1) return MEP_OK;
    pthread_mutex_lock(&r->lock);
    r->ready = r->shards->count;
    pthread_cond_broadcast(&r->changed);
    if (!r->has_thread) reduce_ready(r);
    while (r->done < r->ready && r->status == MEP_OK) pthread_cond_wait(&r->changed, &r->lock);
    mep_status status = r->status;
    r->ready = r->done = 0;
    pthread_mutex_unlock(&r->lock);
    return status == MEP_OK ? MEP_OK : mep_fail(status, "%s", r->message);
}
