/* SPDX-License-Identifier: MIT */
/*
 * Attention of a few queries at the end of many keys, as in generating token by token: keys are read once, without
 * packing: in place where they are float32 and head_dim is a multiple of CHANNEL_MULTIPLE, else from a float32 copy.
 */
#ifndef MEP_ATTENTION_DECODE_H
#define MEP_ATTENTION_DECODE_H

#include "mep/attention.h"

/* Up to this many queries a call are decoded row by row. */
enum { DECODE_QUERIES = 4 };

/* mep_attention_forward for queries <= DECODE_QUERIES; arguments are checked already. */
mep_status mep_attention_decode(mep_attention *plan, int64_t batch, int64_t queries, int64_t keys, mep_tensor_view q,
                                mep_tensor_view k, mep_tensor_view v, mep_tensor_view out, float *lse);

#endif
