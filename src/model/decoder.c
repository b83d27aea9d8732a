/* SPDX-License-Identifier: MIT */
/*
 * The public decoder: a session whose keys and values are a group of caches (kv_group.c).
 */
#include "mep/decoder.h"

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "model/forward_pass.h"
#include "model/kv_windows.h"
#include "model/session.h"

struct mep_decoder {
    mep_decoder_settings settings;
    mep_session *session;
    int64_t *length; /* [sequences]; BROKEN after a failure */
    int64_t *seen;   /* [sequences]: number of the last step of the sequence */
    int64_t steps;
};

enum { BROKEN = -2 };

void mep_decoder_defaults(mep_decoder_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_decoder_settings){.sequences = 1, .max_tokens = 4096, .chunk = 512};
}

static mep_status check_settings(const mep_decoder_settings *s)
{
    const int64_t most = (int64_t)1 << 30;
    if (s->sequences < 1 || s->sequences > most || s->chunk < 1 || s->chunk > most || s->max_tokens < 1 ||
        s->max_tokens > MEP_GENERATE_ENDLESS)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a decoder needs sequences and chunk from 1 to 2^30 and max_tokens from 1 to 2^62, found %lld, "
                        "%lld, %lld",
                        (long long)s->sequences, (long long)s->chunk, (long long)s->max_tokens);
    if (!(s->tolerance >= 0 && s->tolerance < 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "a decoder needs a tolerance in [0, 1), found %g", s->tolerance);
    return MEP_OK;
}

static mep_status open_session(mep_decoder *d, mep_model *model)
{
    const mep_decoder_settings *s = &d->settings;
    mep_session_settings settings;
    mep_session_defaults(&settings);
    settings.length = max_i64(min_i64(s->chunk, s->max_tokens), s->sequences);
    settings.dtype = s->dtype;
    settings.tolerance = s->tolerance;
    if (!model->all_bias && s->max_tokens > MEP_MOST_POSITIONS) return mep_model_fail_no_reach(model);
    int64_t longest = model->all_bias ? settings.length : s->max_tokens;
    MEP_TRY(mep_session_open(&d->session, model, &settings, longest, 1));
    d->session->text_length = s->max_tokens;
    mep_kv_settings kv = mep_session_kv_settings(d->session, s->max_tokens);
    return mep_kv_group_create(&d->session->kv, &kv, s->sequences);
}

mep_status mep_decoder_create(mep_decoder **decoder, mep_model *model, const mep_decoder_settings *settings)
{
    MEP_REQUIRE(decoder, model, settings);
    mep_decoder *d = NULL;
    mep_status status;
    *decoder = NULL;
    MEP_TRY(check_settings(settings));
    MEP_TRY(MEP_ALLOC(&d, 1));
    d->settings = *settings;
    MEP_TRY_OR(status, open_session(d, model), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&d->length, settings->sequences), failed);
    MEP_TRY_OR(status, MEP_ALLOC(&d->seen, settings->sequences), failed);
    *decoder = d;
    return MEP_OK;
failed:
    mep_decoder_destroy(&d);
    return status;
}

void mep_decoder_destroy(mep_decoder **decoder)
{
    if (decoder == NULL || *decoder == NULL) return;
    mep_session_destroy(&(*decoder)->session);
    mep_free(&(*decoder)->length);
    mep_free(&(*decoder)->seen);
    mep_free(decoder);
}

static mep_status check_sequence(const mep_decoder *d, int64_t sequence, int64_t count)
{
    if (sequence < 0 || sequence >= d->settings.sequences)
        return mep_fail(MEP_ERROR_ARGUMENT, "there is no sequence %lld; the decoder was made for %lld",
                        (long long)sequence, (long long)d->settings.sequences);
    if (d->length[sequence] == BROKEN)
        return mep_fail(MEP_ERROR_ARGUMENT, "a call on sequence %lld failed before: clear it with mep_decoder_clear",
                        (long long)sequence);
    if (count > d->settings.max_tokens - d->length[sequence])
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "sequence %lld has %lld tokens and cannot have %lld more: the decoder was made for max_tokens "
                        "%lld",
                        (long long)sequence, (long long)d->length[sequence], (long long)count,
                        (long long)d->settings.max_tokens);
    return MEP_OK;
}

