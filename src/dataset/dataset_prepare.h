/* SPDX-License-Identifier: MIT */
/*
 * The inside of mep_prepare: the same with other limits, for tests of what else happens from gigabytes on.
 */
#ifndef MEP_DATASET_DATASET_PREPARE_H
#define MEP_DATASET_DATASET_PREPARE_H

#include "mep/data.h"

typedef struct mep_prepare_limits {
    int64_t slice;    /* bytes of text that are tokenized at a time: MEP_SLICE */
    int64_t sequence; /* tokens of one sequence of the format: INT32_MAX */
} mep_prepare_limits;

/* mep_prepare, which see. */
mep_status mep_prepare_limited(const mep_prepare_settings *settings, const mep_prepare_limits *limits,
                               mep_prepare_fn progress, void *context, mep_prepare_progress *result);

#endif
