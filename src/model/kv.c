/* SPDX-License-Identifier: MIT */
/*
 * What the implementations of kv.h share: attention by their settings, and a message.
 */
#include "model/kv.h"

#include "base/error.h"

mep_status mep_kv_attention(mep_attention **attention, const mep_kv_settings *s, int64_t heads, int64_t kv_heads,
                            int64_t keys)
{
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = heads;
    a.kv_heads = kv_heads;
    a.head_dim = mep_head_dim(&s->model->config);
    a.max_length = keys;
    a.dtype = s->dtype;
    a.tolerance = s->tolerance;
    a.device = s->context.device;
    a.stream = s->context.nn->stream(s->context.state);
    return mep_attention_create(attention, &a);
}

mep_status mep_kv_fail_full(int64_t tokens)
{
    return mep_fail(MEP_ERROR_ARGUMENT, "the session was made for %lld tokens in all and has read them",
                    (long long)tokens);
}
