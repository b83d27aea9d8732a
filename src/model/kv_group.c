/* SPDX-License-Identifier: MIT */
/*
 * Several caches in host memory (kv_ring.c), one sequence each. A pass is over some of them: the sequences of its
 * batch, each at a position of its own. Attention goes through them one by one.
 */
#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/kv.h"

typedef struct kv_group {
    mep_kv base;
    mep_kv_settings settings;
    int64_t *window; /* of every cache */
    int64_t count, chosen;
    mep_kv **member;    /* [count]: NULL: empty */
    int64_t *sequence;  /* [chosen] of the next pass */
    int64_t *positions; /* [chosen] */
} kv_group;

static mep_kv *member_of(const kv_group *g, int64_t b)
{
    return g->member[g->sequence[b]];
}

static mep_status refresh(mep_kv *kv)
{
    kv_group *g = (kv_group *)kv;
    for (int64_t i = 0; i < g->count; i++)
        if (g->member[i] != NULL) MEP_TRY(g->member[i]->functions->refresh(g->member[i]));
    return MEP_OK;
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    kv_group *g = (kv_group *)kv;
    for (int64_t b = 0; b < g->chosen; b++) MEP_TRY(member_of(g, b)->functions->reserve(member_of(g, b), length));
    return MEP_OK;
}

/* The view of sequence b of a batch of elements of `size` bytes; an absent view stays absent. */
static mep_tensor_view view_of(mep_tensor_view view, int64_t b, int64_t size)
{
    if (view.data != NULL) view.data = (char *)view.data + b * view.batch_stride * size;
    return view;
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_group *g = (kv_group *)kv;
    int64_t size = mep_dtype_size(g->settings.dtype), heads = g->settings.model->config.num_attention_heads;
    MEP_ASSERT(c->batch == g->chosen);
    for (int64_t b = 0; b < c->batch; b++) {
        const mep_kv_call one = {.layer = c->layer,
                                 .batch = 1,
                                 .length = c->length,
                                 .q = view_of(c->q, b, size),
                                 .k = view_of(c->k, b, size),
                                 .v = view_of(c->v, b, size),
                                 .out = view_of(c->out, b, size),
                                 .gate_logits = c->gate_logits != NULL ? c->gate_logits + b * c->length * heads : NULL,
                                 .profiles = view_of(c->profiles, b, sizeof(float)),
                                 .mixture = view_of(c->mixture, b, sizeof(float)),
                                 .watch = c->watch};
        MEP_TRY(member_of(g, b)->functions->attend(member_of(g, b), &one));
    }
    return MEP_OK;
}

static void advance(mep_kv *kv, int64_t length)
{
    kv_group *g = (kv_group *)kv;
    for (int64_t b = 0; b < g->chosen; b++) {
        member_of(g, b)->functions->advance(member_of(g, b), length);
        g->positions[b] = member_of(g, b)->position;
    }
}

static void destroy(mep_kv *kv)
{
    kv_group *g = (kv_group *)kv;
    for (int64_t i = 0; g->member != NULL && i < g->count; i++) mep_kv_destroy(&g->member[i]);
    mep_free(&g->member);
    mep_free(&g->sequence);
    mep_free(&g->positions);
    mep_free(&g->window);
    mep_free(&g);
}

static const mep_kv_functions FUNCTIONS = {
    .refresh = refresh, .reserve = reserve, .attend = attend, .advance = advance, .destroy = destroy};

mep_status mep_kv_group_create(mep_kv **kv, const mep_kv_settings *settings, int64_t count)
{
    kv_group *g = NULL;
    mep_status status;
    *kv = NULL;
    MEP_TRY(MEP_ALLOC(&g, 1));
    g->base = (mep_kv){.functions = &FUNCTIONS, .computed_fraction = 1};
    g->settings = *settings;
    g->count = count;
    MEP_TRY_OR(status, mep_kv_cache_windows(settings, 0, &g->window), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&g->member, count), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&g->sequence, count), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&g->positions, count), failed);
    g->base.positions = g->positions;
    *kv = &g->base;
    return MEP_OK;
failed:
    destroy(&g->base);
    return status;
}

mep_status mep_kv_group_select(mep_kv *kv, int64_t chosen, const int64_t *sequences)
{
    kv_group *g = (kv_group *)kv;
    g->chosen = 0;
    for (int64_t b = 0; b < chosen; b++) {
        mep_kv **member = &g->member[sequences[b]];
        if (*member == NULL) MEP_TRY(mep_kv_ring_create(member, &g->settings, g->window));
        g->sequence[b] = sequences[b];
        g->positions[b] = (*member)->position;
    }
    g->chosen = chosen;
    return MEP_OK;
}

void mep_kv_group_clear(mep_kv *kv, int64_t sequence)
{
    mep_kv_destroy(&((kv_group *)kv)->member[sequence]);
}

mep_status mep_kv_group_copy(mep_kv *kv, int64_t to, int64_t from)
{
    kv_group *g = (kv_group *)kv;
    if (to == from) return MEP_OK;
    mep_kv_destroy(&g->member[to]);
    if (g->member[from] == NULL) return MEP_OK;
    mep_status status = mep_kv_ring_create(&g->member[to], &g->settings, g->window);
    if (status == MEP_OK) status = mep_kv_ring_copy(g->member[to], g->member[from]);
    if (status != MEP_OK) mep_kv_destroy(&g->member[to]);
    return status;
}
