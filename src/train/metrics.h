/* SPDX-License-Identifier: MIT */
/*
 * The reader of a run's metrics.jsonl, whatever happened to the run: one that is going on, one that was stopped, killed
 * or resumed, numbers that were not finite. run.c writes it.
 */
#ifndef MEP_TRAIN_METRICS_H
#define MEP_TRAIN_METRICS_H

#include <stdint.h>

#include <jansson.h>

#include "mep/status.h"

/* A line. Numbers that it has not, or has as null since they were not finite, are NaN. */
typedef struct mep_metrics_step {
    int64_t step; /* from 1 */
    double loss, learning_rate, grad_norm, tokens_per_second, valid_loss;
    int skipped; /* its update was left out */
} mep_metrics_step;

typedef struct mep_metrics {
    int64_t count;
    mep_metrics_step *steps; /* each later than the one before it */
    int64_t corpus_count;    /* of a mixture for validation; 0 otherwise */
    char **corpora;          /* their names */
    double *valid_losses;    /* count x corpus_count; NaN where the step had no validation; NULL without corpora */
    int64_t damaged_line;    /* the last line, where a crash or a full disk has torn it: it is left out; else 0 */
} mep_metrics;

/* Read the `size` bytes of a file whose name is `path` (for messages). A step that comes again replaces the earlier
 * line and all that followed it, as a resumed run goes on. MEP_ERROR_FORMAT, with the line, where one before the last
 * is no line of metrics, and where there is no step at all. The caller frees *metrics, which is empty on failure. */
mep_status mep_metrics_parse(mep_metrics *metrics, const char *path, const char *text, int64_t size);
mep_status mep_metrics_read(mep_metrics *metrics, const char *path);

/* The last line of a file that is a step, as JSON; it is the caller's. A damaged last line is left out; *last is NULL
 * where there is no other. MEP_ERROR_FORMAT where the one before it is damaged too. */
mep_status mep_metrics_last(const char *path, json_t **last);

void mep_metrics_free(mep_metrics *metrics);

#endif
