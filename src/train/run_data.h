/* SPDX-License-Identifier: MIT */
/*
 * The data that the settings of a run name: training data, and validation data or a split of the training data.
 */
#ifndef MEP_TRAIN_RUN_DATA_H
#define MEP_TRAIN_RUN_DATA_H

#include "eval/data_mix.h"
#include "mep/train.h"

/* Return 1 if the settings name validation data, either directly or as a part of the split. */
int mep_train_has_valid(const mep_train_settings *settings);

/* Open the data of a run. The validation data is empty (count 0) if there is none. */
mep_status mep_train_open_data(mep_data_mix *mix, const mep_train_settings *settings);
mep_status mep_train_open_valid(mep_data_mix *mix, const mep_train_settings *settings);

/* Verify the checksums of the data, and that the vocabulary of the model has all of its tokens. */
mep_status mep_train_verify_data(const mep_data_mix *mix, const mep_train_settings *settings);

#endif
