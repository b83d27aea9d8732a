/* SPDX-License-Identifier: MIT */
/*
 * Evaluation of one long sequence by several processes: each has a range of the positions (mep_kv_sequence_first), runs
 * all layers on it, and gets the earlier keys and values from the others (kv_sequence.c). The losses are bit-identical
 * to those of a single process.
 *
 * A process holds the activations of its range, and one layer's keys and values as far back as its heads reach.
 */
#ifndef MEP_MODEL_SEQUENCE_PARALLEL_H
#define MEP_MODEL_SEQUENCE_PARALLEL_H

#include "dist/dist_group.h"
#include "model/kv.h"
#include "model/session.h"

/* A session for this process's range of one sequence of settings->length tokens (batch 1, no training), with the
 * weights as they are now. All processes of the group must call it; the group must outlive the session. Where one
 * process fails, all fail. */
mep_status mep_session_create_sequence(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                       mep_dist *group);

/* As mep_session_losses, for one sequence: inputs, targets and losses are those of the range, which may be empty. All
 * processes must call it. A process that fails takes part to the end, so that the others can agree with it. */
mep_status mep_session_sequence_losses(mep_session *session, const int32_t *inputs, const int32_t *targets,
                                       float *losses);

#endif
