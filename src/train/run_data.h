/* SPDX-License-Identifier: MIT */
/*
 * Checks of the data that the settings of a run name. mep_train_open_data and mep_train_open_valid (mep/train.h) open
 * it.
 */
#ifndef MEP_TRAIN_RUN_DATA_H
#define MEP_TRAIN_RUN_DATA_H

#include "eval/data_mix.h"
#include "mep/train.h"

/* Verify the checksums of the data, and that the vocabulary of the model has all of its tokens. */
mep_status mep_train_verify_data(const mep_data_mix *mix, const mep_train_settings *settings);

#endif