/* Read `length` tokens of each of `count` sequences. The logits of the last `rows` of all tokens go to `logits`. */
static mep_status pass(mep_decoder *d, int64_t count, const int64_t *sequences, int64_t length, const int32_t *tokens,
                       int64_t rows, float *logits)
{
    mep_session *s = d->session;
    mep_status status;
    MEP_TRY_OR(status, mep_kv_group_select(s->kv, count, sequences), failed);
    MEP_TRY_OR(status, mep_session_begin(s, count, length, tokens), failed);
    MEP_TRY_OR(status, mep_run_layers(s, tokens), failed);
    if (rows > 0) MEP_TRY_OR(status, mep_run_output(s, s->rows - rows, rows, logits), failed);
    for (int64_t b = 0; b < count; b++) d->length[sequences[b]] += length;
    return MEP_OK;
failed:
    for (int64_t b = 0; b < count; b++) d->length[sequences[b]] = BROKEN;
    return status;
}

mep_status mep_decoder_append(mep_decoder *d, int64_t sequence, int64_t count, const int32_t *tokens, int64_t rows,
                              float *logits)
{
    MEP_REQUIRE_AS("decoder, tokens", d, tokens);
    if (rows > 0) MEP_REQUIRE(logits);
    if (count < 1 || rows < 0 || rows > count)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "mep_decoder_append needs count >= 1 and rows from 0 to count, found %lld "
                        "and %lld",
                        (long long)count, (long long)rows);
    MEP_TRY(check_sequence(d, sequence, count));
    MEP_TRY(mep_session_check_tokens(d->session, count, tokens));
    int64_t vocab = d->session->model->config.vocab_size, chunk = d->settings.chunk;
    for (int64_t first = 0; first < count; first += chunk) {
        int64_t size = min_i64(chunk, count - first), wanted = max_i64(0, first + size - (count - rows));
        wanted = min_i64(wanted, size);
        MEP_TRY(pass(d, 1, &sequence, size, tokens + first, wanted, logits));
        if (wanted > 0) logits += wanted * vocab;
    }
    return MEP_OK;
}

mep_status mep_decoder_step(mep_decoder *d, int64_t count, const int64_t *sequences, const int32_t *tokens,
                            float *logits)
{
    MEP_REQUIRE_AS("decoder, sequences, tokens, logits", d, sequences, tokens, logits);
    if (count < 1 || count > d->settings.sequences)
        return mep_fail(MEP_ERROR_ARGUMENT, "a step of %lld sequences; the decoder was made for %lld", (long long)count,
                        (long long)d->settings.sequences);
    d->steps++;
    for (int64_t b = 0; b < count; b++) {
        MEP_TRY(check_sequence(d, sequences[b], 1));
        if (d->seen[sequences[b]] == d->steps)
            return mep_fail(MEP_ERROR_ARGUMENT, "sequence %lld is in the step twice", (long long)sequences[b]);
        d->seen[sequences[b]] = d->steps;
    }
    MEP_TRY(mep_session_check_tokens(d->session, count, tokens));
    return pass(d, count, sequences, 1, tokens, count, logits);
}

mep_status mep_decoder_copy(mep_decoder *d, int64_t to, int64_t from)
{
    MEP_REQUIRE_AS("decoder", d);
    MEP_TRY(check_sequence(d, from, 0));
    if (to < 0 || to >= d->settings.sequences) return check_sequence(d, to, 0);
    mep_status status = mep_kv_group_copy(d->session->kv, to, from);
    d->length[to] = status == MEP_OK ? d->length[from] : 0;
    return status;
}

mep_status mep_decoder_clear(mep_decoder *d, int64_t sequence)
{
    MEP_REQUIRE_AS("decoder", d);
    if (sequence < 0 || sequence >= d->settings.sequences) return check_sequence(d, sequence, 0);
    mep_kv_group_clear(d->session->kv, sequence);
    d->length[sequence] = 0;
    return MEP_OK;
}

int64_t mep_decoder_length(const mep_decoder *d, int64_t sequence)
{
    if (d == NULL || sequence < 0 || sequence >= d->settings.sequences) return -1;
    return d->length[sequence] == BROKEN ? 0 : d->length[sequence];
}
