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
#include "base/integer.h"
#include "base/memory.h"

struct mep_attention {
    mep_attention_settings settings;
    const mep_attention_backend *backend;
    mep_attention_plan *plan;
    int64_t terms_length;  /* largest number of keys that the terms serve */
    int64_t rank, kernels; /* of the terms */
    int has_ahead;         /* the terms have table_ahead */
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
                        "attention needs heads, head_dim and max_length from 1 to 2^40, found %lld, %lld, %lld",
                        (long long)s->heads, (long long)s->head_dim, (long long)s->max_length);
    if (!(s->tolerance >= 0 && s->tolerance < 1) || !isfinite((float)s->scale))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "attention needs a tolerance in [0, 1) and a scale that is finite in float32");
    if (s->kv_heads < 0 || (s->kv_heads > 0 && s->heads % s->kv_heads != 0))
        return mep_fail(MEP_ERROR_ARGUMENT, "kv_heads is %lld; it must divide the %lld heads", (long long)s->kv_heads,
                        (long long)s->heads);
    return MEP_OK;
}

/* MEP_ERROR_UNSUPPORTED where a term is `present` that the back end does not compute. */
static mep_status check_supported(const mep_attention_backend *backend, const char *term, int present)
{
    if (!present || backend->all_terms) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "attention on %s does not compute %s; compute on the CPU", backend->name,
                    term);
}

mep_status mep_attention_create(mep_attention **plan, const mep_attention_settings *settings)
{
    MEP_REQUIRE(plan, settings);
    const mep_backend *backend;
    mep_attention *p;
    *plan = NULL;
    MEP_TRY(check_settings(settings));
    MEP_TRY(mep_backend_open(settings->device, settings->dtype, &backend));
    MEP_TRY(check_supported(backend->attention, "grouped heads (kv_heads)",
                            settings->kv_heads != 0 && settings->kv_heads != settings->heads));
    MEP_TRY(check_supported(backend->attention, "bidirectional attention", settings->bidirectional));
    MEP_TRY(MEP_ALLOC(&p, 1));
    p->settings = *settings;
    p->backend = backend->attention;
    if (settings->scale == 0) p->settings.scale = 1 / sqrt((double)settings->head_dim);
    mep_status status;
    MEP_TRY_OR(status, p->backend->create(&p->plan, &p->settings), failed);
    MEP_TRY_OR(status, mep_attention_set_terms(p, NULL), failed);
    *plan = p;
    return MEP_OK;
failed:
    mep_attention_destroy(&p);
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
    int both = plan->settings.bidirectional;
    if (both && (terms->rank > 0 || terms->kernels > 0))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the terms of bidirectional attention are table, window and sink; leave out the bank and "
                        "log_kernels");
    if (!both && terms->table_ahead != NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "terms.table_ahead is of bidirectional plans");
    MEP_TRY(check_supported(plan->backend, "a window", terms->window > 0));
    MEP_TRY(check_supported(plan->backend, "a sink", terms->sink != NULL));
    MEP_TRY(check_supported(plan->backend, "profiles", terms->rank > 0));
    MEP_TRY(check_supported(plan->backend, "a mixture with weights per query", terms->kernels > 0));
    MEP_TRY(plan->backend->set_terms(plan->plan, terms));
    plan->terms_length = plan->settings.max_length;
    if (terms->table != NULL) plan->terms_length = min_i64(plan->terms_length, terms->table_length);
    if (terms->kernels > 0) plan->terms_length = min_i64(plan->terms_length, terms->log_kernels_length);
    plan->rank = terms->rank, plan->kernels = terms->kernels, plan->has_ahead = terms->table_ahead != NULL;
    return MEP_OK;
}

mep_status mep_attention_set_fire(mep_attention *plan, const mep_fire *fire, double *sums)
{
    MEP_TRY(check_supported(plan->backend, "fire", 1));
    return plan->backend->set_fire(plan->plan, fire, sums);
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
    if (c->keys > plan->terms_length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the score terms cover %lld distances, the call has %lld keys; set longer tables",
                        (long long)plan->terms_length, (long long)c->keys);
    return MEP_OK;
}

