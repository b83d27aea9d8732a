/* SPDX-License-Identifier: MIT */
/*
 * The optimizer's moments on their way to a checkpoint and back. Process 0 alone writes and reads files, with each
 * moment in one piece; where there are others, they hold parts of it, and do what process 0 asks for.
 */
#ifndef MEP_TRAIN_MOMENTS_H
#define MEP_TRAIN_MOMENTS_H

#include "train/shards.h"

/* Moment 0 is m, 1 is v. */
typedef struct mep_moments {
    mep_adamw *optimizer;
    const mep_shards *shards;
    float *space; /* a block like the model's values, which is overwritten where the process is not alone, or the
                     moments lie in a device's memory */
} mep_moments;

/* For process 0. A mep_tensor_data_fn: *data, the whole moment, is good until the next call. */
mep_status mep_moments_get(void *moments, int64_t index, const void **data);

/* For process 0: where to put the whole moment; then hand out what was put there. */
float *mep_moments_place(const mep_moments *moments, int64_t index);
mep_status mep_moments_set(const mep_moments *moments, int64_t index);

/* All processes, the first one after its last get or set, also where it failed: the others help until then. */
mep_status mep_moments_finish(const mep_moments *moments);

#endif
