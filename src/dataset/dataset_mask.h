/* SPDX-License-Identifier: MIT */
/*
 * PREFIX.mask: which tokens of a dataset are trained. One byte per token of PREFIX.bin, 1 for a token that is a target
 * and 0 for one that is only read. PREFIX.json says whether there is one.
 */
#ifndef MEP_DATASET_DATASET_MASK_H
#define MEP_DATASET_DATASET_MASK_H

#include "base/checksum.h"
#include "mep/data.h"

typedef struct mep_dataset_mask {
    char *path; /* NULL: every token is trained */
    int fd;
} mep_dataset_mask;

/* Open the mask of the dataset that `json_path` (PREFIX.json) describes. It must have `tokens` bytes. */
mep_status mep_dataset_mask_open(mep_dataset_mask *mask, const char *json_path, int64_t tokens);
void mep_dataset_mask_close(mep_dataset_mask *mask);

/* Replace the targets that are not trained by MEP_TARGET_NONE; `first` is the token of targets[0] in PREFIX.bin. */
mep_status mep_dataset_mask_apply(const mep_dataset_mask *mask, int64_t first, int64_t count, int32_t *targets);

/* Add the file to a checksum. A file that cannot be read adds nothing. */
void mep_dataset_mask_checksum(const mep_dataset_mask *mask, int64_t tokens, mep_checksum *checksum);

#endif
