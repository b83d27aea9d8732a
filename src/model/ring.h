/* SPDX-License-Identifier: MIT */
/*
 * A long sequence divided over processes, for evaluation. Each has a stretch of the positions, runs all layers on it,
 * and in each layer gets the keys and values of earlier stretches: they go from a process to the next one, each hop
 * with the rest that is still within reach of some head's later queries, and what lies beyond is never sent. Attention
 * then sees the keys that matter to the stretch in one piece, in the same blocks as in a single process; so the losses
 * are the same to the bit.
 *
 * A process holds the activations of its stretch, and one layer's keys and values as far back as its heads reach.
 */
#ifndef MEP_MODEL_RING_H
#define MEP_MODEL_RING_H

#include "dist/dist_group.h"
#include "model/session.h"

/* First position of the stretch of process `rank`, a multiple of 64 but at the end; the last stretch takes what is left
 * over. Of a sequence of less than 64 positions a process the last processes have none. */
int64_t mep_ring_first(const mep_dist *group, int64_t length, int64_t rank);

/* A session for this process's stretch of one sequence of settings->length tokens (batch 1, no training); the weights
 * are those of this moment. To be called by all processes of the group, which must outlive the session; where one
 * fails, all do. */
mep_status mep_session_create_ring(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                   mep_dist *group);

/* As mep_session_losses, of one sequence: inputs, targets and losses are those of the stretch, which may be empty. To
 * be called by all processes. One that fails takes part to the end, so that the others can agree with it. */
mep_status mep_session_ring_losses(mep_session *session, const int32_t *inputs, const int32_t *targets, float *losses);

/* For the session: position of the first token, and attention of a layer, out = attention of q. */
int64_t mep_ring_position(const mep_ring *ring);
mep_status mep_ring_attend(mep_session *session, int64_t layer, mep_tensor_view q, mep_tensor_view k, mep_tensor_view v,
                           mep_tensor_view out);
void mep_ring_destroy(mep_ring **ring);

#endif
