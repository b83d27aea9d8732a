/* SPDX-License-Identifier: MIT */
/*
 * No keys and values except those of the call: queries attend to the tokens of their own sequence. Used by evaluation
 * and training.
 */
#include "attention/attention_backend.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/kv.h"

typedef struct kv_none {
    mep_kv base;
    mep_attention *attention;
    mep_kv_bias bias;
    int is_host;
} kv_none;

static mep_status refresh(mep_kv *kv)
{
    kv_none *n = (kv_none *)kv;
    if (n->bias.bias == NULL) return MEP_OK;
    MEP_TRY(mep_kv_bias_refresh(&n->bias));
    const mep_attention_terms terms = {.table = n->bias.table, .table_length = n->bias.length};
    return mep_attention_set_terms(n->attention, &terms);
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    (void)kv;
    (void)length;
    return MEP_OK;
}

/* Queries see the call's own keys. */
static mep_attention_call own_keys(const mep_kv_call *c)
{
    return (mep_attention_call){.batch = c->batch,
                                .queries = c->length,
                                .keys = c->length,
                                .q = c->q,
                                .k = c->k,
                                .v = c->v,
                                .out = c->out,
                                .lse = c->lse};
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_none *n = (kv_none *)kv;
    const mep_attention_call call = own_keys(c);
    mep_attention_set_watch(n->attention, c->watch);
    MEP_TRY(mep_attention_forward(n->attention, &call));
    if (c->watch != NULL && n->is_host) /* elsewhere the question would wait for the device */
        kv->computed_fraction = mep_attention_computed_fraction(n->attention);
    return MEP_OK;
}

static mep_status attend_backward(mep_kv *kv, const mep_kv_call *c, const mep_attention_gradient *g)
{
    const mep_attention_call call = own_keys(c);
    return mep_attention_backward(((kv_none *)kv)->attention, &call, g);
}

static void advance(mep_kv *kv, int64_t length)
{
    (void)kv;
    (void)length;
}

static void destroy(mep_kv *kv)
{
    kv_none *n = (kv_none *)kv;
    mep_attention_destroy(&n->attention);
    mep_kv_bias_destroy(&n->bias);
    mep_free(&n);
}

static const mep_kv_functions FUNCTIONS = {.refresh = refresh,
                                           .reserve = reserve,
                                           .attend = attend,
                                           .attend_backward = attend_backward,
                                           .advance = advance,
                                           .destroy = destroy};

mep_status mep_kv_none_create(mep_kv **kv, const mep_kv_settings *s)
{
    kv_none *n = NULL;
    mep_status status = MEP_OK;
    *kv = NULL;
    MEP_TRY(mep_alloc(&n, 1, sizeof *n));
    n->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    n->is_host = mep_device_is_host(s->context.device);
    MEP_TRY_OR(status, mep_kv_attention(&n->attention, s, s->model->config.num_attention_heads, s->call), failed);
    MEP_TRY_OR(status, mep_kv_bias_create(&n->bias, s->model, s->call), failed);
    MEP_TRY_OR(status, refresh(&n->base), failed);
    *kv = &n->base;
    return MEP_OK;
failed:
    destroy(&n->base);
    return status;
}

mep_attention **mep_kv_none_attention(mep_kv *kv)
{
    return &((kv_none *)kv)->attention;
}
