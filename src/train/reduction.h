/* SPDX-License-Identifier: MIT */
/*
 * Gradients of several processes added while the backward pass goes on: a thread takes each piece (shards.h) as soon as
 * it is final, and leaves in each process the sum of its share. Summed in a fixed order (parts.h), so that results do
 * not depend on the network or the MPI library.
 */
#ifndef MEP_TRAIN_REDUCTION_H
#define MEP_TRAIN_REDUCTION_H

#include "train/shards.h"

typedef struct mep_reduction mep_reduction;

/* For gradients like the model's values; model and shards must outlive it. Nothing is done where the process is alone.
 */
mep_status mep_reduction_create(mep_reduction **reduction, const mep_model *model, const mep_shards *shards,
                                float *gradients);
void mep_reduction_destroy(mep_reduction **reduction);

/* Let the sums begin; until mep_reduction_finish the calling thread must not communicate. The mep_gradients_fn: tensors
 * first .. end - 1 are final. */
void mep_reduction_final(void *reduction, int64_t first, int64_t end);

/* Whatever is not final yet is taken as it is (a process that failed goes on with the others); wait for all sums. */
mep_status mep_reduction_finish(mep_reduction *reduction);

#endif
