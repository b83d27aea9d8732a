/* SPDX-License-Identifier: MIT */
/*
 * Generation with a key/value cache: the prompt in chunks, then token by token.
 */
#include <math.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/watch.h"
#include "model/forward_pass.h"
#include "model/sample.h"
#include "model/session.h"

enum { PROMPT_CHUNK = 512 };

void mep_generate_defaults(mep_generate_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_generate_settings){.max_tokens = 256, .temperature = 1, .top_p = 1, .stop_token = -1};
}

static mep_status check(const mep_model *model, int64_t count, const mep_generate_settings *s)
{
    if (count < 1 || count > (int64_t)1 << 30)
        return mep_fail(MEP_ERROR_ARGUMENT, "generation needs a prompt of 1 to 2^30 tokens");
    if (s->max_tokens > MEP_GENERATE_ENDLESS)
        return mep_fail(MEP_ERROR_ARGUMENT, "generation of %lld tokens is longer than 2^62; ask for fewer",
                        (long long)s->max_tokens);
    if (s->max_tokens < 0 || !(s->temperature >= 0 && isfinite(s->temperature)) || s->top_k < 0 ||
        !(s->top_p > 0 && s->top_p <= 1))
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "generation needs max_tokens and top_k of 0 or more, a temperature of 0 or more, and top_p in (0, 1]");
    if (!(s->tolerance >= 0 && s->tolerance < 1))
        return mep_fail(MEP_ERROR_ARGUMENT, "generation needs a tolerance in [0, 1), found %g", s->tolerance);
    if (s->vocab_limit < 0 || s->vocab_limit > model->config.vocab_size)
        return mep_fail(MEP_ERROR_ARGUMENT, "vocab_limit %lld is not in 0 .. %lld", (long long)s->vocab_limit,
                        (long long)model->config.vocab_size);
    return MEP_OK;
}

typedef struct generation {
    const mep_generate_settings *settings;
    mep_session *session;
    int64_t vocab, limit;
    float *logits; /* [vocab] */
    mep_candidate *candidates;
    mep_prompt_fn reading; /* NULL: nothing is reported */
    mep_token_fn token;
    void *context;
    int64_t count; /* tokens of the prompt */
} generation;

static int report(void *context, double fraction)
{
    const generation *g = context;
    return g->reading(g->context, (int64_t)(fraction * (double)g->count), g->count) != 0;
}

static mep_status read_prompt(generation *g, const int32_t *prompt)
{
    mep_watch watch;
    mep_status status = MEP_OK;
    mep_watch_begin(&watch, "the reading of the prompt", report, g);
    if (g->reading != NULL) mep_session_set_watch(g->session, &watch);
    for (int64_t first = 0; first < g->count && status == MEP_OK; first += PROMPT_CHUNK) {
        int64_t size = min_i64(g->count - first, PROMPT_CHUNK);
        mep_watch_section all =
            mep_watch_enter(&watch, (double)first / (double)g->count, (double)(first + size) / (double)g->count);
        status = mep_session_next(g->session, size, prompt + first, g->logits);
        mep_watch_leave(&watch, all);
    }
    mep_session_set_watch(g->session, NULL);
    return status;
}

static mep_status run(generation *g, const int32_t *prompt)
{
    MEP_TRY(read_prompt(g, prompt));
    for (int64_t i = 0; i < g->settings->max_tokens; i++) {
        int32_t next = 0;
        MEP_TRY(mep_sample(g->settings, g->limit, g->logits, i, g->candidates, &next));
        if (next == g->settings->stop_token || g->token(g->context, next) != 0) return MEP_OK;
        if (i + 1 == g->settings->max_tokens) return MEP_OK;
        MEP_TRY(mep_session_next(g->session, 1, &next, g->logits));
    }
    return MEP_OK;
}

mep_status mep_generate_reporting(mep_model *model, const int32_t *prompt, int64_t count,
                                  const mep_generate_settings *settings, mep_prompt_fn reading, mep_token_fn token,
                                  void *context)
{
    MEP_REQUIRE_AS("model, settings, token", model, settings, (const void *)token);
    if (count > 0) MEP_REQUIRE(prompt);
    MEP_TRY(check(model, count, settings));
    generation g = {.settings = settings,
                    .vocab = model->config.vocab_size,
                    .reading = reading,
                    .token = token,
                    .context = context,
                    .count = count};
    g.limit = settings->vocab_limit > 0 ? settings->vocab_limit : g.vocab;
    mep_session_settings s;
    mep_session_defaults(&s);
    s.length = min_i64(count, PROMPT_CHUNK);
    s.dtype = settings->dtype;
    s.tolerance = settings->tolerance;
    s.device = settings->device;
    int64_t tokens = count + (settings->max_tokens > 0 ? settings->max_tokens - 1 : 0); /* the last is not read */
    mep_status status = MEP_OK;
    MEP_TRY_OR(status, mep_session_create_cached(&g.session, model, &s, tokens, 0), done);
    MEP_TRY_OR(status, MEP_ALLOC(&g.logits, g.vocab), done);
    MEP_TRY_OR(status, MEP_ALLOC(&g.candidates, g.vocab), done);
    status = run(&g, prompt);
done:
    mep_session_destroy(&g.session);
    mep_free(&g.logits);
    mep_free(&g.candidates);
    return status;
}

mep_status mep_generate(mep_model *model, const int32_t *prompt, int64_t count, const mep_generate_settings *settings,
                        mep_token_fn token, void *context)
{
    MEP_REQUIRE_AS("model, settings, token", model, settings, (const void *)token);
    if (count > 0) MEP_REQUIRE(prompt);
    return mep_generate_reporting(model, prompt, count, settings, NULL, token, context);
}
