/* SPDX-License-Identifier: MIT */
/*
 * The parser of a run's metrics.jsonl (mep_metrics_read of mep/train.h). run.c writes the file.
 */
#ifndef MEP_TRAIN_METRICS_H
#define MEP_TRAIN_METRICS_H

#include <stdint.h>

#include "mep/train.h"

/* mep_metrics_read on the `size` bytes of a file whose name is `path` (for messages). */
mep_status mep_metrics_parse(mep_metrics *metrics, const char *path, const char *text, int64_t size);

#endif
