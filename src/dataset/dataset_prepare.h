/* SPDX-License-Identifier: MIT */
/*
 * mep_prepare with other limits, so that tests reach cases that otherwise need gigabytes of text.
 */
#ifndef MEP_DATASET_DATASET_PREPARE_H
#define MEP_DATASET_DATASET_PREPARE_H

#include "mep/data.h"

typedef struct mep_prepare_limits {
    int64_t slice;    /* bytes of text that are tokenized at once; mep_prepare uses MEP_SLICE */
    int64_t sequence; /* tokens of one sequence of the format; mep_prepare uses INT32_MAX */
} mep_prepare_limits;

/* Same contract as mep_prepare. */
mep_status mep_prepare_limited(const mep_prepare_settings *settings, const mep_prepare_limits *limits,
                               mep_prepare_fn progress, void *context, mep_prepare_progress *result);

#endif
