/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders of a training run: RUN/checkpoint-STEP. A checkpoint is completed under another name and then
 * renamed, so that a crash at any moment leaves the earlier ones unchanged. It is complete if it contains state.json,
 * which is written last: the caller's state, and checksums of itself and of the small files (a safetensors file has
 * those of its tensors in its header). Only one process at a time may write the checkpoints of a run.
 */
#ifndef MEP_IO_CHECKPOINT_H
#define MEP_IO_CHECKPOINT_H

#include <jansson.h>
#include <stdint.h>

#include "mep/status.h"

/* Create the empty folder RUN/checkpoint-STEP.tmp; the remains of interrupted runs (*.tmp) are removed. RUN must exist:
 * it is not created here, because a run that was moved would reappear under its old name. The caller writes files to
 * *folder and frees it with mep_free. step >= 0. */
mep_status mep_checkpoint_begin(const char *run, int64_t step, char **folder);

/* Write state.json, which is the object `state` with "files" and "checksum" added, sync the files, and rename the
 * folder to RUN/checkpoint-STEP, replacing an existing one. Then remove the oldest complete checkpoints of earlier
 * steps until `keep` are left, including this one; 0 keeps all. */
mep_status mep_checkpoint_commit(const char *run, int64_t step, const json_t *state, int64_t keep);

/* Remove an unfinished checkpoint, so that it takes no space on a full disk. */
mep_status mep_checkpoint_abandon(const char *run, int64_t step);

/* The complete checkpoint with the highest step. Free *path with mep_free. If there is none, *path is NULL, *step is -1
 * and the status is MEP_OK. Removes nothing. */
mep_status mep_checkpoint_latest(const char *run, char **path, int64_t *step);

/* The steps of all complete checkpoints, ascending. Free *steps with mep_free. */
mep_status mep_checkpoint_list(const char *run, int64_t **steps, int64_t *count);

/* "RUN/checkpoint-STEP"; free it with mep_free. */
mep_status mep_checkpoint_path(char **path, const char *run, int64_t step);

/* Read folder/state.json and verify its checksum and those of the files that it lists; MEP_ERROR_FORMAT names the
 * damaged file. A safetensors file that is missing is no damage here. If state.json does not exist, *state is NULL and
 * the status is MEP_OK. A state.json of version 0.1, which has no checksums, is accepted. Release *state with
 * json_decref. */
mep_status mep_checkpoint_state(const char *folder, json_t **state);

/* Write folder/state.json: the members of `state` and the checksums of the files that the folder has now. */
mep_status mep_checkpoint_write_state(const char *folder, const json_t *state);

/* Rename RUN/checkpoint-STEP to checkpoint-STEP.damaged (or .damaged-2, ... if that exists): it is no longer a
 * checkpoint, and no file of it is lost. */
mep_status mep_checkpoint_set_aside(const char *run, int64_t step);

#endif
