/* SPDX-License-Identifier: MIT */
/*
 * Perplexity at a length: segments from the start of the data go through a session in batches. Several processes work
 * in rounds: each computes a batch, or a range of positions of one segment; then all exchange the losses of the round
 * and add them in segment order, so that the sums are those of one process.
 */
#include "eval/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/watch.h"
#include "model/forward_pass.h"
#include "model/sequence_parallel.h"

typedef struct evaluation {
    const mep_eval_call *call;
    const mep_eval_settings *settings;
    mep_dist *group;
    int sequence_parallel;
    int64_t start, step; /* first token of the first segment; tokens from one segment to the next */
    int64_t segments;
    int64_t batch;         /* segments per batch */
    int64_t first, length; /* positions of a segment that this process computes */
    mep_session *session;
    int32_t *inputs, *targets; /* [batch, length] */
    float *losses;
    int64_t round_first, round_end; /* segments of the current round */
    mep_watch watch;                /* of a round */
    double *sums;                   /* per segment, the sum of the losses of its scored tokens */
    int64_t *counts;                /* per segment, its scored tokens */
    double sum;                     /* of the finished rounds */
    int64_t scored;
} evaluation;

void mep_eval_defaults(mep_eval_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_eval_settings){.length = 1024, .batch_tokens = 16384, .dtype = MEP_FLOAT32};
}

/* ---- Plan ---- */

static mep_status check(const mep_eval_settings *s)
{
    if (s->length < 1 || s->batch_tokens < 1 || s->max_tokens < 0)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "evaluation needs a length and batch_tokens of 1 or more, found %lld and %lld, and max_tokens of 0 "
            "or more, found %lld",
            (long long)s->length, (long long)s->batch_tokens, (long long)s->max_tokens);
    if (s->last < 0 || s->last > s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the last %lld tokens cannot be scored: the number must be from 0 to the length %lld",
                        (long long)s->last, (long long)s->length);
    if (s->stride < 0 || (s->last == 0 && s->stride > s->length))
        return mep_fail(MEP_ERROR_ARGUMENT, "the stride %lld is not from 0 to the length %lld", (long long)s->stride,
                        (long long)s->length);
    if (s->last > 0 && s->stride > 0 && s->stride < s->length)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "a stride of %lld, below the length %lld, already determines which tokens are scored; leave out "
            "either the stride or the last tokens",
            (long long)s->stride, (long long)s->length);
    return MEP_OK;
}

mep_status mep_eval_check_device(const mep_dist *group, mep_device device, mep_dtype dtype)
{
    MEP_TRY(mep_device_check_dtype(device, dtype));
    if (!mep_device_is_host(device) && group->size > 1)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "the device %s supports one process, found %lld; start the program without mpirun",
                        mep_device_name(device), (long long)group->size);
    return mep_device_check(device);
}

/* Compute the segments, and the part of them that this process computes. */
static mep_status plan(evaluation *e, const mep_dataset *data)
{
    const mep_eval_settings *s = e->settings;
    mep_dist *g = e->group;
    int64_t tokens = mep_dataset_tokens(data) - 1; /* every input needs a target */
    MEP_TRY(mep_eval_check_device(g, s->device, s->dtype));
    MEP_TRY(check(s));
    e->step = s->stride > 0 ? s->stride : s->length;
    e->start = s->last > 0 ? e->step - s->length : 0;
    if (s->max_tokens > 0) tokens = min_i64(tokens, s->max_tokens);
    if (tokens < e->start + s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens to score, too few for one segment of length %lld; use shorter "
                        "lengths or more text",
                        (long long)max_i64(tokens, 0), (long long)(e->start + s->length));
    e->segments = (tokens - e->start - s->length) / e->step + 1;
    e->batch = min_i64(max_i64(s->batch_tokens / s->length, 1), ceil_div(e->segments, g->size));
    e->length = s->length;
    e->sequence_parallel = (e->call->sequence_parallel || e->segments < g->size) && g->size > 1;
    if (!e->sequence_parallel) return MEP_OK;
    e->batch = 1;
    e->first = mep_kv_sequence_first(g, s->length, g->rank);
    e->length = mep_kv_sequence_first(g, s->length, g->rank + 1) - e->first;
    return MEP_OK;
}

static mep_status allocate(evaluation *e)
{
    int64_t rows = 0, last_round = e->group->size * e->batch; /* which may be larger than the segments that are left */
    MEP_TRY(mep_multiply(e->batch, e->settings->length, 1, &rows));
    MEP_TRY(MEP_ALLOC(&e->inputs, rows));
    MEP_TRY(MEP_ALLOC(&e->targets, rows));
    MEP_TRY(MEP_ALLOC(&e->losses, rows));
    MEP_TRY(MEP_ALLOC(&e->counts, e->segments));
    return MEP_ALLOC(&e->sums, e->segments + last_round);
}

