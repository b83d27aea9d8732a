/* SPDX-License-Identifier: MIT */
/*
 * The work of a forward pass, from the layout's counts and the fraction of key blocks that attention computed last.
 */
#include "model/pass_work.h"

#include "base/device_memory.h"
#include "base/integer.h"

int64_t mep_chunk_rows(int64_t all, int64_t most)
{
    int64_t chunks = ceil_div(all, most);
    return min_i64(round_up(ceil_div(all, chunks), 64), most);
}

int64_t mep_watched_rows(const mep_session *s)
{
    const mep_model_config *c = &s->model->config;
    if (s->watch == NULL || !mep_device_is_host(s->settings.device)) return s->rows;
    int64_t largest = max_i64(mep_kind_values(c, QKV_WEIGHT), mep_kind_values(c, UP_WEIGHT)); /* of the products */
    return mep_chunk_rows(s->rows, max_i64(s->watch->operations / (2 * largest) / 64 * 64, 64));
}

/* Of one layer. */
static mep_token_work expected_work(const mep_session *s)
{
    mep_token_work w = mep_token_work_of(&s->model->config);
    w.attention *= ((double)s->kv->position + (double)s->length / 2) * s->kv->computed_fraction;
    return w;
}

void mep_attention_fractions(const mep_session *s, double *begin, double *end)
{
    mep_token_work w = expected_work(s);
    double all = w.before + w.attention + w.after;
    *begin = w.before / all;
    *end = (w.before + w.attention) / all;
}

double mep_layers_fraction(const mep_session *s, int64_t output_rows)
{
    mep_token_work w = expected_work(s);
    double rows = (double)s->rows,
           layers = (double)s->model->config.num_hidden_layers * rows * (w.before + w.attention + w.after);
    return layers / (layers + (double)output_rows * w.output);
}
