/* SPDX-License-Identifier: MIT */
/*
 * mep prepare --synthetic: the training data of a synthetic task.
 */
#ifndef MEP_CLI_PREPARE_SYNTHETIC_H
#define MEP_CLI_PREPARE_SYNTHETIC_H

#include "mep/measure.h"

typedef struct mep_prepare_synthetic {
    const char *task; /* NULL: not asked for */
    const char *prefix;
    mep_synthetic_settings settings;
    int quiet;
} mep_prepare_synthetic;

/* Write the dataset and say what it is. */
mep_status mep_cli_prepare_synthetic(mep_prepare_synthetic *job);

#endif
