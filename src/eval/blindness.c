/* SPDX-License-Identifier: MIT */
/*
 * The blindness of layers and heads: the fraction of the keys with weight 0, and the distances within which 50, 90 and
 * 99 % of the weight are. The attention weights are those of attention_scores.h, for a few queries near the end of each
 * segment.
 */
#include <math.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/watch.h"
#include "eval/attention_scores.h"
#include "eval/measure_draft.h"
#include "model/forward_pass.h"
#include "model/session.h"

enum { QUERIES = 32 /* of a segment, at most */, VALUES = 4 };

/* The kernels' exponential is exactly 0 below this (base/simd.h). */
static const double EXP_ZERO = -87.3;

/* Relative difference of log-sum-exps that rounding can make, in bfloat16 too. */
static const double TOLERANCE = 0.01;

static const char *const NAMES[VALUES] = {"zero", "d50", "d90", "d99"};
static const double HELD[VALUES] = {0, 0.5, 0.9, 0.99}; /* fractions of the weight; the first value is another one */

typedef struct blindness {
    const mep_measure_call *call;
    int64_t layers, heads, length;
    int64_t segments, queries; /* queries of each segment */
    mep_session *session;
    int32_t *tokens; /* [length + 1] */
    float *losses;   /* [length] */
    mep_attention_scores reference;
    double *scores;  /* [queries, length] scratch, a row per query */
    double *found;   /* [queries, VALUES] of a head */
    double *errors;  /* [queries]: how far the sum of the scores is from the one that the kernels computed */
    double *means;   /* [layers, heads, VALUES, segments] over the queries of a segment */
    int64_t segment; /* the current one */
    mep_watch watch;
} blindness;

/* ---- Weights ---- */

/* Queries are evenly spaced over the last quarter of the segment, and the last one is its end. */
static int64_t position_of(const blindness *b, int64_t query)
{
    int64_t range = max_i64(b->length / 4, 1);
    return b->length - 1 - (b->queries - 1 - query) * range / b->queries;
}

/* The values of one query. A distance that holds a fraction of the weight is the number of the nearest keys that do. */
static void examine(const blindness *b, int64_t layer, int64_t head, int64_t query, double *scores, double *values)
{
    int64_t position = position_of(b, query), zeros = 0, next = 1;
    double sink = mep_attention_scores_row(&b->reference, head, position, scores), highest = sink, sum = 0, held = 0;
    for (int64_t d = 0; d <= position; d++) highest = fmax(highest, scores[d]);
    for (int64_t d = 0; d <= position; d++) {
        zeros += scores[d] - highest < EXP_ZERO;
        scores[d] = exp(scores[d] - highest);
        sum += scores[d];
    }
    values[0] = (double)zeros / (double)(position + 1);
    for (int64_t d = 0; d <= position; d++) {
        held += scores[d];
        for (; next < VALUES && held >= HELD[next] * sum; next++) values[next] = (double)(d + 1);
    }
    for (; next < VALUES; next++) values[next] = (double)(position + 1); /* rounding */
    double lse = (double)b->session->layer[layer].lse[head * b->length + position];
    b->errors[query] = fabs(highest + log(sum + exp(sink - highest)) - lse) / (1 + fabs(lse));
}

/* Every log-sum-exp must be the one of the pass; otherwise the scores have a term that the reference does not know. */
static mep_status check_scores(const blindness *b, int64_t layer, int64_t head)
{
    for (int64_t q = 0; q < b->queries; q++)
        if (!(b->errors[q] < TOLERANCE))
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "the attention weights of layer %lld, head %lld have a term that the blindness report does "
                            "not know",
                            (long long)layer, (long long)head);
    return MEP_OK;
}

/* Find the values of every query in each head of a layer, and their means over the queries. */
static mep_status examine_layer(blindness *b, int64_t layer)
{
    mep_attention_scores_set_layer(&b->reference, layer);
    for (int64_t head = 0; head < b->heads; head++) {
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t q = 0; q < b->queries; q++)
            examine(b, layer, head, q, b->scores + q * b->length, b->found + q * VALUES);
        MEP_TRY(check_scores(b, layer, head));
        for (int v = 0; v < VALUES; v++) {
            double sum = 0;
            for (int64_t q = 0; q < b->queries; q++) sum += b->found[q * VALUES + v];
            b->means[((layer * b->heads + head) * VALUES + v) * b->segments + b->segment] = sum / (double)b->queries;
        }
    }
    return MEP_OK;
}

/* ---- Segments ---- */

static int report(const blindness *b, double segments)
{
    double length = (double)b->length;
    if (b->call->progress == NULL) return 0;
    return b->call->progress(b->call->context, (int64_t)(segments * length), b->segments * b->length, NAN) != 0;
}

static int report_within(void *context, double fraction)
{
    const blindness *b = context;
    return report(b, (double)b->segment + fraction);
}

