/* SPDX-License-Identifier: MIT */
/*
 * The tensors of a model's folder: model.safetensors, or shards and model.safetensors.index.json, which names the shard
 * of each tensor. Reading and writing. No memory for tensors is allocated here; their offsets are checked when the
 * files are opened.
 */
#ifndef MEP_IO_WEIGHTS_H
#define MEP_IO_WEIGHTS_H

#include "io/safetensors.h"

typedef struct mep_weights {
    char *path;              /* of the file or the index, for messages */
    mep_safetensors **files; /* [count] */
    int64_t count;
} mep_weights;

/* *found = 1 where a folder has either file. */
mep_status mep_weights_exist(const char *folder, int *found);

/* Open all files of a folder. MEP_ERROR_FORMAT where the index names a file outside the folder, or does not agree with
 * the files. The caller closes *weights. */
mep_status mep_weights_open(mep_weights *weights, const char *folder);
void mep_weights_close(mep_weights *weights);

/* The number of tensors in all files. */
int64_t mep_weights_tensors(const mep_weights *weights);

/* Find a tensor by name, and the file that has it; NULL where no file has it. */
const mep_safetensors_entry *mep_weights_find(const mep_weights *weights, const char *name,
                                              const mep_safetensors **file);

/* Tensor number `index`, counted over all files in order. */
const mep_safetensors_entry *mep_weights_get(const mep_weights *weights, int64_t index);

/* Write tensors into a folder; `data` is called for the data of each tensor in turn. They become model.safetensors or,
 * where they have more than shard_size bytes, model-00001-of-0000N.safetensors and so on with an index; each shard
 * takes as many tensors in their order as fit, at least one. A single file replaces a single file in one step. Shards
 * never replace anything: a folder that has weights already, or whose shards a single file would replace, is refused
 * (MEP_ERROR_ARGUMENT). The index is written last; after a failure the shards that were written are removed. */
mep_status mep_weights_write(const char *folder, const mep_tensor *tensors, int64_t count, int64_t shard_size,
                             mep_tensor_data_fn data, void *context);

/* Remove the weights that mep_weights_write wrote into a folder. Keeps the error message of this thread. */
void mep_weights_remove(const char *folder);

#endif