static mep_status open_evaluation(evaluation *e)
{
    mep_model *model = e->call->model;
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = e->batch;
    session.length = e->settings->length;
    session.dtype = e->settings->dtype;
    session.tolerance = e->settings->tolerance;
    session.device = e->settings->device;
    mep_status status = allocate(e);
    if (status == MEP_OK && !e->sequence_parallel) status = mep_session_create(&e->session, model, &session);
    MEP_TRY(mep_dist_agree(e->group, status));
    if (e->sequence_parallel) MEP_TRY(mep_session_create_sequence(&e->session, model, &session, e->group));
    if (e->call->progress != NULL) mep_session_set_watch(e->session, &e->watch);
    return MEP_OK;
}

static void close_evaluation(evaluation *e)
{
    mep_session_destroy(&e->session);
    mep_free(&e->inputs);
    mep_free(&e->targets);
    mep_free(&e->losses);
    mep_free(&e->sums);
    mep_free(&e->counts);
}

/* ---- Segments ---- */

/* The first position of a segment that is scored. */
static int64_t first_scored(const evaluation *e, int64_t segment)
{
    if (e->settings->last > 0) return e->settings->length - e->settings->last;
    return segment == 0 ? 0 : e->settings->length - e->step;
}

/* Count the scored tokens of each segment: those from its first scored position to its end, without those that the
 * data's mask excludes. Every process counts all of them. */
static mep_status count_scored(evaluation *e, const mep_dataset *data)
{
    int64_t all = 0, length = e->settings->length;
    int32_t *targets = NULL;
    mep_status status = MEP_OK;
    if (mep_dataset_has_mask(data)) MEP_TRY(MEP_ALLOC(&targets, length));
    for (int64_t s = 0; s < e->segments && status == MEP_OK; s++) {
        int64_t first = first_scored(e, s);
        e->counts[s] = length - first;
        if (targets != NULL)
            status = mep_dataset_read_targets(data, e->start + s * e->step + 1 + first, length - first, targets);
        for (int64_t i = 0; targets != NULL && status == MEP_OK && i < length - first; i++)
            e->counts[s] -= targets[i] == MEP_TARGET_NONE;
        all += e->counts[s];
    }
    mep_free(&targets);
    if (status == MEP_OK && all == 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "the mask of the data leaves no token to score; evaluate more tokens");
    return status;
}

/* Read this process's positions of segments first .. first + count - 1. */
static mep_status read(evaluation *e, const mep_dataset *data, int64_t first, int64_t count)
{
    for (int64_t b = 0; b < count; b++) {
        int64_t start = e->start + (first + b) * e->step + e->first;
        MEP_TRY(mep_dataset_read(data, start, e->length, e->inputs + b * e->length));
        MEP_TRY(mep_dataset_read_targets(data, start + 1, e->length, e->targets + b * e->length));
    }
    return MEP_OK;
}

/* Add up the losses of a segment, losses[length]. */
static void score(evaluation *e, int64_t segment, const float *losses)
{
    e->sums[segment] = 0;
    for (int64_t i = first_scored(e, segment); i < e->settings->length; i++) e->sums[segment] += (double)losses[i];
}

/* ---- Rounds ---- */

/* Compute one batch per process and exchange the sums of segments `first` and later. */
static mep_status run_batches(evaluation *e, const mep_dataset *data, int64_t first)
{
    int64_t length = e->settings->length, own = first + e->group->rank * e->batch;
    int64_t count = min_i64(e->segments - own, e->batch); /* may be negative */
    mep_status status = read(e, data, own, count);
    if (status == MEP_OK && count > 0)
        status = mep_session_score(e->session, count, length, e->inputs, e->targets, e->losses);
    for (int64_t b = 0; b < count && status == MEP_OK; b++) score(e, own + b, e->losses + b * length);
    MEP_TRY(mep_dist_agree(e->group, status));
    return mep_dist_gather(e->group, e->sums + own, e->batch * (int64_t)sizeof *e->sums, e->sums + first);
}

/* Send this process's losses of a segment to all other processes, and receive theirs. */
static mep_status exchange_losses(evaluation *e)
{
    mep_dist *g = e->group;
    mep_dist_block *send;
    int64_t count = 0, size = (int64_t)sizeof *e->losses;
    MEP_TRY(MEP_ALLOC(&send, 2 * g->size));
    mep_dist_block *receive = send + g->size;
    for (int64_t r = 0; r < g->size; r++) {
        int64_t first = mep_kv_sequence_first(g, e->settings->length, r),
                length = mep_kv_sequence_first(g, e->settings->length, r + 1) - first;
        if (r == g->rank) continue;
        send[count] = (mep_dist_block){.rank = r, .data = e->losses + e->first, .bytes = e->length * size};
        receive[count++] = (mep_dist_block){.rank = r, .data = e->losses + first, .bytes = length * size};
    }
    mep_status status = mep_dist_transfer(g, send, count, receive, count);
    mep_free(&send);
    return status;
}

/* Compute one segment, each process a range of its positions. */
static mep_status run_sequence_parallel(evaluation *e, const mep_dataset *data, int64_t segment)
{
    MEP_TRY(mep_dist_agree(e->group, read(e, data, segment, 1)));
    mep_status status = mep_session_sequence_losses(e->session, e->inputs, e->targets, e->losses + e->first);
    MEP_TRY(mep_dist_agree(e->group, status));
    MEP_TRY(exchange_losses(e));
    score(e, segment, e->losses);
    return MEP_OK;
}

