/* SPDX-License-Identifier: MIT */
/*
 * The scores of one query with all its keys, computed again in float64 from what a pass of a training session left in a
 * layer, with every score term that a model can have. A reference: one key at a time, independent of the kernels.
 */
#ifndef MEP_EVAL_ATTENTION_SCORES_H
#define MEP_EVAL_ATTENTION_SCORES_H

#include "model/kv_terms.h"
#include "model/session.h"

typedef struct mep_attention_scores {
    const mep_session *session;
    mep_kv_tables tables; /* of the whole session */
    mep_kv_call call;     /* of the current layer */
    mep_attention_terms terms;
    mep_fire fire; /* pieces 0: the layer does not have it */
    double *gate;  /* [heads, length], if the layer has gates: otherwise unused */
} mep_attention_scores;

/* For a training session of one sequence, which keeps every layer's queries and keys. It must outlive *scores. */
mep_status mep_attention_scores_open(mep_attention_scores *scores, const mep_session *session);
void mep_attention_scores_close(mep_attention_scores *scores);

/* Set the layer of later calls, after a pass of the session. */
void mep_attention_scores_set_layer(mep_attention_scores *scores, int64_t layer);

/* Fill row[d], d = 0 .. position, with the score of the key at distance d from the query at `position`: -INFINITY for a
 * key outside a window. Returns the additional logit of a sink; -INFINITY if there is none. Thread-safe. */
double mep_attention_scores_row(const mep_attention_scores *scores, int64_t head, int64_t position, double *row);

#endif
