/* SPDX-License-Identifier: MIT */
/*
 * The two sums of a step over all processes, in float64: the losses, and the squares of the gradients. Each process has
 * one number per sequence and one per chunk (nn/network.h). All numbers are gathered and added in the order of the
 * sequences and chunks, so the number of processes changes no bit.
 */
#ifndef MEP_TRAIN_SUMS_H
#define MEP_TRAIN_SUMS_H

#include "train/shards.h"

typedef struct mep_sums mep_sums;

/* Create the sums of `sequences` sequences per process. shards must outlive it. */
mep_status mep_sums_create(mep_sums **sums, const mep_shards *shards, int64_t sequences);
void mep_sums_destroy(mep_sums **sums);

/* Compute the sums over all processes from this process's losses [sequences, length] and the squares of its chunks
 * (mep_adamw_squares). If `losses` is NULL, this process has no numbers and contributes NaN. */
mep_status mep_sums_run(mep_sums *sums, int64_t length, const float *losses, const double *squares, double *loss,
                        double *square);

#endif
