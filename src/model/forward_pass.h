/* SPDX-License-Identifier: MIT */
/*
 * Forward passes of a session: embeddings, blocks, final norm, and the output layer in chunks of rows. The public
 * functions are mep_session_logits and mep_session_losses of mep/model.h.
 */
#ifndef MEP_MODEL_FORWARD_PASS_H
#define MEP_MODEL_FORWARD_PASS_H

#include "model/block.h"
#include "model/session.h"

/* mep_session_losses with parameters as the last refresh found them. */
mep_status mep_session_score(mep_session *session, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float *losses);

/* Logits [vocab] of the token that follows `length` more tokens of a cached session. */
mep_status mep_session_next(mep_session *session, int64_t length, const int32_t *tokens, float *logits);

/* ---- For the training pass ---- */

/* The norms of the model that are not of a layer. */
mep_norm_state mep_norm_final(const mep_session *session);
mep_norm_state mep_norm_embed(const mep_session *session);

/* tokens (host) -> norm_final. With a cache, the tokens continue those before them. */
mep_status mep_run_layers(mep_session *session, const int32_t *tokens);

/* logits [count, vocab] of rows from `first`. */
mep_status mep_run_output(mep_session *session, int64_t first, int64_t count, float *logits);

/* Check the targets and copy them to the device; copy the losses from it. */
mep_status mep_write_targets(mep_session *session, const int32_t *targets);
mep_status mep_read_losses(mep_session *session, float *losses);

#endif
