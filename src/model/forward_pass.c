/* SPDX-License-Identifier: MIT */
/*
 * The forward pass: embedding, blocks, final norm, and the output layer in chunks of rows.
 */
#include "model/forward_pass.h"

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "model/pass_work.h"

/* ---- Layers ---- */

mep_norm_state mep_norm_final(const mep_session *s)
{
    return (mep_norm_state){.weight = s->model->first[FINAL_NORM_WEIGHT],
                            .bias = s->model->first[FINAL_NORM_BIAS],
                            .mean = s->mean_final,
                            .rstd = s->rstd_final};
}

mep_norm_state mep_norm_embed(const mep_session *s)
{
    return (mep_norm_state){.weight = s->model->first[EMBED_NORM_WEIGHT],
                            .bias = s->model->first[EMBED_NORM_BIAS],
                            .mean = s->mean_embed,
                            .rstd = s->rstd_embed};
}

/* tokens (host) -> x[0] */
static mep_status embed(mep_session *s, const int32_t *tokens)
{
    const mep_model *m = s->model;
    const mep_row_range all = {0, s->rows};
    int64_t hidden = m->config.hidden_size, learned = m->first[EMBED_POSITIONS];
    const float *positions = learned >= 0 ? mep_session_values(s, learned) : s->positions.added;
    float *embedded = m->config.embedding_layer_norm ? s->x_embed : s->x[0];
    MEP_TRY(mep_device_write(s->settings.device, s->inputs, tokens, s->rows * (int64_t)sizeof *tokens));
    /* sequences at different positions are embedded one by one */
    int64_t parts = s->kv->positions != NULL && positions != NULL ? s->batch : 1, rows = s->rows / parts;
    for (int64_t b = 0; b < parts; b++) {
        const mep_embedding e = {.count = rows, .length = s->length, .width = hidden, .tokens = s->inputs + b * rows};
        s->nn->embedding_forward(s->state, &e, mep_session_values(s, m->first[EMBED_IN]),
                                 positions != NULL ? positions + mep_kv_position(s->kv, b) * hidden : NULL,
                                 embedded + b * rows * hidden);
    }
    const mep_norm_state norm = mep_norm_embed(s);
    if (m->config.embedding_layer_norm) mep_normalize(s, all, embedded, &norm, (mep_activation){s->x[0], MEP_FLOAT32});
    return MEP_OK;
}

mep_status mep_run_layers(mep_session *s, const int32_t *tokens)
{
    const mep_row_range all = {0, s->rows};
    const mep_norm_state norm = mep_norm_final(s);
    int64_t count = s->model->config.num_hidden_layers;
    for (int64_t b = 0; !s->model->all_bias && b < s->batch; b++)
        if (mep_kv_position(s->kv, b) + s->length > s->longest) return mep_kv_fail_full(s->longest);
    MEP_TRY(s->kv->functions->reserve(s->kv, s->length));
    MEP_TRY(embed(s, tokens));
    for (int64_t l = 0; l < count; l++) {
        mep_watch_section part = mep_watch_enter(s->watch, (double)l / (double)count, (double)(l + 1) / (double)count);
        mep_status status = mep_block_forward(s, l, 0);
        mep_watch_leave(s->watch, part);
        MEP_TRY(status);
    }
    mep_normalize(s, all, s->x[count], &norm, s->norm_final);
    s->kv->functions->advance(s->kv, s->length);
    return MEP_OK;
}

/* ---- Output ---- */

mep_status mep_run_output(mep_session *s, int64_t first, int64_t count, float *logits)
{
    const mep_model_config *c = &s->model->config;
    const mep_gemm g = {.m = count,
                        .n = c->vocab_size,
                        .k = c->hidden_size,
                        .a = mep_activation_matrix(s->norm_final, first, c->hidden_size, 0),
                        .b = mep_session_weight(s, s->model->first[EMBED_OUT], 1),
                        .c = {.data = logits, .dtype = MEP_FLOAT32, .stride = c->vocab_size}};
    return s->nn->gemm(s->state, &g);
}

