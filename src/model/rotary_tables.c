/* SPDX-License-Identifier: MIT */
/*
 * Tables of cosines and sines of a session's rotations. Entries of the position with the same options share a pair.
 */
#include "model/rotary_tables.h"

#include "base/device_memory.h"
#include "base/error.h"
#include "model/session_memory.h"

static const mep_position_entry *entry_of(const mep_session *s, int index)
{
    return &s->model->position->entries[index];
}

static int rotates(const mep_session *s, int index)
{
    return entry_of(s, index)->kind == MEP_POSITION_ROTARY;
}

/* The first entry that has the rotation of this one. */
static int first_with(const mep_session *s, int index)
{
    for (int i = 0; i < index; i++)
        if (rotates(s, i) && mep_rotary_same(&entry_of(s, i)->rotary, &entry_of(s, index)->rotary)) return i;
    return index;
}

/* Compute a pair of tables for a text of `length` tokens. */
static mep_status compute(mep_session *s, int index, int64_t length)
{
    mep_rotary_table *t = &s->positions.rotary[index];
    const mep_rotary_options *options = &entry_of(s, index)->rotary;
    const mep_rotary_model model = mep_rotary_model_of(&s->model->config, options);
    int64_t effective = mep_rotary_effective_length(options, &model, length), pairs = t->dims / 2;
    double factor = 1;
    if (effective == t->length) return MEP_OK;
    t->length = effective;
    mep_rotary_frequencies(options, &model, length, s->positions.frequency, &factor);
    mep_rotary_tables(s->longest, pairs, s->positions.frequency, factor, t->host_cosine, t->host_sine);
    if (t->cosine == t->host_cosine) return MEP_OK;
    int64_t bytes = s->longest * pairs * (int64_t)sizeof *t->cosine;
    MEP_TRY(mep_device_write(s->settings.device, t->cosine, t->host_cosine, bytes));
    return mep_device_write(s->settings.device, t->sine, t->host_sine, bytes);
}

/* In host memory, and in the device's where it has its own. */
static mep_status allocate(mep_session *s, mep_rotary_table *t, int64_t dims)
{
    int64_t longest = s->longest, pairs = dims / 2;
    t->dims = dims;
    t->length = -1;
    MEP_TRY(mep_session_host(s, &t->host_cosine, longest, pairs, sizeof *t->host_cosine));
    MEP_TRY(mep_session_host(s, &t->host_sine, longest, pairs, sizeof *t->host_sine));
    t->cosine = t->host_cosine;
    t->sine = t->host_sine;
    if (mep_device_is_host(s->settings.device)) return MEP_OK;
    MEP_TRY(mep_session_floats(s, &t->cosine, longest, pairs));
    return mep_session_floats(s, &t->sine, longest, pairs);
}

mep_status mep_rotary_tables_allocate(mep_session *s)
{
    const mep_model_config *c = &s->model->config;
    mep_position_tables *p = &s->positions;
    if (!mep_model_has_kind(s->model, MEP_POSITION_ROTARY)) return MEP_OK;
    MEP_TRY(mep_session_host(s, &p->rotary, s->model->position->count, 1, sizeof *p->rotary));
    MEP_TRY(mep_session_host(s, &p->frequency, mep_head_dim(c), 1, sizeof *p->frequency));
    for (int i = 0; i < s->model->position->count; i++) {
        if (!rotates(s, i)) continue;
        int first = first_with(s, i);
        p->rotary[i].same_as = first;
        if (first != i) continue;
        MEP_TRY(allocate(s, &p->rotary[i], mep_rotary_model_of(c, &entry_of(s, i)->rotary).dims));
        MEP_TRY(compute(s, i, s->longest));
    }
    return MEP_OK;
}

mep_status mep_rotary_tables_update(mep_session *s)
{
    int64_t length = s->text_length > 0 ? s->text_length : s->length;
    for (int i = 0; s->positions.rotary != NULL && i < s->model->position->count; i++)
        if (s->positions.rotary[i].dims > 0) MEP_TRY(compute(s, i, length));
    return MEP_OK;
}

void mep_rotate(mep_session *s, int64_t layer, const mep_rotated *r)
{
    const mep_model_config *c = &s->model->config;
    const mep_tensor_view *views[] = {r->q, r->k};
    const int64_t heads[] = {c->num_attention_heads, mep_key_value_heads(c)};
    int64_t index = layer % s->model->position->count;
    if (!rotates(s, (int)index)) return;
    const mep_rotary_table *t = &s->positions.rotary[s->positions.rotary[index].same_as];
    int64_t parts = s->kv->positions != NULL ? s->batch : 1, rows = s->rows / parts;
    for (int i = 0; i < 2; i++)
        for (int64_t b = 0; b < parts; b++) {
            int64_t at = b * rows * views[i]->token_stride * mep_dtype_size(r->dtype);
            s->nn->rotary_apply(s->state, &(mep_rotary){.rows = rows,
                                                        .length = s->length,
                                                        .first = mep_kv_position(s->kv, b),
                                                        .heads = heads[i],
                                                        .dims = t->dims,
                                                        .cosine = t->cosine,
                                                        .sine = t->sine,
                                                        .inverse = r->inverse,
                                                        .x = {(char *)views[i]->data + at, r->dtype},
                                                        .row_stride = views[i]->token_stride,
                                                        .head_stride = views[i]->head_stride});
        }
}
