/* SPDX-License-Identifier: MIT */
/*
 * The files of a run folder: train.json, metrics.jsonl and checkpoints. No training here.
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

/* Of the training and of the validation data, as mep_data_mix_checksums writes them. */
typedef struct mep_run_checksums {
    char data[MEP_DATA_MIX_CHECKSUMS], valid[MEP_DATA_MIX_CHECKSUMS];
} mep_run_checksums;

/* Save `root` as folder/name and release it; NULL is out of memory. */
mep_status mep_run_save_json(const char *folder, const char *name, json_t *root);

/* train.json: the settings and the checksums. */
mep_status mep_run_write_settings(const char *run, const mep_train_settings *settings,
                                  const mep_run_checksums *checksums);
mep_status mep_run_read_settings(const char *run, mep_train_settings *settings, mep_run_checksums *checksums);

/* The settings that the bits of a run depend on, but for its data, seed and position encoding. A new object; NULL when
 * memory is short. */
json_t *mep_run_training_json(const mep_train_settings *settings);

/* Fail with MEP_ERROR_ARGUMENT on the first key that `wanted` and `found`, which is in `file`, do not both have with
 * the same value. */
mep_status mep_run_compare_json(const char *file, const json_t *found, json_t *wanted);

/* Compare the train.json of a run with the settings that are wanted of it: all that its bits depend on but the data.
 * MEP_ERROR_ARGUMENT names the first setting that differs. */
mep_status mep_run_check_settings(const char *run, const mep_train_settings *wanted);

/* Copy the tokenizer of the data, which lies beside it unless it is built in, to RUN/tokenizer.json: from then on the
 * run needs no data to turn tokens into text, and neither do its checkpoints, which get a copy each. */
mep_status mep_run_write_tokenizer(const char *run, const mep_dataset *data);

/* How far a run is. The optimizer has done step - skipped updates. In a run of several processes the first one alone
 * calls what follows. */
typedef struct mep_run_state {
    int64_t step;
    int64_t skipped, skipped_in_a_row; /* steps whose update was left out; those up to the last one without a break */
} mep_run_state;

/* Save model, moments and state as checkpoint-STEP, whole or not at all, and retire older ones beyond
 * settings->keep. metrics.jsonl is synced first. */
mep_status mep_run_save(const char *run, const mep_train_settings *settings, const mep_model *model,
                        mep_moments *moments, const mep_run_state *state);

/* Load the newest checkpoint into model, moments and state, which have the run's shapes; the state stays 0 where
 * there is none. Everything is compared with its checksum; MEP_ERROR_ARGUMENT where the checkpoint was saved with
 * settings that give other bits than these. */
mep_status mep_run_load(const char *run, const mep_train_settings *settings, mep_model *model,
                        const mep_moments *moments, mep_run_state *state);

/* Compare the settings of the newest checkpoint with those of the run, as mep_run_load does. */
mep_status mep_run_check(const char *run, const mep_train_settings *settings);

/* Open metrics.jsonl: before a step is applied, so that what can keep its line from being written shows then. */
mep_status mep_run_open_log(const char *run, mep_lines *log);

/* Append a step's line to metrics.jsonl. */
mep_status mep_run_log(mep_lines *log, const mep_train_progress *progress, const mep_data_mix *valid,
                       const mep_eval_result *valid_results);

/* Cut metrics.jsonl back to the lines of the first `steps` steps, after a resume from an older checkpoint. */
mep_status mep_run_trim_log(const char *run, int64_t steps);

#endif