/* Report that `segments` segments are done. The loss is that of the finished rounds. */
static int report(const evaluation *e, double segments)
{
    const mep_eval_call *call = e->call;
    double length = (double)e->settings->length, loss = e->scored > 0 ? e->sum / (double)e->scored : NAN;
    if (call->progress == NULL) return 0;
    return call->progress(call->context, (int64_t)(segments * length), e->segments * e->settings->length, loss) != 0;
}

static int report_within(void *context, double fraction)
{
    const evaluation *e = context;
    return report(e, (double)e->round_first + fraction * (double)(e->round_end - e->round_first));
}

/* Add the sums of a round, and report. */
static mep_status finish_round(evaluation *e)
{
    for (int64_t i = e->round_first; i < e->round_end; i++) {
        e->sum += e->sums[i];
        e->scored += e->counts[i];
        if (!isfinite(e->sum))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite in segment %lld; its weights are damaged or its training "
                            "diverged",
                            (long long)i);
    }
    int stop = report(e, (double)e->round_end);
    MEP_TRY(mep_dist_any(e->group, &stop));
    return stop ? mep_fail(MEP_INTERRUPTED, "the evaluation was stopped") : MEP_OK;
}

static mep_status run_rounds(evaluation *e, const mep_dataset *data)
{
    int64_t round = e->sequence_parallel ? 1 : e->batch * e->group->size;
    for (int64_t first = 0; first < e->segments; first += round) {
        e->round_first = first;
        e->round_end = min_i64(first + round, e->segments);
        MEP_TRY(e->sequence_parallel ? run_sequence_parallel(e, data, first) : run_batches(e, data, first));
        MEP_TRY(mep_dist_agree(e->group, finish_round(e)));
    }
    return MEP_OK;
}

/* ---- Result ---- */

/* The standard error of the mean of the segments' losses. Segments without a scored token do not count. */
static double standard_error(const evaluation *e)
{
    double mean = 0, squares = 0, n = 0;
    for (int64_t i = 0; i < e->segments; i++) n += e->counts[i] > 0;
    for (int64_t i = 0; i < e->segments; i++)
        if (e->counts[i] > 0) mean += e->sums[i] / (double)e->counts[i] / n;
    for (int64_t i = 0; i < e->segments; i++) {
        double deviation = e->counts[i] > 0 ? e->sums[i] / (double)e->counts[i] - mean : 0;
        squares += deviation * deviation;
    }
    return n > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}

static mep_eval_result result_of(const evaluation *e, double seconds)
{
    double loss = e->sum / (double)e->scored;
    return (mep_eval_result){.length = e->settings->length,
                             .segments = e->segments,
                             .tokens = e->scored,
                             .loss = loss,
                             .perplexity = exp(loss),
                             .standard_error = exp(loss) * standard_error(e),
                             .seconds = seconds};
}

/* The linearized ratio of loss and count of each segment (include/mep/measure.h): where all segments have the same
 * count, the mean loss of the segment. */
static mep_status make_samples(const evaluation *e, double **samples)
{
    double loss = e->sum / (double)e->scored, count = (double)e->scored / (double)e->segments;
    MEP_TRY(MEP_ALLOC(samples, e->segments));
    for (int64_t i = 0; i < e->segments; i++) (*samples)[i] = loss + (e->sums[i] - loss * (double)e->counts[i]) / count;
    return MEP_OK;
}

mep_status mep_evaluate_in(const mep_eval_call *call, const mep_dataset *data, mep_eval_result *result)
{
    evaluation e = {
        .call = call, .settings = call->settings, .group = call->group != NULL ? call->group : &mep_dist_alone};
    double start = mep_now();
    mep_status status;
    mep_watch_begin(&e.watch, "the evaluation", report_within, &e);
    MEP_TRY_OR(status, mep_dist_agree(e.group, plan(&e, data)), end);
    MEP_TRY_OR(status, open_evaluation(&e), end);
    MEP_TRY_OR(status, mep_dist_agree(e.group, count_scored(&e, data)), end);
    MEP_TRY_OR(status, run_rounds(&e, data), end);
    if (call->samples != NULL) MEP_TRY_OR(status, mep_dist_agree(e.group, make_samples(&e, call->samples)), end);
    *result = result_of(&e, mep_now() - start);
end:
    close_evaluation(&e);
    return status;
}

void mep_eval_samples_free(double **samples)
{
    if (samples != NULL) mep_free(samples);
}

mep_status mep_evaluate(mep_model *model, const mep_dataset *data, const mep_eval_settings *settings,
                        mep_eval_fn progress, void *context, mep_eval_result *result)
{
    MEP_REQUIRE(model, data, settings, result);
    const mep_eval_call call = {.model = model, .settings = settings, .progress = progress, .context = context};
    return mep_evaluate_in(&call, data, result);
}
