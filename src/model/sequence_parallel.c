/* SPDX-License-Identifier: MIT */
/*
 * Sessions for a sequence that is divided over processes.
 */
#include "model/sequence_parallel.h"

#include "base/error.h"
#include "base/integer.h"
#include "model/forward_pass.h"

/* This process's part, before the processes agree. */
static mep_status open_range(mep_session **session, mep_model *model, const mep_session_settings *settings,
                             int64_t range)
{
    mep_session_settings own = *settings;
    own.batch = 1;
    own.length = max_i64(range, 1); /* a range may be empty */
    return mep_session_open(session, model, &own, settings->length, 0);
}

mep_status mep_session_create_sequence(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                       mep_dist *group)
{
    int64_t first = mep_kv_sequence_first(group, settings->length, group->rank),
            end = mep_kv_sequence_first(group, settings->length, group->rank + 1);
    mep_status status = mep_dist_agree(group, open_range(session, model, settings, end - first));
    if (status == MEP_OK) {
        (*session)->text_length = settings->length;
        mep_kv_settings kv = mep_session_kv_settings(*session, settings->length);
        status = mep_kv_sequence_create(&(*session)->kv, &kv, group);
    }
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

mep_status mep_session_sequence_losses(mep_session *s, const int32_t *inputs, const int32_t *targets, float *losses)
{
    int64_t range = mep_kv_sequence_begin(s->kv);
    if (range == 0) return MEP_OK;
    mep_status status = mep_session_score(s, 1, range, inputs, targets, losses);
    if (status != MEP_OK) MEP_TRY(mep_kv_sequence_finish(s->kv));
    return status;
}