/* The same into host memory: directly where the device has it, otherwise through the session's chunk. */
static mep_status read_logits(mep_session *s, int64_t first, int64_t count, float *logits)
{
    int64_t vocab = s->model->config.vocab_size;
    if (mep_device_is_host(s->settings.device)) return mep_run_output(s, first, count, logits);
    for (int64_t done = 0; done < count; done += s->logit_rows) {
        int64_t rows = min_i64(count - done, s->logit_rows);
        MEP_TRY(mep_run_output(s, first + done, rows, s->logits));
        MEP_TRY(mep_device_read(s->settings.device, logits + done * vocab, s->logits,
                                rows * vocab * (int64_t)sizeof *logits));
    }
    return MEP_OK;
}

mep_status mep_session_logits(mep_session *s, int64_t batch, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_REQUIRE_AS("session, tokens, logits", s, tokens, logits);
    MEP_TRY(mep_session_begin(s, batch, length, tokens));
    MEP_TRY(mep_session_load(s));
    MEP_TRY(mep_session_refresh(s));
    MEP_TRY(mep_run_layers(s, tokens));
    return read_logits(s, 0, s->rows, logits);
}

mep_status mep_session_next(mep_session *s, int64_t length, const int32_t *tokens, float *logits)
{
    MEP_TRY(mep_session_begin(s, 1, length, tokens));
    MEP_TRY(mep_run_layers(s, tokens));
    return read_logits(s, s->rows - 1, 1, logits);
}

/* ---- Losses ---- */

mep_status mep_write_targets(mep_session *s, const int32_t *targets)
{
    for (int64_t i = 0; i < s->rows; i++)
        if (targets[i] != MEP_TARGET_NONE && (targets[i] < 0 || targets[i] >= s->model->config.vocab_size))
            return mep_fail(MEP_ERROR_ARGUMENT, "target token %d is not in the model's vocabulary of %lld",
                            (int)targets[i], (long long)s->model->config.vocab_size);
    return mep_device_write(s->settings.device, s->targets, targets, s->rows * (int64_t)sizeof *targets);
}

mep_status mep_read_losses(mep_session *s, float *losses)
{
    return mep_device_read(s->settings.device, losses, s->losses, s->rows * (int64_t)sizeof *losses);
}

/* The losses of all rows, in chunks of the output layer. */
static mep_status score_rows(mep_session *s)
{
    int64_t size = mep_chunk_rows(s->rows, s->logit_rows);
    for (int64_t first = 0; first < s->rows; first += size) {
        int64_t count = min_i64(s->rows - first, size);
        if (mep_watch_ask(s->watch, (double)first / (double)s->rows)) return mep_watch_status(s->watch);
        MEP_TRY(mep_run_output(s, first, count, s->logits));
        s->nn->cross_entropy(s->state, &(mep_cross_entropy_call){.rows = count,
                                                                 .vocab = s->model->config.vocab_size,
                                                                 .logits = s->logits,
                                                                 .targets = s->targets + first,
                                                                 .losses = s->losses + first});
    }
    return MEP_OK;
}

mep_status mep_session_score(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                             const int32_t *targets, float *losses)
{
    MEP_TRY(mep_session_begin(s, batch, length, inputs));
    MEP_TRY(mep_write_targets(s, targets));
    double layers = mep_layers_fraction(s, s->rows);
    mep_watch_section part = mep_watch_enter(s->watch, 0, layers);
    mep_status status = mep_run_layers(s, inputs);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    part = mep_watch_enter(s->watch, layers, 1);
    status = score_rows(s);
    mep_watch_leave(s->watch, part);
    MEP_TRY(status);
    return mep_read_losses(s, losses);
}

mep_status mep_session_losses(mep_session *s, int64_t batch, int64_t length, const int32_t *inputs,
                              const int32_t *targets, float *losses)
{
    MEP_REQUIRE_AS("session, inputs, targets, losses", s, inputs, targets, losses);
    MEP_TRY(mep_session_begin(s, batch, length, inputs)); /* checked before anything is copied */
    MEP_TRY(mep_session_load(s));
    MEP_TRY(mep_session_refresh(s));
    return mep_session_score(s, batch, length, inputs, targets, losses);
}
