/* SPDX-License-Identifier: MIT */
/*
 * The files of a run folder: train.json, metrics.jsonl and checkpoints. trainer.c does the training.
 */
#ifndef MEP_TRAIN_RUN_H
#define MEP_TRAIN_RUN_H

#include <jansson.h>

#include "eval/data_mix.h"
#include "io/files.h"
#include "mep/data.h"
#include "mep/eval.h"
#include "mep/train.h"
#include "train/moments.h"

/* Checksums of the training and validation data, as mep_data_mix_checksums writes them. */
typedef struct mep_run_checksums {
    char data[MEP_DATA_MIX_CHECKSUMS], valid[MEP_DATA_MIX_CHECKSUMS];
} mep_run_checksums;

/* Save `root` as folder/name and release it. If it is NULL, fail with MEP_ERROR_ARGUMENT. */
mep_status mep_run_save_json(const char *folder, const char *name, json_t *root);

/* Write and read train.json: the settings and the checksums. */
mep_status mep_run_write_settings(const char *run, const mep_train_settings *settings,
                                  const mep_run_checksums *checksums);
mep_status mep_run_read_settings(const char *run, mep_train_settings *settings, mep_run_checksums *checksums);

/* A new object with the settings that the bits of a run depend on, except its data, seed and position encoding. NULL if
 * memory is short. */
json_t *mep_run_training_json(const mep_train_settings *settings);

/* Fail with MEP_ERROR_ARGUMENT if `wanted` and `found`, the content of `file`, differ; the message names the first key.
 */
mep_status mep_run_compare_json(const char *file, const json_t *found, json_t *wanted);

/* Compare train.json of a run with the wanted settings: all that the bits depend on, except the data.
 * MEP_ERROR_ARGUMENT names the first setting that differs. */
mep_status mep_run_check_settings(const char *run, const mep_train_settings *wanted);

/* Copy the tokenizer of the data to RUN/tokenizer.json, unless it is built in. The run can then convert tokens to text
 * without the data, and so can its checkpoints, each of which gets a copy. */
mep_status mep_run_write_tokenizer(const char *run, const mep_dataset *data);

/* The progress of a run. The optimizer has made step - skipped updates. In a run of several processes, only process 0
 * calls the functions below. */
typedef struct mep_run_state {
    int64_t step;
    int64_t skipped, skipped_in_a_row; /* steps without an update: all of them, and the latest consecutive ones */
} mep_run_state;

/* Save model, moments and state as checkpoint-STEP, atomically, and remove older checkpoints beyond settings->keep.
 * metrics.jsonl is synced first. */
mep_status mep_run_save(const char *run, const mep_train_settings *settings, const mep_model *model,
                        mep_moments *moments, const mep_run_state *state);

/* Load the newest checkpoint into model, moments and state, which have the run's shapes. Without a checkpoint the state
 * is 0. All checksums are compared. MEP_ERROR_ARGUMENT if the checkpoint was saved with settings that give other bits.
 */
mep_status mep_run_load(const char *run, const mep_train_settings *settings, mep_model *model,
                        const mep_moments *moments, mep_run_state *state);

/* Compare the settings of the newest checkpoint with those of the run, as mep_run_load does. */
mep_status mep_run_check(const char *run, const mep_train_settings *settings);

/* Open metrics.jsonl. This is done before a step is applied, so that a log that cannot be written is noticed first. */
mep_status mep_run_open_log(const char *run, mep_lines *log);

/* Append the line of a step to metrics.jsonl. */
mep_status mep_run_log(mep_lines *log, const mep_train_progress *progress, const mep_data_mix *valid,
                       const mep_eval_result *valid_results);

/* Truncate metrics.jsonl to the lines of the first `steps` steps, after a resume from an older checkpoint. */
mep_status mep_run_trim_log(const char *run, int64_t steps);

#endif
