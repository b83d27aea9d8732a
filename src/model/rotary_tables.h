/* SPDX-License-Identifier: MIT */
/*
 * Rotary positions in a session: a pair of tables for each distinct rotation of the layers, and the rotation of queries
 * and keys.
 */
#ifndef MEP_MODEL_ROTARY_TABLES_H
#define MEP_MODEL_ROTARY_TABLES_H

#include "model/session.h"

/* Allocate and compute the tables of all positions. */
mep_status mep_rotary_tables_allocate(mep_session *session);

/* Before a call, whose length is known: compute again the tables of scalings that depend on the length of the text,
 * where it has changed. */
mep_status mep_rotary_tables_update(mep_session *session);

/* The queries and keys of a layer, or their gradients. */
typedef struct mep_rotated {
    const mep_tensor_view *q, *k;
    mep_dtype dtype;
    int inverse; /* 1: rotate backwards */
} mep_rotated;

/* Rotate them in place; nothing where the layer does not have rotary positions. */
void mep_rotate(mep_session *session, int64_t layer, const mep_rotated *rotated);

#endif
