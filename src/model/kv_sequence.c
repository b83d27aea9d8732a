/* SPDX-License-Identifier: MIT */
/*
 * Keys and values of a sequence that is divided over processes. Each process has a range of the positions, and in each
 * layer it receives the keys and values of earlier ranges: they travel from a process to the next, at each hop only the
 * rows that some later query can still reach. Attention then sees the keys of a range as one block of rows, with the
 * same 64-key blocks as in a single process, so the losses are bit-identical.
 *
 * For each head a process holds the rows (key, value and gate of a position) from the first position that its range can
 * see to the last position of the range.
 */
#include <string.h>

#include "attention/attention_backend.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "model/kv_terms.h"

enum { BLOCK = 64 }; /* the grid of attention's key blocks */

typedef struct kv_sequence {
    mep_kv base;
    mep_attention *attention; /* of one head */
    mep_kv_tables tables;     /* for the positions of the sequence */
    mep_dist *group;
    int64_t length, active;  /* of the sequence; processes whose range is not empty */
    int64_t first, end;      /* the range */
    int64_t layers, heads;   /* of the model */
    int64_t group_size;      /* query heads per key/value head, of which each has a copy */
    int64_t done;            /* layers of the current pass whose exchange is complete */
    int64_t *window;         /* [layers, heads]: keys at this distance or beyond have no weight */
    int64_t channels, width; /* of a head; bytes per channel */
    int has_gate;            /* a layer has forget gates: a row ends with the gate of its key and query head */
    double *gate, *total;    /* [heads, range]: gates of the own range; [heads]: of the position before it */
    double *keys_gate;       /* [length]: of a head */
    char *memory, **rows;    /* [heads]: the rows of each head, in memory */
    mep_dist_block *pieces;  /* [2, heads] */
} kv_sequence;

static int64_t active_processes(const mep_dist *group, int64_t length)
{
    int64_t blocks = length / BLOCK;
    return blocks < 1 ? 1 : min_i64(blocks, group->size);
}

int64_t mep_kv_sequence_first(const mep_dist *group, int64_t length, int64_t rank)
{
    mep_dist active = {.size = active_processes(group, length)};
    return rank >= active.size ? length : mep_dist_first(&active, length / BLOCK, rank) * BLOCK;
}

static int64_t first_of(const kv_sequence *s, int64_t rank)
{
    return mep_kv_sequence_first(s->group, s->length, rank);
}

/* The first position whose key process `rank` needs for a head: the begin of the first block that its first query sees.
 */
static int64_t lowest(const kv_sequence *s, int64_t layer, int64_t head, int64_t rank)
{
    int64_t first = first_of(s, rank), window = s->window[layer * s->heads + head];
    return window > first ? 0 : (first - window + 1) / BLOCK * BLOCK;
}

static int64_t row_bytes(const kv_sequence *s)
{
    return 2 * s->channels * s->width + (s->has_gate ? (int64_t)sizeof(double) : 0);
}

/* ---- Exchange ---- */

/* Set `rows` for a layer. */
static void lay_out(kv_sequence *s, int64_t layer)
{
    char *next = s->memory;
    for (int64_t h = 0; h < s->heads; h++) {
        s->rows[h] = next;
        next += (s->end - lowest(s, layer, h, s->group->rank)) * row_bytes(s);
    }
}

/* Sum the gates of the own range, from the last sum of the range before it to the first of the next: the sums of one
 * process, to the bit. logits NULL: the layer has none, and all are 0; the pass has failed here: any values. */
static mep_status chain_gates(kv_sequence *s, const float *logits)
{
    int64_t rank = s->group->rank, range = s->end - s->first, bytes = s->heads * (int64_t)sizeof *s->total;
    mep_dist_block before = {.rank = rank - 1, .data = s->total, .bytes = bytes}, after = before;
    after.rank = rank + 1;
    memset(s->total, 0, (size_t)bytes);
    if (rank > 0 && rank < s->active) MEP_TRY(mep_dist_transfer(s->group, NULL, 0, &before, 1));
    if (logits != NULL)
        mep_gate_sums(1, range, s->heads, logits, s->total, s->gate);
    else
        memset(s->gate, 0, (size_t)(s->heads * range) * sizeof *s->gate);
    return rank + 1 < s->active ? mep_dist_transfer(s->group, &after, 1, NULL, 0) : MEP_OK;
}

/* Copy the keys, values and gates of the own range to the ends of the rows. */
static void copy_own(kv_sequence *s, int64_t layer, const mep_tensor_view *k, const mep_tensor_view *v)
{
    size_t bytes = (size_t)(s->channels * s->width);
    for (int64_t h = 0; h < s->heads; h++) {
        int64_t kv = h / s->group_size;
        char *row = s->rows[h] + (s->first - lowest(s, layer, h, s->group->rank)) * row_bytes(s);
        for (int64_t i = 0; i < s->end - s->first; i++, row += row_bytes(s)) {
            memcpy(row, (const char *)k->data + (kv * k->head_stride + i * k->token_stride) * s->width, bytes);
            memcpy(row + bytes, (const char *)v->data + (kv * v->head_stride + i * v->token_stride) * s->width, bytes);
            if (s->has_gate) memcpy(row + 2 * bytes, &s->gate[h * (s->end - s->first) + i], sizeof *s->gate);
        }
    }
}

