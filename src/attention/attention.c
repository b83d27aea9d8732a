/* SPDX-License-Identifier: MIT */
/*
 * The public calls of fused attention: checks, and the back end that carries them out.
 */
#include "mep/attention.h"

#include <math.h>

#include "attention/attention_backend.h"
#include "attention/terms.h"
#include "base/backend.h"
#include "base/error.h"
#include "base/memory.h"

struct mep_attention {
    mep_attention_settings settings;
    const mep_attention_backend *backend;
    mep_attention_plan *plan;
    int64_t table_length; /* largest number of keys that the terms serve */
};

void mep_attention_defaults(mep_attention_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_attention_settings){.heads = 1, .head_dim = 64, .max_length = 1024, .skip_far = 1};
}

static mep_status check_settings(const mep_attention_settings *s)
{
    const int64_t most = (int64_t)1 << 40;
    if (s->heads < 1 || s->head_dim < 1 || s->max_length < 1 || s->heads > most || s->head_dim > most ||
        s->max_length > most)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention needs heads, head_dim and max_length of 1 or more, found %lld, %lld, %lld",
                        (long long)s->heads, (long long)s->head_dim, (long long)s->max_length);
    if (!(s->tolerance >= 0 && s->tolerance < 1) || !isfinite(s->scale))
        return mep_fail(MEP_ERROR_ARGUMENT, "attention needs a tolerance in [0, 1) and a finite scale");
    return MEP_OK;
}

mep_status mep_attention_create(mep_attention **plan, const mep_attention_settings *settings)
{
    MEP_REQUIRE(plan, settings);
    const mep_backend *backend;
    mep_attention *p;
    *plan = NULL;
    MEP_TRY(check_settings(settings));
    MEP_TRY(mep_backend_open(settings->device, settings->dtype, &backend));
    MEP_TRY(MEP_ALLOC(&p, 1));
    p->settings = *settings;
    p->backend = backend->attention;
    if (settings->scale == 0) p->settings.scale = 1 / sqrt((double)settings->head_dim);
    mep_status status = p->backend->create(&p->plan, &p->settings);
    if (status == MEP_OK) status = mep_attention_set_terms(p, NULL);
    if (status != MEP_OK) mep_attention_destroy(&p);
    *plan = p;
    return status;
}

void mep_attention_destroy(mep_attention **plan)
{
    if (plan == NULL || *plan == NULL) return;
    if ((*plan)->plan != NULL) (*plan)->backend->destroy(&(*plan)->plan);
    mep_free(plan);
}

mep_status mep_attention_set_terms(mep_attention *plan, const mep_attention_terms *terms)
{
    MEP_REQUIRE(plan);
    const mep_attention_terms none = {.table = NULL};
    if (terms == NULL) terms = &none;
    MEP_TRY(mep_terms_check(terms, plan->settings.heads));
    MEP_TRY(plan->backend->set_terms(plan->plan, terms));
    plan->table_length = terms->table == NULL ? plan->settings.max_length : terms->table_length;
    return MEP_OK;
}

static mep_status check_sizes(const mep_attention *plan, const mep_attention_call *c)
{
    int64_t longest = plan->settings.max_length;
    if (c->batch < 1 || c->queries < 1 || c->keys < c->queries || c->keys > longest)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "attention needs batch >= 1 and 1 <= queries <= keys <= %lld, found batch %lld, queries %lld, keys %lld",
            (long long)longest, (long long)c->batch, (long long)c->queries, (long long)c->keys);
    if (c->batch > INT64_MAX / plan->settings.heads / c->keys)
        return mep_fail(MEP_ERROR_ARGUMENT, "a batch of %lld is too large", (long long)c->batch);
    if (c->keys > plan->table_length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the bias table covers %lld distances, the call has %lld keys; set a longer table",
                        (long long)plan->table_length, (long long)c->keys);
    return MEP_OK;
}

mep_status mep_attention_forward(mep_attention *plan, const mep_attention_call *call)
{
    MEP_REQUIRE(plan, call);
    MEP_REQUIRE(call->q.data, call->k.data, call->v.data, call->out.data);
    MEP_TRY(check_sizes(plan, call));
    return plan->backend->forward(plan->plan, call);
}

mep_status mep_attention_backward(mep_attention *plan, const mep_attention_call *call,
                                  const mep_attention_gradient *gradient)
{
    MEP_REQUIRE(plan, call, gradient);
    MEP_REQUIRE(call->q.data, call->k.data, call->v.data, call->out.data, call->lse);
    MEP_REQUIRE(gradient->dout.data, gradient->dq.data, gradient->dk.data, gradient->dv.data);
    MEP_TRY(check_sizes(plan, call));
    return plan->backend->backward(plan->plan, call, gradient);
}

double mep_attention_computed_fraction(const mep_attention *plan)
{
    return plan == NULL ? 0 : plan->backend->computed_fraction(plan->plan);
}

void mep_attention_set_watch(mep_attention *plan, mep_watch *watch)
{
    if (plan->backend->set_watch != NULL) plan->backend->set_watch(plan->plan, watch);
}
