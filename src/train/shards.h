/* SPDX-License-Identifier: MIT */
/*
 * A block laid out like the model's values (parameters, gradients, a moment), divided over processes. The block
 * consists of buckets, which a backward pass finishes at different times. Each process owns one shard of every bucket:
 * only this process holds the optimizer's moments of the shard and updates its parameters (ZeRO stage 1,
 * arXiv:1910.02054), and all links are in use at any time. The own shards, one after the other, are the process's own
 * values. Buckets depend on the model alone and shards consist of complete chunks (nn/network.h), so the bits computed
 * for a chunk do not depend on the number of processes.
 */
#ifndef MEP_TRAIN_SHARDS_H
#define MEP_TRAIN_SHARDS_H

#include "dist/dist_group.h"
#include "model/model_internal.h"
#include "train/adamw.h"

typedef struct mep_shards {
    mep_dist *group;
    int64_t count;     /* buckets */
    mep_range *bucket; /* [count], in the order of the block */
    int64_t *order;    /* [count] buckets in the order in which a backward pass finishes them */
    mep_range *own;    /* [count] this process's shard of each bucket */
    int64_t size;      /* number of own values */
    int64_t most;      /* values of the largest shard of any process */
} mep_shards;

mep_status mep_shards_create(mep_shards **shards, const mep_model *model, mep_dist *group);
void mep_shards_destroy(mep_shards **shards);

/* Return the shard of process `rank` in a bucket. */
mep_range mep_shard(const mep_shards *shards, int64_t bucket, int64_t rank);

/* Gather the own values of all processes: afterwards `block` is complete in every process. */
mep_status mep_shards_gather(const mep_shards *shards, float *block);

/* Move the own values of all processes, laid out in `own` as in the optimizer, to `block` of process 0 (collect), or
 * back from there (scatter). Other processes do not use `block`. */
mep_status mep_shards_collect(const mep_shards *shards, const float *own, float *block);
mep_status mep_shards_scatter(const mep_shards *shards, const float *block, float *own);

#endif
