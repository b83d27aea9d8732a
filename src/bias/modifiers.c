/* SPDX-License-Identifier: MIT */
/*
 * The modifiers of a position encoding: a row each, which parses and prints it. What they compute is in
 * attention/content.h and model/content_terms.h.
 */
#include "bias/position.h"

#include <string.h>

#include "base/error.h"
#include "base/number.h"

enum { MOST_RANK = 256, MOST_EXTENT = 1 << 20 };

/* The default of FoX (arXiv:2503.02130): gates begin near 1. */
#define FORGET_INITIAL 5.0

static mep_status add_number(mep_string_builder *t, const char *before, double value)
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, value);
    return mep_string_add(t, "%s%s", before, number);
}

/* The word that follows, and a step over it. */
static int accept_word(mep_spec_reader *r, const char *word)
{
    mep_spec_skip_space(r);
    int length = mep_spec_word(r);
    if (!mep_spec_is_word(word, r->at, length)) return 0;
    r->at += length;
    mep_spec_skip_space(r);
    return 1;
}

static mep_status twice(const mep_spec_reader *r, const char *at, const char *name)
{
    return mep_spec_fail(r, at, "", "\"%s\" is given twice", name);
}

/* ---- learn ---- */

static mep_status parse_learn(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->kind != MEP_POSITION_BIAS) return mep_spec_fail(r, at, "", "\"learn\" needs a distance bias");
    if (e->mixture.learn != 0) return twice(r, at, "learn");
    return mep_spec_parse_learn(r, &e->mixture);
}

/* It is printed with the mixture. */
static mep_status print_learn(mep_string_builder *t, const mep_position_entry *e)
{
    (void)t;
    (void)e;
    return MEP_OK;
}

/* ---- weights=query ---- */

static mep_status parse_weights(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (!mep_spec_accept(r, "=") || !accept_word(r, "query"))
        return mep_spec_fail(r, r->at, "", "expected \"weights=query\"");
    if (e->weights_query) return twice(r, at, "weights");
    if (e->kind != MEP_POSITION_BIAS || e->mixture.count < 2)
        return mep_spec_fail(r, at, "", "\"weights=query\" needs a mixture of two kernels or more");
    e->weights_query = 1;
    return MEP_OK;
}

static mep_status print_weights(mep_string_builder *t, const mep_position_entry *e)
{
    return e->weights_query ? mep_string_add(t, "/weights=query") : MEP_OK;
}

/* ---- forget ---- */

static mep_status parse_forget(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->forget) return twice(r, at, "forget");
    e->forget = e->forget_bias = 1;
    e->forget_initial = FORGET_INITIAL;
    if (!mep_spec_accept(r, ":")) return MEP_OK;
    if (!accept_word(r, "bias") || !mep_spec_accept(r, "="))
        return mep_spec_fail(r, r->at, "", "expected \"forget:bias=NUMBER\" or \"forget:bias=none\"");
    if (accept_word(r, "none")) {
        e->forget_bias = 0;
        return MEP_OK;
    }
    const char *number = r->at;
    MEP_TRY(mep_spec_number(r, &e->forget_initial));
    if (e->forget_initial >= -100 && e->forget_initial <= 100) return MEP_OK;
    return mep_spec_fail(r, number, "", "\"bias\" must be from -100 to 100, but is %g", e->forget_initial);
}

static mep_status print_forget(mep_string_builder *t, const mep_position_entry *e)
{
    if (!e->forget) return MEP_OK;
    MEP_TRY(mep_string_add(t, "/forget"));
    if (!e->forget_bias) return mep_string_add(t, ":bias=none");
    return e->forget_initial == FORGET_INITIAL ? MEP_OK : add_number(t, ":bias=", e->forget_initial);
}

/* ---- profiles ---- */

/* The rank of Inkling's relative logits. */
enum { DEFAULT_RANK = 16 };

