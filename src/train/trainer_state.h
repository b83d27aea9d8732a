/* SPDX-License-Identifier: MIT */
/*
 * The state of a training, for the files that implement it: trainer.c (starting and resuming), trainer_open.c (data and
 * memory), trainer_folder.c (the run's folder), trainer_step.c (one step), trainer_bad_step.c (a step that is not
 * finite), and trainer_loop.c (steps, validation and checkpoints).
 */
#ifndef MEP_TRAIN_TRAINER_STATE_H
#define MEP_TRAIN_TRAINER_STATE_H

#include "dist/dist_group.h"
#include "mep/eval.h"
#include "model/session.h"
#include "train/data_order.h"
#include "train/gradient_tree.h"
#include "train/run.h"
#include "train/run_folder.h"
#include "train/sums.h"

enum { MEP_TRAINER_MESSAGE = 1024 };

typedef struct mep_trainer {
    mep_dist *group;
    const char *run;       /* path of the run's folder; in process 0 that of `folder` once it is open */
    mep_run_folder folder; /* in process 0 */
    mep_train_settings settings;
    mep_data_mix *data, *valid; /* valid->count is 0 without validation data */
    mep_data_order order;
    mep_eval_result valid_results[MEP_DATA_MIX_MOST]; /* per corpus, at the last validation */

    mep_model *model;
    mep_session *session;
    mep_shards *shards;
    mep_adamw *optimizer;
    mep_reduction *reduction;
    mep_gradient_tree *tree;
    mep_sums *sums;
    float *gradients; /* in the memory of the session's device */
    float *space;     /* a block laid out like the model's values in host memory; on the CPU it is `gradients` */

    /* Tokens and losses of the whole step, [batch_size, length]. A process computes its own sequences only. */
    float *losses;
    int32_t *inputs, *targets;
    int64_t trained_targets; /* of the whole step; below batch_size * length if the data has a mask */
    int64_t own_sequences, part_sequences, micro_sequences; /* per step of this process, per part, per micro-batch */

    mep_run_state state;
    int64_t saved; /* step of the newest checkpoint */
    mep_lines log; /* in process 0, during a step */
} mep_trainer;

/* ---- trainer_open.c ---- */

/* Open the data and allocate all memory of the run. The caller calls mep_trainer_close also on failure. */
mep_status mep_trainer_open(mep_trainer *t);
void mep_trainer_close(mep_trainer *t);

/* Load the weights that settings.init names; without it, keep the random ones. */
mep_status mep_trainer_initialize(mep_trainer *t);

/* Copy the parameters of process 0 to all processes and their devices. Other processes have read no files, and may run
 * on CPUs of another kind. */
mep_status mep_trainer_broadcast(mep_trainer *t);

mep_run_checksums mep_trainer_checksums(const mep_trainer *t);

/* ---- trainer_folder.c, for process 0 ---- */

/* Fail if the folder contains a run or a study. If the run has other settings, the message names the first one. */
mep_status mep_trainer_check_folder(const mep_trainer *t);

/* Create the folder of a new run with its settings, and lock it. */
mep_status mep_trainer_make_folder(mep_trainer *t);

/* Lock the folder against other processes. */
mep_status mep_trainer_lock_folder(mep_trainer *t);

/* Call `write`, which writes to t->run. If the folder is moved meanwhile, call it again in the new location. */
mep_status mep_trainer_write(mep_trainer *t, mep_status (*write)(mep_trainer *t));

/* ---- trainer_step.c and trainer_bad_step.c ---- */

/* Compute one step and update the parameters. Process 0 leaves t->log open for the step's line. */
mep_status mep_trainer_step(mep_trainer *t, mep_train_progress *progress);

/* Handle a step whose loss or gradient is not finite: skip it (MEP_OK), or fail. */
mep_status mep_trainer_bad_step(mep_trainer *t, mep_train_progress *progress);

/* ---- trainer_loop.c ---- */

/* Run the steps that are left, with validation, log and checkpoints. */
mep_status mep_trainer_loop(mep_trainer *t, mep_train_fn progress, void *context);

/* The moments of the optimizer, for run.h. */
static inline mep_moments mep_trainer_moments(const mep_trainer *t)
{
    return (mep_moments){.optimizer = t->optimizer, .shards = t->shards, .space = t->space};
}

#endif
