/* SPDX-License-Identifier: MIT */
/*
 * Training by one process or by several. The public mep_train_start and mep_train_resume are the cases of one process.
 */
#ifndef MEP_TRAIN_TRAINER_H
#define MEP_TRAIN_TRAINER_H

#include "dist/dist.h"
#include "mep/train.h"

/* Called in each process after everything is checked and loaded, and before the first step. `done` is the number of
 * earlier steps. A failure in any process ends the training. */
typedef mep_status (*mep_train_begun_fn)(void *context, const mep_train_settings *settings, int64_t done);

/* Start or resume a run. All processes of the group make the same call, and all return the same status. Each process
 * computes an equal number of each step's sequences, so the number of processes must divide the batch, and holds the
 * optimizer's moments of its shards (shards.h). Only process 0 reads and writes the run's folder; every process reads
 * the data. The bits depend on the run's gradient_parts and not on the number of processes. A run may be resumed by any
 * number of processes that divides the batch; if they cannot sum so many parts (gradient_tree.h), they use as many
 * parts as processes. begun and progress, which may be NULL, are called in all processes; one that stops stops all. */
mep_status mep_train_start_in(mep_dist *group, const char *run, const mep_train_settings *settings,
                              mep_train_begun_fn begun, mep_train_fn progress, void *context);
mep_status mep_train_resume_in(mep_dist *group, const char *run, mep_train_begun_fn begun, mep_train_fn progress,
                               void *context);

#endif
