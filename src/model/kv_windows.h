/* SPDX-License-Identifier: MIT */
/*
 * Windows: how far back each layer and head must hold its keys, from the weights and the bias alone, whatever the text.
 */
#ifndef MEP_MODEL_KV_WINDOWS_H
#define MEP_MODEL_KV_WINDOWS_H

#include "model/model_internal.h"

/* The number of positions at which every encoding is defined. */
#define MEP_MOST_POSITIONS ((int64_t)1 << 31)

/*
 * allowance[layer * heads + head], in nats: an upper bound of scale q.(k' - k) for every query q with its own key k and
 * every key k' of any text of up to `tokens` tokens, plus in layers with profiles that of minus the profile of the own
 * key, as sessions of this type compute them (docs/mathematics.md, section 7). q is the query that attention reads,
 * after a scaling by its position. Infinite where no bound is known: in layers with rotary, for heads of more than 1024
 * channels, and with post_norm where keys have no norm of their own. Computed where wanted[layer * heads + head] is not
 * 0 (NULL: everywhere), infinite elsewhere.
 */
mep_status mep_model_allowances(const mep_model *model, mep_dtype dtype, int64_t tokens, const int *wanted,
                                double *allowance);

/* window[layer * heads + head], for texts of up to `tokens` tokens: keys at this distance or beyond have a weight of
 * exactly 0, or with a tolerance t > 0 a weight of at most t in total. MEP_CACHE_ALL where there is no such distance,
 * and where the text is certainly not longer than it. Layers of another encoding than a distance bias
 * have none, nor have those with fire where the text may be longer than MEP_MOST_POSITIONS. The window of the spec
 * (`/window=W`) is not included. The bias must be up to date (mep_model_sync_bias). */
mep_status mep_model_windows(const mep_model *model, mep_dtype dtype, double tolerance, int64_t tokens,
                             int64_t *window);

/* MEP_ERROR_UNSUPPORTED: the encoding has no reach, or not in every layer a distance bias. */
mep_status mep_model_fail_no_reach(const mep_model *model);

#endif
