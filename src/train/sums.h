/* SPDX-License-Identifier: MIT */
/*
 * The two sums of a step over all processes, in float64: of the losses, and of the squares of the gradients. Each
 * process has a number for each of its sequences and each of its chunks (shards.h); all of them are gathered and added
 * in the order of the sequences and of the chunks, whoever has them, so the number of processes changes no bit.
 */
#ifndef MEP_TRAIN_SUMS_H
#define MEP_TRAIN_SUMS_H

#include "train/shards.h"

typedef struct mep_sums mep_sums;

/* For `sequences` sequences of each process; shards must outlive it. */
mep_status mep_sums_create(mep_sums **sums, const mep_shards *shards, int64_t sequences);
void mep_sums_destroy(mep_sums **sums);

/* From the losses [sequences, length] of this process's tokens and the squares of its chunks (mep_adamw_squares) to the
 * sums of all. `losses` NULL: this process has no numbers, and counts as NaN. */
mep_status mep_sums_run(mep_sums *sums, int64_t length, const float *losses, const double *squares, double *loss,
                        double *square);

#endif
