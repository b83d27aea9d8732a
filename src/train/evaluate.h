/* SPDX-License-Identifier: MIT */
/*
 * Evaluation by one process or several, which divide the segments, or the positions of each. The public mep_evaluate is
 * this by one process.
 */
#ifndef MEP_TRAIN_EVALUATE_H
#define MEP_TRAIN_EVALUATE_H

#include "dist/dist.h"
#include "mep/train.h"

/* As mep_evaluate, with the same result to the bit (of lengths of 64 or more, and with tolerance 0) in all processes of
 * the group, which make the same call. Each process computes whole segments; with `split`, and where there are fewer
 * segments than processes, each computes a stretch of every segment instead, a segment at a time (model/ring.h).
 * progress is called in all processes; one that stops or fails stops all. */
mep_status mep_evaluate_in(mep_dist *group, int split, mep_model *model, const mep_dataset *data,
                           const mep_eval_settings *settings, mep_eval_fn progress, void *context,
                           mep_eval_result *result);

#endif
