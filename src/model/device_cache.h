/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache of a generating session on a device: in each layer the keys and values of the latest tokens, one
 * behind the other, as far back as the layer's head that reaches farthest (windows of cache.h).
 *
 * A layer's array holds twice its window: when it is full, the window's tokens move to its front, so that memory and
 * time a token stay as they are. Arrays grow by doubling up to that. It is simpler than attention/cache.h, whose heads
 * have windows of their own; fused attention leaves out what a head does not reach.
 */
#ifndef MEP_MODEL_DEVICE_CACHE_H
#define MEP_MODEL_DEVICE_CACHE_H

#include "model/session.h"

/* The cache of a new session, for calls of up to settings.length tokens; tokens in all, window [layers] of them kept,
 * MEP_CACHE_ALL for all. The session owns it. */
mep_status mep_device_cache_create(mep_session *session, int64_t tokens, const int64_t *window);
void mep_device_cache_destroy(mep_device_cache **cache);

/* Tokens so far. */
int64_t mep_device_cache_length(const mep_device_cache *cache);

/* Room for the call's tokens in every layer, and attention with a bias as long as what is held. */
mep_status mep_device_cache_reserve(mep_session *session);

/* In one layer: keep k and v of the call's tokens, which lie beside each other in a fused qkv, and attend. */
mep_status mep_device_cache_attend(mep_session *session, int64_t layer, mep_tensor_view q, mep_tensor_view k,
                                   mep_tensor_view out);

/* The call's tokens are in every layer. */
void mep_device_cache_advance(mep_session *session);

#endif
