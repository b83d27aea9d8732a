/* SPDX-License-Identifier: MIT */
/*
 * No keys and values except those of the call: queries attend to the tokens of their own sequence. Used by evaluation
 * and training.
 */
#include "attention/attention_backend.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/kv_terms.h"

typedef struct kv_none {
    mep_kv base;
    mep_attention *attention;
    mep_kv_tables tables;
    int is_host, per_layer; /* per_layer: layers have different terms */
    double *fire;           /* of the gradient that the terms were set with */
    double *gate, *dgate;   /* [batch, heads, length] of a layer */
    int64_t gates;          /* values that there is room for */
} kv_none;

static mep_status set_terms(kv_none *n, int64_t layer)
{
    return mep_kv_set_terms(n->attention, &n->tables, layer, n->fire);
}

static mep_status refresh(mep_kv *kv)
{
    kv_none *n = (kv_none *)kv;
    MEP_TRY(mep_kv_tables_refresh(&n->tables));
    return n->per_layer ? MEP_OK : set_terms(n, 0);
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    (void)kv;
    (void)length;
    return MEP_OK;
}

/* The gates of a layer's tokens. */
static mep_status compute_gates(kv_none *n, const mep_kv_call *c)
{
    int64_t heads = n->tables.model->config.num_attention_heads, count = c->batch * heads * c->length;
    if (c->gate_logits == NULL) return MEP_OK;
    if (count > n->gates) {
        mep_free(&n->gate);
        mep_free(&n->dgate);
        n->gates = 0;
        MEP_TRY(MEP_ALLOC(&n->gate, count));
        MEP_TRY(MEP_ALLOC(&n->dgate, count));
        n->gates = count;
    }
    mep_gate_sums(c->batch, c->length, heads, c->gate_logits, NULL, n->gate);
    return MEP_OK;
}

/* Queries see the call's own keys. */
static mep_attention_call own_keys(const kv_none *n, const mep_kv_call *c)
{
    return (mep_attention_call){.batch = c->batch,
                                .queries = c->length,
                                .keys = c->length,
                                .q = c->q,
                                .k = c->k,
                                .v = c->v,
                                .out = c->out,
                                .lse = c->lse,
                                .gate = c->gate_logits != NULL ? n->gate : NULL,
                                .profiles = c->profiles,
                                .mixture = c->mixture};
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_none *n = (kv_none *)kv;
    MEP_TRY(compute_gates(n, c));
    if (n->per_layer) MEP_TRY(set_terms(n, c->layer));
    const mep_attention_call call = own_keys(n, c);
    mep_attention_set_watch(n->attention, c->watch);
    MEP_TRY(mep_attention_forward(n->attention, &call));
    if (c->watch != NULL && n->is_host) /* elsewhere the question would wait for the device */
        kv->computed_fraction = mep_attention_computed_fraction(n->attention);
    return MEP_OK;
}

static mep_status attend_backward(mep_kv *kv, const mep_kv_call *c, const mep_kv_gradient *g)
{
    kv_none *n = (kv_none *)kv;
    int64_t heads = n->tables.model->config.num_attention_heads;
    int other_sums = n->fire != g->fire;
    n->fire = g->fire;
    MEP_TRY(compute_gates(n, c));
    if (n->per_layer || other_sums) MEP_TRY(set_terms(n, c->layer));
    const mep_attention_call call = own_keys(n, c);
    mep_attention_gradient gradient = g->attention;
    if (c->gate_logits != NULL) gradient.dgate = n->dgate;
    MEP_TRY(mep_attention_backward(n->attention, &call, &gradient));
    if (c->gate_logits != NULL)
        mep_gate_sums_backward(c->batch, c->length, heads, c->gate_logits, n->dgate, g->gate_logits);
    return MEP_OK;
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
    mep_kv_tables_destroy(&n->tables);
    mep_free(&n->gate);
    mep_free(&n->dgate);
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
    MEP_TRY(MEP_ALLOC(&n, 1));
    n->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    n->is_host = mep_device_is_host(s->context.device);
    MEP_TRY_OR(status,
               mep_kv_attention(&n->attention, s, s->model->config.num_attention_heads,
                                mep_key_value_heads(&s->model->config), s->call),
               failed);
    MEP_TRY_OR(status, mep_kv_tables_create(&n->tables, s->model, s->call), failed);
    n->per_layer = mep_kv_term_sets(s->model) > 1;
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
