/* SPDX-License-Identifier: MIT */
/*
 * Evaluation by one process or by several, which divide the segments, or the positions of each segment. The public
 * mep_evaluate is the case of one process.
 */
#ifndef MEP_EVAL_EVALUATE_H
#define MEP_EVAL_EVALUATE_H

#include "dist/dist.h"
#include "eval/data_mix.h"
#include "mep/eval.h"

/* What to evaluate and how. All processes of the group make the same call. */
typedef struct mep_eval_call {
    mep_dist *group;
    int sequence_parallel; /* divide every segment over the processes; also done if there are fewer segments than
                              processes */
    mep_model *model;
    const mep_eval_settings *settings;
    mep_eval_fn progress; /* called in every process; one that stops or fails stops all. NULL: not called */
    void *context;        /* of progress */
} mep_eval_call;

/* Evaluate the model on a dataset. The result is the same in all processes, and bit-identical to that of one process
 * (in sequence parallel mode for lengths of 64 or more and tolerance 0). Each process computes whole segments; in
 * sequence parallel mode it computes a range of the positions of every segment, one segment at a time (model/ring.h).
 */
mep_status mep_evaluate_in(const mep_eval_call *call, const mep_dataset *data, mep_eval_result *result);

/* Evaluate the model on every corpus of a mix. The loss is the weighted mean; tokens and segments are added up;
 * settings->max_tokens applies to each corpus. `each`, of mix->count elements or NULL, receives the results of the
 * corpora. */
mep_status mep_evaluate_mix(const mep_eval_call *call, const mep_data_mix *mix, mep_eval_result *result,
                            mep_eval_result *each);

/* Check, before any work, that the device is available and supports the dtype and the number of processes. The answer
 * is the same in all processes. Training makes the same check. */
mep_status mep_eval_check_device(const mep_dist *group, mep_device device, mep_dtype dtype);

#endif
