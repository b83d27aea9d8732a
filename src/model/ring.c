/* SPDX-License-Identifier: MIT */
/*
 * Keys and values on their way from process to process. Of each head a process has one run of rows, key and value of a
 * position each, from the first position that its stretch can see to the last of the stretch.
 */
#include "model/ring.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "model/cache.h"

enum { BLOCK = 64 }; /* attention's grid */

struct mep_ring {
    mep_dist *group;
    int64_t length, takers;  /* of the sequence; processes that have a stretch */
    int64_t first, end;      /* the stretch */
    int64_t layers, heads;   /* of the model */
    int64_t done;            /* layers of the pass under way whose keys and values have gone round */
    int64_t *window;         /* [layers, heads]: keys at this distance or beyond have no weight */
    int64_t channels, width; /* of a head; bytes a channel */
    char *memory, **run;     /* [heads] each head's run of rows, in memory */
    mep_dist_block *pieces;  /* [2, heads] */
};

static int64_t takers_of(const mep_dist *group, int64_t length)
{
    int64_t blocks = length / BLOCK;
    return blocks < 1 ? 1 : blocks < group->size ? blocks : group->size;
}

int64_t mep_ring_first(const mep_dist *group, int64_t length, int64_t rank)
{
    mep_dist takers = {.size = takers_of(group, length)};
    return rank >= takers.size ? length : mep_dist_first(&takers, length / BLOCK, rank) * BLOCK;
}

int64_t mep_ring_position(const mep_ring *r)
{
    return r->first;
}

static int64_t first_of(const mep_ring *r, int64_t rank)
{
    return mep_ring_first(r->group, r->length, rank);
}

/* The first position whose key of a head process `rank` needs: that of the first block that its first query sees. */
static int64_t lowest(const mep_ring *r, int64_t layer, int64_t head, int64_t rank)
{
    int64_t first = first_of(r, rank), window = r->window[layer * r->heads + head];
    return window > first ? 0 : (first - window + 1) / BLOCK * BLOCK;
}

static int64_t row_bytes(const mep_ring *r)
{
    return 2 * r->channels * r->width;
}

/* ---- Keys and values ---- */

/* Lay out the runs of a layer. */
static void lay_out(mep_ring *r, int64_t layer)
{
    char *place = r->memory;
    for (int64_t h = 0; h < r->heads; h++) {
        r->run[h] = place;
        place += (r->end - lowest(r, layer, h, r->group->rank)) * row_bytes(r);
    }
}

/* Copy the stretch's own keys and values, as attention sees them, to the ends of the runs. */
static void copy_own(mep_ring *r, int64_t layer, const mep_tensor_view *k, const mep_tensor_view *v)
{
    size_t bytes = (size_t)(r->channels * r->width);
    for (int64_t h = 0; h < r->heads; h++) {
        char *row = r->run[h] + (r->first - lowest(r, layer, h, r->group->rank)) * row_bytes(r);
        for (int64_t i = 0; i < r->end - r->first; i++, row += row_bytes(r)) {
            memcpy(row, (const char *)k->data + (h * k->head_stride + i * k->token_stride) * r->width, bytes);
            memcpy(row + bytes, (const char *)v->data + (h * v->head_stride + i * v->token_stride) * r->width, bytes);
        }
    }
}

/* The rows of stretch `origin` that process `reader` needs, a piece a head, where they lie here, to or from `peer`.
 * Returns the number of pieces. */
static int64_t list_pieces(const mep_ring *r, int64_t layer, int64_t origin, int64_t reader, int64_t peer,
                           mep_dist_block *pieces)
{
    int64_t start = first_of(r, origin), end = first_of(r, origin + 1), count = 0;
    for (int64_t h = 0; h < r->heads; h++) {
        int64_t low = lowest(r, layer, h, r->group->rank), from = lowest(r, layer, h, reader);
        if (from < start) from = start;
        if (from < end)
            pieces[count++] =
                (mep_dist_block){peer, r->run[h] + (from - low) * row_bytes(r), (end - from) * row_bytes(r)};
    }
    return count;
}

/* Once round: in hop n a process hands on what it got in hop n - 1, its own stretch first. Which pieces there are both
 * sides know from the windows. */
static mep_status pass(mep_ring *r, int64_t layer)
{
    int64_t rank = r->group->rank, next = rank + 1, sends = 0, receives = 0;
    for (int64_t hop = 1; hop < r->takers; hop++) {
        sends = receives = 0;
        if (next < r->takers && next - hop >= 0) sends = list_pieces(r, layer, next - hop, next, next, r->pieces);
        if (rank < r->takers && rank - hop >= 0)
            receives = list_pieces(r, layer, rank - hop, rank, rank - 1, r->pieces + r->heads);
        MEP_TRY(mep_dist_transfer(r->group, r->pieces, sends, r->pieces + r->heads, receives));
    }
    return MEP_OK;
}

