/* SPDX-License-Identifier: MIT */
/*
 * How much work a forward pass is, for its reports: how many rows are computed between two of them, and which fraction
 * of the pass each stage is.
 */
#ifndef MEP_MODEL_PASS_WORK_H
#define MEP_MODEL_PASS_WORK_H

#include "model/session.h"

/* Split `all` rows into as few chunks of at most `most` rows as possible. Returns the size of a chunk, a multiple of 64
 * rows; the last chunk may be smaller. The size matters for speed alone: the bits of a row do not depend on the rows
 * next to it. */
int64_t mep_chunk_rows(int64_t all, int64_t most);

/* Rows of a layer that are computed between two reports. */
int64_t mep_watched_rows(const mep_session *session);

/* The fractions of a layer's work at which its attention begins and ends. */
void mep_attention_fractions(const mep_session *session, double *begin, double *end);

/* The fraction of a pass that its layers are, where the output layer computes `output_rows` rows. */
double mep_layers_fraction(const mep_session *session, int64_t output_rows);

#endif
