/* SPDX-License-Identifier: MIT */
/*
 * Training by one process or several. The public mep_train_start and mep_train_resume are these by one process.
 */
#ifndef MEP_TRAIN_TRAINER_H
#define MEP_TRAIN_TRAINER_H

#include "dist/dist_group.h"
#include "mep/train.h"

/* Called in each process once everything is checked and loaded, before the first step; `done` steps were done before. A
 * failure of any process ends the training. */
typedef mep_status (*mep_train_begun_fn)(void *context, const mep_train_settings *settings, int64_t done);

/* To be called by all processes of the group with the same arguments; all end alike. Each computes its share of every
 * step's sequences, which the number of processes must divide, and holds the optimizer's moments of its share of the
 * parameters (shards.h). Process 0 alone reads and writes the run's folder; the data lies where every process can read
 * it. The bits depend on the run's gradient_parts and not on the number of processes. A run may be resumed by any
 * number that divides the batch; one that cannot sum so many parts (parts.h) sums as many as processes instead.
 * begun and progress, which may be NULL, are called in all processes, and one that stops stops all. */
mep_status mep_train_start_in(mep_dist *group, const char *run, const mep_train_settings *settings,
                              mep_train_begun_fn begun, mep_train_fn progress, void *context);
mep_status mep_train_resume_in(mep_dist *group, const char *run, mep_train_begun_fn begun, mep_train_fn progress,
                               void *context);

#endif
