/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache of a generating session: how far back each layer and head must hold its keys, and the bias table
 * as long as what is held.
 */
#ifndef MEP_MODEL_CACHE_H
#define MEP_MODEL_CACHE_H

#include "model/session.h"

/* Positions at which every encoding is defined. */
#define MEP_MOST_POSITIONS ((int64_t)1 << 31)

/*
 * allowance[layer * heads + head], in nats: an upper bound of scale q.(k' - k) for every query q with its own key k and
 * every key k' of any text, whatever it says, as the session computes them (docs/mathematics.md, section 7). Infinite
 * where none is known: with rotary, and for heads of more than 1024 channels. Only heads whose wanted[head] is not 0
 * are looked at, the others' are infinite; NULL: all.
 */
mep_status mep_session_allowances(const mep_session *session, const int *wanted, double *allowance);

/* window[layer * heads + head] for mep_cache_settings, for a text of `tokens` tokens: keys at this distance or beyond
 * have a weight of exactly 0, with the session's tolerance t one that all such keys together bring to t at most.
 * MEP_CACHE_ALL where there is none, and where the text is certainly no longer than it. */
mep_status mep_session_windows(const mep_session *session, int64_t tokens, int64_t *window);

/* The cache of a new session that will read `tokens` tokens; whole: nothing is dropped. MEP_ERROR_UNSUPPORTED where
 * something must hold more than MEP_MOST_POSITIONS tokens. */
mep_status mep_session_open_cache(mep_session *session, int64_t tokens, int whole);

/* Room in the cache, and a bias long enough, for the call's tokens. */
mep_status mep_session_extend_cache(mep_session *session);

/* MEP_ERROR_UNSUPPORTED: the encoding has no reach. */
mep_status mep_session_no_reach(const mep_model *model);

#endif
