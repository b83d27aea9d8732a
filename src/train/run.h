/* SPDX-License-Identifier: MIT */
/*
 * The files of a run folder: train.json, metrics.jsonl and checkpoints. No training here.
 */
#ifndef MEP_TRAIN_RUN_H
#define MEP_TRAIN_RUN_H

#include "mep/data.h"
#include "mep/train.h"
#include "train/adamw.h"
#include "train/mixture.h"

/* Of the training and of the validation data, as mep_mixture_checksums writes them. */
typedef struct mep_run_checksums {
    char data[MEP_MIXTURE_CHECKSUMS], valid[MEP_MIXTURE_CHECKSUMS];
} mep_run_checksums;

/* train.json: the settings and the checksums. */
mep_status mep_run_write_settings(const char *run, const mep_train_settings *settings,
                                  const mep_run_checksums *checksums);
mep_status mep_run_read_settings(const char *run, mep_train_settings *settings, mep_run_checksums *checksums);

/* Copy the tokenizer of the data, which lies beside it unless it is built in, to RUN/tokenizer.json: from then on the
 * run needs no data to turn tokens into text, and neither do its checkpoints, which get a copy each. */
mep_status mep_run_write_tokenizer(const char *run, const mep_dataset *data);

/* Save model and optimizer as checkpoint-STEP, whole or not at all, and retire older ones beyond `keep`. */
mep_status mep_run_save(const char *run, const mep_model *model, const mep_adamw *optimizer, int64_t keep);

/* Load the newest checkpoint into model and optimizer, which have the run's shapes; optimizer->step stays 0 where there
 * is none. */
mep_status mep_run_load(const char *run, mep_model *model, mep_adamw *optimizer);

/* Append a line to metrics.jsonl. */
mep_status mep_run_log(const char *run, const mep_train_progress *progress);

/* Cut metrics.jsonl back to the lines of the first `steps` steps, after a resume from an older checkpoint. */
mep_status mep_run_trim_log(const char *run, int64_t steps);

#endif