static mep_status parse_profiles(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->rank > 0) return twice(r, at, "profiles");
    int seen[2] = {0};
    e->rank = DEFAULT_RANK;
    if (!mep_spec_accept(r, ":")) return MEP_OK;
    do {
        const char *option = r->at;
        int is_rank = accept_word(r, "rank");
        if ((!is_rank && !accept_word(r, "extent")) || !mep_spec_accept(r, "="))
            return mep_spec_fail(r, option, "options: rank, extent", "expected an option of \"profiles\"");
        if (seen[is_rank]++) return twice(r, option, is_rank ? "rank" : "extent");
        MEP_TRY(is_rank ? mep_spec_integer(r, "rank", MOST_RANK, &e->rank)
                        : mep_spec_integer(r, "extent", MOST_EXTENT, &e->extent));
    } while (mep_spec_accept(r, ","));
    return MEP_OK;
}

static mep_status print_profiles(mep_string_builder *t, const mep_position_entry *e)
{
    const char *before = ":";
    if (e->rank == 0) return MEP_OK;
    MEP_TRY(mep_string_add(t, "/profiles"));
    if (e->rank != DEFAULT_RANK) {
        MEP_TRY(mep_string_add(t, "%srank=%lld", before, (long long)e->rank));
        before = ",";
    }
    return e->extent > 0 ? mep_string_add(t, "%sextent=%lld", before, (long long)e->extent) : MEP_OK;
}

/* ---- scale ---- */

static mep_status parse_scale(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->scale != MEP_SCALE_NONE) return twice(r, at, "scale");
    if (!mep_spec_accept(r, "=")) return mep_spec_fail(r, r->at, "", "expected \"scale=ssmax\" or \"scale=logn\"");
    if (accept_word(r, "ssmax")) {
        e->scale = MEP_SCALE_SSMAX;
        return MEP_OK;
    }
    if (!accept_word(r, "logn")) return mep_spec_fail(r, r->at, "", "expected \"ssmax\" or \"logn\"");
    e->scale = MEP_SCALE_LOGN;
    if (!mep_spec_accept(r, ":")) return MEP_OK;
    MEP_TRY(mep_spec_integer(r, "logn", (int64_t)1 << 31, &e->logn));
    return e->logn >= 2 ? MEP_OK : mep_spec_fail(r, at, "", "the length of \"logn\" must be 2 or more");
}

static mep_status print_scale(mep_string_builder *t, const mep_position_entry *e)
{
    if (e->scale == MEP_SCALE_NONE) return MEP_OK;
    if (e->scale == MEP_SCALE_SSMAX) return mep_string_add(t, "/scale=ssmax");
    MEP_TRY(mep_string_add(t, "/scale=logn"));
    return e->logn > 0 ? mep_string_add(t, ":%lld", (long long)e->logn) : MEP_OK;
}

/* ---- sink, window ---- */

static mep_status parse_sink(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->sink) return twice(r, at, "sink");
    e->sink = 1;
    return MEP_OK;
}

static mep_status print_sink(mep_string_builder *t, const mep_position_entry *e)
{
    return e->sink ? mep_string_add(t, "/sink") : MEP_OK;
}

static mep_status parse_window(mep_spec_reader *r, const char *at, mep_position_entry *e)
{
    if (e->window > 0) return twice(r, at, "window");
    if (!mep_spec_accept(r, "=")) return mep_spec_fail(r, r->at, "", "expected \"window=LENGTH\"");
    return mep_spec_integer(r, "window", (int64_t)1 << 31, &e->window);
}

static mep_status print_window(mep_string_builder *t, const mep_position_entry *e)
{
    return e->window > 0 ? mep_string_add(t, "/window=%lld", (long long)e->window) : MEP_OK;
}

const mep_modifier mep_modifiers[] = {
    {"learn", "=weights,slopes", "learn the weights of a mixture, the slopes of its kernels", parse_learn, print_learn},
    {"weights", "=query", "weights of a mixture that depend on the query", parse_weights, print_weights},
    {"forget", "[:bias=B|none]", "a forget gate per token (FoX; without a bias: CABLE)", parse_forget, print_forget},
    {"profiles", "[:rank=M,extent=E]", "learned profiles of the distance, weighted by the query (Inkling)",
     parse_profiles, print_profiles},
    {"scale", "=ssmax|logn[:N]", "queries scaled by the logarithm of their position (SSMax, log-n)", parse_scale,
     print_scale},
    {"sink", "", "a learned attention sink per head (gpt-oss)", parse_sink, print_sink},
    {"window", "=W", "only the last W keys", parse_window, print_window},
    {NULL, NULL, NULL, NULL, NULL},
};
