/* SPDX-License-Identifier: MIT */
/*
 * A block of values like a model's (parameters, gradients, a moment) divided over processes. It is cut into pieces
 * with which a backward pass is done at different times, and each process owns a share of every piece: it alone has the
 * optimizer's moments of it and updates it (ZeRO's first stage, arXiv:1910.02054), and all links are busy at any time.
 * Beside each other its shares make the process's own values. The pieces depend on the model alone and shares are whole
 * chunks (adamw.h), so that what is computed for a chunk has the same bits whatever the number of processes.
 */
#ifndef MEP_TRAIN_SHARDS_H
#define MEP_TRAIN_SHARDS_H

#include "dist/dist_group.h"
#include "model/model.h"
#include "train/adamw.h"

typedef struct mep_shards {
    mep_dist *group;
    int64_t count;    /* pieces */
    mep_range *piece; /* [count] one behind the other */
    int64_t *order;   /* [count] pieces in the order in which a backward pass is done with them */
    mep_range *own;   /* [count] this process's share of each */
    int64_t size;     /* own values */
    int64_t most;     /* values of the largest share of any process */
} mep_shards;

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