mep_status mep_ring_attend(mep_session *s, int64_t layer, mep_tensor_view q, mep_tensor_view k, mep_tensor_view v,
                           mep_tensor_view out)
{
    mep_ring *r = s->ring;
    lay_out(r, layer);
    copy_own(r, layer, &k, &v);
    r->done = layer + 1;
    MEP_TRY(pass(r, layer));
    for (int64_t h = 0; h < r->heads; h++) {
        int64_t keys = r->end - lowest(r, layer, h, r->group->rank), row = 2 * r->channels;
        mep_tensor_view own_q = q, own_out = out, own_k = {r->run[h], 0, 0, row}, own_v = own_k;
        own_q.data = (char *)q.data + h * q.head_stride * r->width;
        own_out.data = (char *)out.data + h * out.head_stride * r->width;
        own_v.data = r->run[h] + r->channels * r->width;
        const mep_attention_terms terms = {.table = s->bias_table + h * s->longest, .table_length = keys};
        if (s->bias_table != NULL) MEP_TRY(mep_attention_set_terms(s->attention, &terms));
        mep_watch_part part =
            mep_watch_enter(s->watch, (double)h / (double)r->heads, (double)(h + 1) / (double)r->heads);
        const mep_attention_call call = {
            .batch = 1, .queries = s->length, .keys = keys, .q = own_q, .k = own_k, .v = own_v, .out = own_out};
        mep_status status = mep_attention_forward(s->attention, &call);
        mep_watch_leave(s->watch, part);
        MEP_TRY(status);
    }
    return MEP_OK;
}

/* ---- The session ---- */

void mep_ring_destroy(mep_ring **ring)
{
    if (*ring == NULL) return;
    mep_free(&(*ring)->window);
    mep_free(&(*ring)->memory);
    mep_free(&(*ring)->run);
    mep_free(&(*ring)->pieces);
    mep_free(ring);
}

/* A ring without memory for rows, and the windows as this process computes them. */
static mep_status create_ring(mep_session *s, int64_t length, mep_dist *group)
{
    const mep_model_config *c = &s->model->config;
    mep_ring *r;
    MEP_TRY(mep_alloc(&r, 1, sizeof *r));
    s->ring = r;
    r->group = group;
    r->length = length;
    r->takers = takers_of(group, length);
    r->first = first_of(r, group->rank);
    r->end = first_of(r, group->rank + 1);
    r->layers = c->num_hidden_layers;
    r->heads = c->num_attention_heads;
    r->channels = mep_head_dim(c);
    r->width = mep_dtype_size(s->settings.dtype);
    MEP_TRY(mep_alloc(&r->window, r->layers * r->heads, sizeof *r->window));
    MEP_TRY(mep_alloc(&r->run, r->heads, sizeof *r->run));
    MEP_TRY(mep_alloc(&r->pieces, 2 * r->heads, sizeof *r->pieces));
    MEP_TRY(mep_session_add_attention(s, 1, s->longest));
    MEP_TRY(mep_session_refresh(s));
    return mep_session_windows(s, length, r->window);
}

/* Rows for the layer that needs most. */
static mep_status allocate_rows(mep_ring *r)
{
    int64_t most = 0;
    for (int64_t layer = 0; layer < r->layers; layer++) {
        int64_t sum = 0;
        for (int64_t h = 0; h < r->heads && r->first < r->end; h++) sum += r->end - lowest(r, layer, h, r->group->rank);
        most = sum > most ? sum : most;
    }
    return mep_alloc(&r->memory, most, (size_t)row_bytes(r));
}

mep_status mep_session_create_ring(mep_session **session, mep_model *model, const mep_session_settings *settings,
                                   mep_dist *group)
{
    mep_session_settings own = *settings;
    int64_t length = settings->length, first = mep_ring_first(group, length, group->rank);
    own.batch = 1;
    own.length = mep_ring_first(group, length, group->rank + 1) - first;
    if (own.length < 1) own.length = 1; /* a process without a stretch */
    mep_status status = mep_session_prepare(session, model, &own, length, 0);
    if (status == MEP_OK) status = create_ring(*session, length, group);
    status = mep_dist_agree(group, status);
    if (status == MEP_OK) { /* processors may differ in the last bit: one for all */
        mep_ring *r = (*session)->ring;
        status = mep_dist_broadcast(group, r->window, r->layers * r->heads * (int64_t)sizeof *r->window);
        status = mep_dist_agree(group, status == MEP_OK ? allocate_rows(r) : status);
    }
    if (status != MEP_OK) mep_session_destroy(session);
    return status;
}

mep_status mep_session_ring_losses(mep_session *s, const int32_t *inputs, const int32_t *targets, float *losses)
{
    mep_ring *r = s->ring;
    if (r->first == r->end) return MEP_OK;
    r->done = 0;
    mep_status status = mep_session_score(s, 1, r->end - r->first, inputs, targets, losses);
    if (status == MEP_OK || r->group->broken) return status;
    for (; r->done < r->layers; r->done++) { /* rows of any content: all processes are about to fail */
        lay_out(r, r->done);
        MEP_TRY(pass(r, r->done));
    }
    return status;
}
