/* SPDX-License-Identifier: MIT */
/*
 * Memory that a session owns: allocated here, freed with the session.
 */
#ifndef MEP_MODEL_SESSION_MEMORY_H
#define MEP_MODEL_SESSION_MEMORY_H

#include "model/session.h"

/* count * width elements of `size` bytes in host memory, or of floats or the session's type in that of its device. */
mep_status mep_session_host(mep_session *session, void *pointer, int64_t count, int64_t width, int64_t size);
mep_status mep_session_floats(mep_session *session, float **pointer, int64_t count, int64_t width);
mep_status mep_session_activation(mep_session *session, mep_activation *x, int64_t count, int64_t width);

#endif
