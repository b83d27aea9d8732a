/* SPDX-License-Identifier: MIT */
/*
 * The steps of a training as TensorBoard events in the folder of its run, for --tensorboard.
 */
#ifndef MEP_CLI_EVENT_LOG_H
#define MEP_CLI_EVENT_LOG_H

#include "io/event_file.h"
#include "mep/train.h"

/* Begin with {0}. */
typedef struct mep_event_log {
    mep_event_file *file; /* of the current run; NULL: none yet */
    int has_failed;       /* it was reported, and nothing more is written */
} mep_event_log;

/* Write a step: train/loss, train/learning_rate, train/grad_norm, train/tokens_per_second and, where the step has a
 * validation, valid/loss and valid/perplexity. The first step of a run opens a file. If the run has earlier steps but
 * no events, they are taken from its metrics.jsonl. A failure is reported once on stderr, as "mep COMMAND: ..", and the
 * training continues without events. */
void mep_event_log_step(mep_event_log *log, const char *command, const mep_train_progress *step);

/* End the events of a run, before those of another one. */
void mep_event_log_end(mep_event_log *log);

#endif