/* The rows of range `origin` that process `reader` needs, one piece per head at its location here, to or from `peer`.
 * Returns the number of pieces. */
static int64_t list_pieces(const kv_sequence *s, int64_t layer, int64_t origin, int64_t reader, int64_t peer,
                           mep_dist_block *pieces)
{
    int64_t start = first_of(s, origin), end = first_of(s, origin + 1), count = 0;
    for (int64_t h = 0; h < s->heads; h++) {
        int64_t low = lowest(s, layer, h, s->group->rank), from = max_i64(start, lowest(s, layer, h, reader));
        if (from < end)
            pieces[count++] = (mep_dist_block){
                .rank = peer, .data = s->rows[h] + (from - low) * row_bytes(s), .bytes = (end - from) * row_bytes(s)};
    }
    return count;
}

/* All hops of a layer: in hop n a process sends what it received in hop n - 1, its own range first. Both sides know
 * from the windows which pieces there are. */
static mep_status exchange(kv_sequence *s, int64_t layer)
{
    int64_t rank = s->group->rank, next = rank + 1;
    for (int64_t hop = 1; hop < s->active; hop++) {
        int64_t sends = 0, receives = 0;
        if (next < s->active && next - hop >= 0) sends = list_pieces(s, layer, next - hop, next, next, s->pieces);
        if (rank < s->active && rank - hop >= 0)
            receives = list_pieces(s, layer, rank - hop, rank, rank - 1, s->pieces + s->heads);
        MEP_TRY(mep_dist_transfer(s->group, s->pieces, sends, s->pieces + s->heads, receives));
    }
    return MEP_OK;
}

/* ---- The interface ---- */

static mep_status refresh(mep_kv *kv)
{
    return mep_kv_tables_refresh(&((kv_sequence *)kv)->tables);
}

static mep_status reserve(mep_kv *kv, int64_t length)
{
    (void)kv;
    (void)length;
    return MEP_OK;
}

/* The terms of one head of a layer, for the keys from position `low`. */
static mep_status set_terms(kv_sequence *s, int64_t layer, int64_t head, int64_t low)
{
    mep_attention_terms terms = mep_kv_layer_terms(&s->tables, layer);
    mep_fire fire;
    if (terms.table != NULL) {
        terms.table += head * s->tables.length;
        terms.table_length = s->end - low;
    }
    if (terms.log_kernels != NULL) terms.log_kernels += head * terms.kernels * s->tables.length;
    if (terms.sink != NULL) terms.sink += head;
    MEP_TRY(mep_attention_set_terms(s->attention, &terms));
    if (!mep_kv_layer_fire(&s->tables, layer, &fire)) return MEP_OK;
    fire.first = low;
    fire.slope += head * fire.row;
    fire.offset += head * fire.row;
    return mep_attention_set_fire(s->attention, &fire, NULL);
}

/* A view of one head, of elements of `size` bytes; an absent view stays absent. */
static mep_tensor_view view_of_head(mep_tensor_view view, int64_t head, int64_t size)
{
    if (view.data != NULL) view.data = (char *)view.data + head * view.head_stride * size;
    return view;
}

static mep_status attend_head(kv_sequence *s, const mep_kv_call *c, int64_t head)
{
    int64_t low = lowest(s, c->layer, head, s->group->rank), keys = s->end - low;
    const mep_tensor_view rows = {.data = s->rows[head], .token_stride = row_bytes(s) / s->width};
    mep_attention_call call = {.batch = 1,
                               .queries = c->length,
                               .keys = keys,
                               .q = view_of_head(c->q, head, s->width),
                               .k = rows,
                               .v = rows,
                               .out = view_of_head(c->out, head, s->width),
                               .profiles = view_of_head(c->profiles, head, sizeof(float)),
                               .mixture = view_of_head(c->mixture, head, sizeof(float))};
    call.v.data = s->rows[head] + s->channels * s->width;
    for (int64_t i = 0; i < keys && c->gate_logits != NULL; i++)
        memcpy(&s->keys_gate[i], s->rows[head] + i * row_bytes(s) + 2 * s->channels * s->width, sizeof *s->keys_gate);
    if (c->gate_logits != NULL) call.gate = s->keys_gate;
    MEP_TRY(set_terms(s, c->layer, head, low));
    mep_attention_set_watch(s->attention, c->watch);
    return mep_attention_forward(s->attention, &call);
}

