/* SPDX-License-Identifier: MIT */
/*
 * The tensors of a model's folder: model.safetensors, or shards and model.safetensors.index.json, which says which
 * shard has which tensor. Reading and writing. No memory for tensors is taken here; their places were checked when the
 * files were opened.
 */
#ifndef MEP_IO_WEIGHTS_H
#define MEP_IO_WEIGHTS_H

#include "io/safetensors.h"

typedef struct mep_weights {
    char *path;              /* of the file or the index, for messages */
    mep_safetensors **files; /* [count] */
    int64_t count;
} mep_weights;

/* 1 where a folder holds either file. */
mep_status mep_weights_exist(const char *folder, int *found);

/* Open all files of a folder. MEP_ERROR_FORMAT where the index names a file outside of it, or does not agree with the
 * files. The caller closes *weights. */
mep_status mep_weights_open(mep_weights *weights, const char *folder);
void mep_weights_close(mep_weights *weights);

/* Tensors in all files. */
int64_t mep_weights_tensors(const mep_weights *weights);

/* A tensor by name and the file that has it; NULL where none has. */
const mep_safetensors_entry *mep_weights_find(const mep_weights *weights, const char *name,
                                              const mep_safetensors **file);

/* The tensor at `index` of all files, one after the other. */
const mep_safetensors_entry *mep_weights_get(const mep_weights *weights, int64_t index);

/* Write tensors, whose data comes from `data` when its turn comes, into a folder: as model.safetensors, or, where they
 * have more than shard_size bytes, as model-00001-of-0000N.safetensors and so on with the index, each shard as many
 * tensors in their order as fit, at least one. A single file replaces a single file in one step; shards never replace
 * anything: a folder that holds weights, or is to lose shards, is refused (MEP_ERROR_ARGUMENT). The index comes last,
 * and after a failure the shards that were written are removed. */
mep_status mep_weights_write(const char *folder, const mep_tensor *tensors, int64_t count, int64_t shard_size,
                             mep_tensor_data_fn data, void *context);

/* Remove the weights of a folder, which were written by mep_weights_write; the message of the failure that led here
 * stays. */
void mep_weights_remove(const char *folder);

#endif
