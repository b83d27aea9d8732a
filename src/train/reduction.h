/* SPDX-License-Identifier: MIT */
/*
 * The sum of the gradients of several processes, computed during the backward pass: a thread takes each bucket
 * (shards.h) as soon as it is final and leaves in each process the sum of its shard. The order of the additions is
 * fixed (gradient_tree.h), so results do not depend on the network or the MPI library.
 */
#ifndef MEP_TRAIN_REDUCTION_H
#define MEP_TRAIN_REDUCTION_H

#include "train/shards.h"

typedef struct mep_reduction mep_reduction;

/* Create the reduction of `gradients`, a block laid out like the model's values. Model and shards must outlive it. With
 * one process the reduction does nothing. */
mep_status mep_reduction_create(mep_reduction **reduction, const mep_model *model, const mep_shards *shards,
                                float *gradients);
void mep_reduction_destroy(mep_reduction **reduction);

/* A mep_gradients_fn: tensors first .. end - 1 are final, so their reduction can begin. From the first call until
 * mep_reduction_finish the calling thread must not communicate. */
void mep_reduction_final(void *reduction, int64_t first, int64_t end);

/* Wait for all sums. Gradients that are not final are reduced as they are, so that a process that failed does not block
 * the others. */
mep_status mep_reduction_finish(mep_reduction *reduction);

#endif
