/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders of a training run: RUN/checkpoint-STEP, made whole under another name and then renamed, so that a
 * crash at any moment leaves the previous ones as they were. A checkpoint is complete when it holds state.json. What is
 * in the files is the caller's business. One process at a time may write the checkpoints of a run.
 */
#ifndef MEP_IO_CHECKPOINT_H
#define MEP_IO_CHECKPOINT_H

#include <stdint.h>

#include "mep/status.h"

/* Make RUN/checkpoint-STEP.tmp, empty, and RUN where it does not exist; what interrupted runs left (*.tmp) is removed.
 * The caller writes files into *folder, which is to be freed with mep_free. step >= 0. */
mep_status mep_checkpoint_begin(const char *run, int64_t step, char **folder);

/* Sync the files that the caller has written, state.json among them (MEP_ERROR_ARGUMENT otherwise), and rename the
 * folder to RUN/checkpoint-STEP, in the place of one of this step that exists. Then remove the oldest of the complete
 * checkpoints of earlier steps until `keep` are left, this one included; keep 0 keeps all. */
mep_status mep_checkpoint_commit(const char *run, int64_t step, int64_t keep);

/* The complete checkpoint with the highest step. *path is to be freed with mep_free; where there is none, *path is
 * NULL, *step -1 and the status MEP_OK. Removes nothing. */
mep_status mep_checkpoint_latest(const char *run, char **path, int64_t *step);

#endif
