/* SPDX-License-Identifier: MIT */
/*
 * Evaluation by one process or by several, which divide the segments, or the positions of each segment. The public
 * mep_evaluate is the case of one process; the public mep_evaluate_mix calls mep_evaluate_in for each corpus.
 */
#ifndef MEP_EVAL_EVALUATE_H
#define MEP_EVAL_EVALUATE_H

#include "dist/dist_group.h"
#include "eval/data_mix.h"
#include "mep/eval.h"

/* Evaluate the model on a dataset. The result is the same in all processes, and bit-identical to that of one process
 * (in sequence parallel mode for lengths of 64 or more and tolerance 0). Each process computes whole segments; in
 * sequence parallel mode it computes a range of the positions of every segment, one segment at a time
 * (model/sequence_parallel.h).
 */
mep_status mep_evaluate_in(const mep_eval_call *call, const mep_dataset *data, mep_eval_result *result);

/* Check, before any work, that the device is available and supports the dtype and the number of processes. The answer
 * is the same in all processes. Training makes the same check. */
mep_status mep_eval_check_device(const mep_dist *group, mep_device device, mep_dtype dtype);

#endif