/* What a call has per query must be what the plan's terms combine. */
static mep_status check_rows(const char *name, const mep_tensor_view *view, const char *table, int64_t count)
{
    if ((view->data != NULL) == (count > 0)) return MEP_OK;
    if (count > 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "the terms have %s: set call.%s, [batch, heads, queries, %lld]", table,
                        name, (long long)count);
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "call.%s is given, but the terms have no %s; set it with mep_attention_set_terms", name, table);
}

/* Differences of gates are scores, in float32. */
#define MOST_GATE 1e38

static mep_status check_gate(const mep_attention *plan, const mep_attention_call *c)
{
    int64_t count = c->batch * plan->settings.heads * c->keys;
    MEP_TRY(check_supported(plan->backend, "a gate", c->gate != NULL));
    for (int64_t i = 0; c->gate != NULL && i < count; i++)
        if (!(fabs(c->gate[i]) <= MOST_GATE))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "gate[%lld, %lld] (batch and head, key) is %g; it must be finite, at most 1e38 in size",
                            (long long)(i / c->keys), (long long)(i % c->keys), c->gate[i]);
    return MEP_OK;
}

static mep_status check_bounds(const char *name, const int64_t *bounds, const mep_attention_call *c)
{
    for (int64_t i = 0; bounds != NULL && i < c->batch * c->queries; i++)
        if (bounds[i] < 0)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s[%lld, %lld] (sequence, query) is %lld; it must be 0 or more", name,
                            (long long)(i / c->queries), (long long)(i % c->queries), (long long)bounds[i]);
    return MEP_OK;
}

static mep_status check_segments(const mep_attention *plan, const mep_attention_call *c)
{
    int both = plan->settings.bidirectional;
    MEP_TRY(check_supported(plan->backend, "segments (starts)", c->starts != NULL));
    MEP_TRY(check_bounds("starts", c->starts, c));
    MEP_TRY(check_bounds("ends", c->ends, c));
    if (!both && c->ends != NULL) return mep_fail(MEP_ERROR_ARGUMENT, "call.ends is of bidirectional plans");
    if (both && c->queries != c->keys)
        return mep_fail(MEP_ERROR_ARGUMENT, "bidirectional attention needs queries = keys, found %lld and %lld",
                        (long long)c->queries, (long long)c->keys);
    if (both && c->gate != NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "the terms of bidirectional attention are table, window and sink; leave "
                                            "out call.gate");
    return MEP_OK;
}

static mep_status check_call(const mep_attention *plan, const mep_attention_call *c)
{
    MEP_TRY(check_sizes(plan, c));
    MEP_TRY(check_rows("profiles", &c->profiles, "bank", plan->rank));
    MEP_TRY(check_rows("mixture", &c->mixture, "log_kernels", plan->kernels));
    MEP_TRY(check_segments(plan, c));
    return check_gate(plan, c);
}

/* A gradient of a term that the call does not have cannot be wanted. */
static mep_status check_gradient(const char *name, const void *gradient, int present)
{
    if (gradient == NULL || present) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "gradient.%s is given, but the call has no such term; make it NULL", name);
}

mep_status mep_attention_forward(mep_attention *plan, const mep_attention_call *call)
{
    MEP_REQUIRE(plan, call);
    MEP_REQUIRE(call->q.data, call->k.data, call->v.data, call->out.data);
    MEP_TRY(check_call(plan, call));
    return plan->backend->forward(plan->plan, call);
}

mep_status mep_attention_backward(mep_attention *plan, const mep_attention_call *call,
                                  const mep_attention_gradient *gradient)
{
    MEP_REQUIRE(plan, call, gradient);
    MEP_REQUIRE(call->q.data, call->k.data, call->v.data, call->out.data, call->lse);
    MEP_REQUIRE(gradient->dout.data, gradient->dq.data, gradient->dk.data, gradient->dv.data);
    MEP_TRY(check_call(plan, call));
    MEP_TRY(check_gradient("dtable_ahead", gradient->dtable_ahead, plan->has_ahead));
    MEP_TRY(check_gradient("dgate", gradient->dgate, call->gate != NULL));
    MEP_TRY(check_gradient("dprofiles", gradient->dprofiles.data, plan->rank > 0));
    MEP_TRY(check_gradient("dbank", gradient->dbank, plan->rank > 0));
    MEP_TRY(check_gradient("dmixture", gradient->dmixture.data, plan->kernels > 0));
    MEP_TRY(check_gradient("dlog_kernels", gradient->dlog_kernels, plan->kernels > 0));
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
