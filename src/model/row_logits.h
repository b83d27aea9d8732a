/* SPDX-License-Identifier: MIT */
/*
 * The logits of single rows of a pass that has been made, for callers that want the likeliest token at a few positions.
 */
#ifndef MEP_MODEL_ROW_LOGITS_H
#define MEP_MODEL_ROW_LOGITS_H

#include "model/session.h"

/* Write the logits [vocab] (host) of row `row` of the session's last mep_session_score. */
mep_status mep_session_row_logits(mep_session *session, int64_t row, float *logits);

#endif
