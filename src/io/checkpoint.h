/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders of a training run: RUN/checkpoint-STEP, made whole under another name and then renamed, so that a
 * crash at any moment leaves the previous ones as they were. A checkpoint is complete when it holds state.json, which
 * is written last: what the caller wants to find again, and checksums of itself and of the small files (a safetensors
 * file has those of its tensors in its header). One process at a time may write the checkpoints of a run.
 */
#ifndef MEP_IO_CHECKPOINT_H
#define MEP_IO_CHECKPOINT_H

#include <jansson.h>
#include <stdint.h>

#include "mep/status.h"

/* Make RUN/checkpoint-STEP.tmp, empty; what interrupted runs left (*.tmp) is removed. RUN exists: it is never made
 * here, since one that was moved away would come back under its old name. The caller writes files into *folder, which
 * is to be freed with mep_free. step >= 0. */
mep_status mep_checkpoint_begin(const char *run, int64_t step, char **folder);

/* Write state.json, the object `state` with "files" and "checksum" added, sync the files, and rename the folder to
 * RUN/checkpoint-STEP, in the place of one of this step that exists. Then remove the oldest of the complete checkpoints
 * of earlier steps until `keep` are left, this one included; keep 0 keeps all. */
mep_status mep_checkpoint_commit(const char *run, int64_t step, const json_t *state, int64_t keep);

/* Remove what was begun and could not be finished, so that it takes no room on a full disk. */
mep_status mep_checkpoint_abandon(const char *run, int64_t step);

/* The complete checkpoint with the highest step. *path is to be freed with mep_free; where there is none, *path is
 * NULL, *step -1 and the status MEP_OK. Removes nothing. */
mep_status mep_checkpoint_latest(const char *run, char **path, int64_t *step);

/* The steps of all complete checkpoints, ascending. *steps is to be freed with mep_free. */
mep_status mep_checkpoint_list(const char *run, int64_t **steps, int64_t *count);

/* "RUN/checkpoint-STEP", to be freed with mep_free. */
mep_status mep_checkpoint_path(char **path, const char *run, int64_t step);

/* Read folder/state.json and compare it and the files that it lists with their checksums; MEP_ERROR_FORMAT names the
 * file that is damaged. Where there is none *state is NULL and the status MEP_OK; one of version 0.1, without
 * checksums, is taken as it is. *state is to be released with json_decref. */
mep_status mep_checkpoint_state(const char *folder, json_t **state);

/* Rename RUN/checkpoint-STEP to checkpoint-STEP.damaged (or .damaged-2, ... where that exists): it is no checkpoint any
 * more, and nothing of it is lost. */
mep_status mep_checkpoint_set_aside(const char *run, int64_t step);

#endif
