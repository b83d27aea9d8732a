/* SPDX-License-Identifier: MIT */
/*
 * Memory that a session owns: allocated here, and freed with the session.
 */
#ifndef MEP_MODEL_SESSION_MEMORY_H
#define MEP_MODEL_SESSION_MEMORY_H

#include "model/session.h"

/* Allocate count * width elements, all zero, into the pointer at `pointer`: of `size` bytes in host memory or that of
 * the session's device, or of floats or the session's type in that of its device. */
mep_status mep_session_host(mep_session *session, void *pointer, int64_t count, int64_t width, int64_t size);
mep_status mep_session_device(mep_session *session, void *pointer, int64_t count, int64_t width, int64_t size);
mep_status mep_session_floats(mep_session *session, float **pointer, int64_t count, int64_t width);
mep_status mep_session_activation(mep_session *session, mep_activation *x, int64_t count, int64_t width);

/* Free all of it. */
void mep_session_memory_free(mep_session *session);

#endif