/* Segments begin at evenly spaced tokens of the data. */
static mep_status run_segment(blindness *b)
{
    int64_t room = mep_measure_tokens(b->call) - b->length - 1;
    int64_t start = b->segments > 1 ? room * b->segment / (b->segments - 1) : 0;
    MEP_TRY(mep_dataset_read(b->call->data, start, b->length + 1, b->tokens));
    mep_watch_section section = mep_watch_enter(&b->watch, 0, 0.5);
    mep_status status = mep_session_score(b->session, 1, b->length, b->tokens, b->tokens + 1, b->losses);
    mep_watch_leave(&b->watch, section);
    MEP_TRY(status);
    for (int64_t i = 0; i < b->length; i++)
        if (!isfinite(b->losses[i]))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite; its weights are damaged or its training diverged");
    for (int64_t layer = 0; layer < b->layers; layer++) {
        if (mep_watch_ask(&b->watch, 0.5 + 0.5 * (double)layer / (double)b->layers)) return mep_watch_status(&b->watch);
        MEP_TRY(examine_layer(b, layer));
    }
    return MEP_OK;
}

/* Segments are divided over the processes; `means` of a segment is 0 in all but one of them, and then added. */
static mep_status run_segments(blindness *b)
{
    mep_dist *g = b->call->group;
    for (b->segment = 0; b->segment < b->segments; b->segment++) {
        mep_status status = b->segment % g->size == g->rank ? run_segment(b) : MEP_OK;
        if (status == MEP_OK && report(b, (double)(b->segment + 1)))
            status = mep_fail(MEP_INTERRUPTED, "the blindness report was stopped");
        MEP_TRY(mep_dist_agree(g, status));
    }
    return MEP_OK;
}

static mep_status add_up(blindness *b)
{
    mep_dist *g = b->call->group;
    int64_t count = b->layers * b->heads * VALUES * b->segments, all_count = 0;
    double *all = NULL;
    if (g->size == 1) return MEP_OK;
    mep_status status = mep_multiply(count, g->size, 1, &all_count);
    if (status == MEP_OK) status = MEP_ALLOC(&all, all_count);
    status = mep_dist_agree(g, status);
    if (status == MEP_OK) status = mep_dist_gather(g, b->means, count * (int64_t)sizeof *all, all);
    for (int64_t i = 0; i < count && status == MEP_OK; i++) b->means[i] = all[i % b->segments % g->size * count + i];
    mep_free(&all);
    return status;
}

/* ---- The measure ---- */

static mep_status open_measure(blindness *b)
{
    const mep_measure_settings *s = b->call->settings;
    int64_t size = 0, tokens = mep_measure_tokens(b->call);
    MEP_TRY(mep_measure_check(b->call));
    if (!mep_device_is_host(s->device))
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the blindness report is computed on the CPU; leave the device out");
    if (tokens < b->length + 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens, too few for one segment of length %lld; use a shorter length or "
                        "more text",
                        (long long)tokens, (long long)b->length);
    if (b->call->check_only) return MEP_OK;
    const mep_model_config *config = mep_model_get_config(b->call->model);
    b->layers = config->num_hidden_layers;
    b->heads = config->num_attention_heads;
    b->queries = min_i64(min_i64(QUERIES, s->samples), max_i64(b->length / 4, 1));
    b->segments = ceil_div(s->samples, b->queries);
    mep_session_settings session;
    mep_session_defaults(&session);
    session.length = b->length;
    session.dtype = s->dtype;
    session.training = 1; /* every layer keeps its queries and keys */
    MEP_TRY(mep_session_create(&b->session, b->call->model, &session));
    mep_session_set_watch(b->session, &b->watch);
    MEP_TRY(MEP_ALLOC(&b->tokens, b->length + 1));
    MEP_TRY(MEP_ALLOC(&b->losses, b->length));
    MEP_TRY(MEP_ALLOC(&b->scores, b->queries * b->length));
    MEP_TRY(MEP_ALLOC(&b->found, b->queries * VALUES));
    MEP_TRY(MEP_ALLOC(&b->errors, b->queries));
    MEP_TRY(mep_multiply(b->layers * b->heads, VALUES, b->segments, &size));
    MEP_TRY(MEP_ALLOC(&b->means, size));
    return mep_attention_scores_open(&b->reference, b->session);
}

static void close_measure(blindness *b)
{
    mep_attention_scores_close(&b->reference);
    mep_session_destroy(&b->session);
    mep_free(&b->tokens);
    mep_free(&b->losses);
    mep_free(&b->scores);
    mep_free(&b->found);
    mep_free(&b->errors);
    mep_free(&b->means);
}

static mep_status add_values(const blindness *b, mep_measure_draft *draft)
{
    for (int64_t layer = 0; layer < b->layers; layer++)
        for (int64_t head = 0; head < b->heads; head++)
            for (int v = 0; v < VALUES; v++) {
                const double *means = b->means + ((layer * b->heads + head) * VALUES + v) * b->segments;
                MEP_TRY(mep_measure_add_head(draft, NAMES[v], layer, head, mep_mean_of(means, b->segments)));
            }
    return MEP_OK;
}

mep_status mep_measure_blindness(const mep_measure_call *call, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_TOKENS));
    blindness b = {.call = &own, .length = own.settings->length};
    mep_measure_draft draft;
    mep_watch_begin(&b.watch, "the blindness report", report_within, &b);
    MEP_TRY(mep_measure_begin(&draft, measure, "blindness", "", own.settings->length));
    mep_status status = mep_dist_agree(own.group, open_measure(&b));
    if (status == MEP_OK && !own.check_only) status = run_segments(&b);
    if (status == MEP_OK && !own.check_only) status = add_up(&b);
    if (status == MEP_OK && !own.check_only) status = add_values(&b, &draft);
    close_measure(&b);
    return mep_measure_end(&draft, status, measure);
}
