/* SPDX-License-Identifier: MIT */
/*
 * The optimizer's moments on the way to a checkpoint and back. Only process 0 writes and reads files, with each moment
 * as one block. The other processes hold shards of it and answer the requests of process 0.
 */
#ifndef MEP_TRAIN_MOMENTS_H
#define MEP_TRAIN_MOMENTS_H

#include "train/shards.h"

/* Moment 0 is m, moment 1 is v. */
typedef struct mep_moments {
    mep_adamw *optimizer;
    const mep_shards *shards;
    float *space; /* a block laid out like the model's values; overwritten if there are several processes or the moments
                     are in device memory */
} mep_moments;

/* For process 0, a mep_tensor_data_fn: *data is the complete moment and valid until the next call. */
mep_status mep_moments_get(void *moments, int64_t index, const void **data);

/* For process 0: return the buffer to read a complete moment into; then distribute what was read. */
float *mep_moments_buffer(const mep_moments *moments, int64_t index);
mep_status mep_moments_set(const mep_moments *moments, int64_t index);

/* For all processes. Process 0 calls it after its last get or set, even if that failed; the others answer its requests
 * until then. */
mep_status mep_moments_finish(const mep_moments *moments);

#endif