static mep_status attend(mep_kv *kv, const mep_kv_call *c)
{
    kv_sequence *s = (kv_sequence *)kv;
    double heads = (double)s->heads;
    lay_out(s, c->layer);
    s->done = c->layer + 1;
    if (s->has_gate) MEP_TRY(chain_gates(s, c->gate_logits));
    copy_own(s, c->layer, &c->k, &c->v);
    MEP_TRY(exchange(s, c->layer));
    for (int64_t h = 0; h < s->heads; h++) {
        mep_watch_section part = mep_watch_enter(c->watch, (double)h / heads, (double)(h + 1) / heads);
        mep_status status = attend_head(s, c, h);
        mep_watch_leave(c->watch, part);
        MEP_TRY(status);
    }
    kv->computed_fraction = mep_attention_computed_fraction(s->attention);
    return MEP_OK;
}

static void advance(mep_kv *kv, int64_t length)
{
    (void)kv;
    (void)length;
}

static void destroy(mep_kv *kv)
{
    kv_sequence *s = (kv_sequence *)kv;
    mep_attention_destroy(&s->attention);
    mep_kv_tables_destroy(&s->tables);
    mep_free(&s->window);
    mep_free(&s->gate);
    mep_free(&s->total);
    mep_free(&s->keys_gate);
    mep_free(&s->rows);
    mep_free(&s->pieces);
    mep_free(&s->memory);
    mep_free(&s);
}

static const mep_kv_functions FUNCTIONS = {
    .refresh = refresh, .reserve = reserve, .attend = attend, .advance = advance, .destroy = destroy};

/* ---- Creation ---- */

static mep_status create(kv_sequence **sequence, const mep_kv_settings *settings, mep_dist *group)
{
    const mep_model_config *c = &settings->model->config;
    kv_sequence *s = NULL;
    *sequence = NULL;
    MEP_TRY(MEP_ALLOC(&s, 1));
    *sequence = s;
    s->group = group;
    s->length = settings->tokens;
    s->active = active_processes(group, s->length);
    s->first = first_of(s, group->rank);
    s->end = first_of(s, group->rank + 1);
    s->layers = c->num_hidden_layers;
    s->heads = c->num_attention_heads;
    s->group_size = s->heads / mep_key_value_heads(c);
    s->channels = mep_head_dim(c);
    s->width = mep_dtype_size(settings->dtype);
    s->base = (mep_kv){.functions = &FUNCTIONS, .position = s->first, .computed_fraction = 1};
    s->has_gate = settings->model->first[FORGET_WEIGHT] >= 0;
    if (s->has_gate) {
        MEP_TRY(MEP_ALLOC(&s->gate, s->heads * (s->end - s->first)));
        MEP_TRY(MEP_ALLOC(&s->total, s->heads));
        MEP_TRY(MEP_ALLOC(&s->keys_gate, s->length));
    }
    MEP_TRY(MEP_ALLOC(&s->rows, s->heads));
    MEP_TRY(MEP_ALLOC(&s->pieces, 2 * s->heads));
    MEP_TRY(mep_kv_attention(&s->attention, settings, 1, 1, s->length));
    MEP_TRY(mep_kv_tables_create(&s->tables, settings->model, s->length));
    MEP_TRY(refresh(&s->base));
    return mep_kv_cache_windows(settings, 0, &s->window);
}

/* Rows for the layer that needs most. */
static mep_status allocate_rows(kv_sequence *s)
{
    int64_t most = 0;
    for (int64_t layer = 0; layer < s->layers; layer++) {
        int64_t sum = 0;
        for (int64_t h = 0; h < s->heads && s->first < s->end; h++) sum += s->end - lowest(s, layer, h, s->group->rank);
        most = max_i64(most, sum);
    }
    return mep_alloc(&s->memory, most, (size_t)row_bytes(s));
}

mep_status mep_kv_sequence_create(mep_kv **kv, const mep_kv_settings *settings, mep_dist *group)
{
    kv_sequence *s = NULL;
    mep_status status = mep_dist_agree(group, create(&s, settings, group));
    *kv = NULL;
    if (status == MEP_OK) { /* CPUs may differ in the last bit of a window: all take those of process 0 */
        status = mep_dist_broadcast(group, s->window, s->layers * s->heads * (int64_t)sizeof *s->window);
        status = mep_dist_agree(group, status == MEP_OK ? allocate_rows(s) : status);
    }
    if (status == MEP_OK)
        *kv = &s->base;
    else if (s != NULL)
        destroy(&s->base);
    return status;
}

int64_t mep_kv_sequence_begin(mep_kv *kv)
{
    kv_sequence *s = (kv_sequence *)kv;
    s->done = 0;
    return s->end - s->first;
}

mep_status mep_kv_sequence_finish(mep_kv *kv)
{
    kv_sequence *s = (kv_sequence *)kv;
    for (; s->done < s->layers && !s->group->broken; s->done++) {
        lay_out(s, s->done);
        if (s->has_gate) MEP_TRY(chain_gates(s, NULL));
        MEP_TRY(exchange(s, s->done));
    }
    return MEP_OK;
}
