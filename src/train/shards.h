/* SPDX-License-Identifier: MIT */
/*
 * A block of values like a model's (parameters, gradients, a moment) divided over processes. It is cut into pieces in
 * the order in which a backward pass is done with them, and each process owns a share of every piece: it alone has the
 * optimizer's moments of it and updates it (ZeRO's first stage, arXiv:1910.02054), and all links are busy at any time.
 * Beside each other its shares make the process's own values.
 */
#ifndef MEP_TRAIN_SHARDS_H
#define MEP_TRAIN_SHARDS_H

#include "dist/dist.h"
#include "model/model.h"
#include "train/adamw.h"

typedef struct mep_shards {
    mep_dist *group;
    int64_t count;    /* pieces */
    mep_range *piece; /* [count] */
    mep_range *own;   /* [count] this process's share of each */
    int64_t size;     /* own values */
    int64_t most;     /* values of the largest share of any process */
} mep_shards;

/* One piece of all values where the process is alone. */
mep_status mep_shards_create(mep_shards **shards, const mep_model *model, mep_dist *group);
void mep_shards_destroy(mep_shards **shards);

/* The share of process `rank` in a piece. */
mep_range mep_shard(const mep_shards *shards, int64_t piece, int64_t rank);

/* Own values of `block` become those of all processes: every process has the whole block. */
mep_status mep_shards_gather(const mep_shards *shards, float *block);

/* The own values of all processes, `own` laid out as in the optimizer, become `block` in process 0; and the other way,
 * from process 0's block. `block` is not used in other processes. */
mep_status mep_shards_collect(const mep_shards *shards, const float *own, float *block);
mep_status mep_shards_scatter(const mep_shards *shards, const float *block, float *own);

#endif
