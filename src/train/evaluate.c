/* SPDX-License-Identifier: MIT */
/*
 * Perplexity at a length: segments cut from the start of the data, batches of them through a session. Several processes
 * go round by round: each computes a batch, or a stretch of one segment, then all have the losses of the round and add
 * them in the order of the segments, so that the sums are those of one process.
 */
#include "train/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/watch.h"
#include "model/ring.h"
#include "train/trainer.h"

typedef struct evaluation {
    const mep_eval_settings *settings;
    mep_dist *group;
    int split;           /* each process has a stretch of every segment */
    int64_t start, step; /* first token of the first segment, and tokens from one segment to the next */
    int64_t segments;
    int64_t batch;         /* segments at a time */
    int64_t first, length; /* positions of a segment that this process computes */
    mep_session *session;
    int32_t *inputs, *targets;
    float *losses;
    mep_eval_fn progress; /* NULL: none */
    void *context;
    int64_t round_first, round_end; /* segments of the round under way */
    mep_watch watch;                /* of a round */
    double *sums;                   /* of the losses of each segment's scored tokens */
    double sum;                     /* of those so far */
    int64_t scored;
} evaluation;

void mep_eval_defaults(mep_eval_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_eval_settings){.length = 1024, .batch_tokens = 16384, .dtype = MEP_FLOAT32};
}

static mep_status check(const mep_eval_settings *s)
{
    if (s->length < 1 || s->batch_tokens < 1 || s->max_tokens < 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "evaluation needs a length and batch_tokens of 1 or more, found %lld and %lld",
                        (long long)s->length, (long long)s->batch_tokens);
    if (s->last < 0 || s->last > s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the last %lld tokens cannot be counted: that is not from 0 to the length "
                        "%lld",
                        (long long)s->last, (long long)s->length);
    if (s->stride < 0 || (s->last == 0 && s->stride > s->length))
        return mep_fail(MEP_ERROR_ARGUMENT, "the stride %lld is not from 0 to the length %lld", (long long)s->stride,
                        (long long)s->length);
    if (s->last > 0 && s->stride > 0 && s->stride < s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a stride of %lld, below the length %lld, says already which tokens count; leave out either "
                        "the stride or the last tokens",
                        (long long)s->stride, (long long)s->length);
    return MEP_OK;
}

static mep_status plan(evaluation *e, const mep_dataset *data)
{
    const mep_eval_settings *s = e->settings;
    int64_t tokens = mep_dataset_tokens(data) - 1; /* a target for every input */
    MEP_TRY(check(s));
    e->step = s->stride > 0 ? s->stride : s->length;
    e->start = s->last > 0 ? e->step - s->length : 0;
    if (s->max_tokens > 0 && s->max_tokens < tokens) tokens = s->max_tokens;
    if (tokens < e->start + s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens to score, too few for one segment of length %lld; use shorter "
                        "lengths or more text",
                        (long long)(tokens < 0 ? 0 : tokens), (long long)(e->start + s->length));
    e->segments = (tokens - e->start - s->length) / e->step + 1;
    e->batch = s->batch_tokens / s->length < 1 ? 1 : s->batch_tokens / s->length;
    int64_t each = (e->segments + e->group->size - 1) / e->group->size;
    if (e->batch > each) e->batch = each;
    e->length = s->length;
    e->split = (e->split || e->segments < e->group->size) && e->group->size > 1;
    if (!e->split) return MEP_OK;
    e->batch = 1;
    e->first = mep_ring_first(e->group, s->length, e->group->rank);
    e->length = mep_ring_first(e->group, s->length, e->group->rank + 1) - e->first;
    return MEP_OK;
}

static mep_status open_evaluation(evaluation *e, mep_model *model)
{
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = e->batch;
    session.length = e->settings->length;
    session.dtype = e->settings->dtype;
    session.tolerance = e->settings->tolerance;
    session.device = e->settings->device;
    int64_t rows = 0;
    mep_status status = mep_multiply(e->batch, e->settings->length, 1, &rows);
    if (status == MEP_OK) status = mep_alloc(&e->inputs, rows, sizeof *e->inputs);
    if (status == MEP_OK) status = mep_alloc(&e->targets, rows, sizeof *e->targets);
    if (status == MEP_OK) status = mep_alloc(&e->losses, rows, sizeof *e->losses);
    int64_t last_round = e->group->size * e->batch; /* may have places that are no segments */
    if (status == MEP_OK) status = mep_alloc(&e->sums, e->segments + last_round, sizeof *e->sums);
    if (status == MEP_OK && !e->split) status = mep_session_create(&e->session, model, &session);
    MEP_TRY(mep_dist_agree(e->group, status));
    return e->split ? mep_session_create_ring(&e->session, model, &session, e->group) : MEP_OK;
}

/* First position of a segment that counts. */
static int64_t first_scored(const evaluation *e, int64_t segment)
{
    if (e->settings->last > 0) return e->settings->length - e->settings->last;
    return segment == 0 ? 0 : e->settings->length - e->step;
}

static int64_t scored(const evaluation *e, int64_t segment)
{
    return e->settings->length - first_scored(e, segment);
}

/* Read this process's positions of segments first .. first + count - 1. */
static mep_status read(evaluation *e, const mep_dataset *data, int64_t first, int64_t count)
{
    for (int64_t b = 0; b < count; b++) {
        int64_t start = e->start + (first + b) * e->step + e->first;
        MEP_TRY(mep_dataset_read(data, start, e->length, e->inputs + b * e->length));
        MEP_TRY(mep_dataset_read(data, start + 1, e->length, e->targets + b * e->length));
    }
    return MEP_OK;
}

static void score(evaluation *e, int64_t segment, const float *losses)
{
    e->sums[segment] = 0;
    for (int64_t i = first_scored(e, segment); i < e->settings->length; i++) e->sums[segment] += (double)losses[i];
}

/* Each process computes a batch; all have the sums of segments `first` .. */
static mep_status run_batches(evaluation *e, const mep_dataset *data, int64_t first)
{
    int64_t length = e->settings->length, own = first + e->group->rank * e->batch;
    int64_t count = e->segments - own < e->batch ? e->segments - own : e->batch;
    mep_status status = read(e, data, own, count);
    if (status == MEP_OK && count > 0)
        status = mep_session_score(e->session, count, length, e->inputs, e->targets, e->losses);
    for (int64_t b = 0; b < count && status == MEP_OK; b++) score(e, own + b, e->losses + b * length);
    MEP_TRY(mep_dist_agree(e->group, status));
    return mep_dist_gather(e->group, e->sums + own, e->batch * (int64_t)sizeof *e->sums, e->sums + first);
}

/* Send this process's losses of a segment to all others, and receive theirs. */
static mep_status share_losses(evaluation *e)
{
    mep_dist *g = e->group;
    mep_dist_block *pieces;
    int64_t count = 0, size = (int64_t)sizeof *e->losses;
    MEP_TRY(mep_alloc(&pieces, 2 * g->size, sizeof *pieces));
    for (int64_t r = 0; r < g->size; r++) {
        int64_t first = mep_ring_first(g, e->settings->length, r),
                length = mep_ring_first(g, e->settings->length, r + 1) - first;
        if (r == g->rank) continue;
        pieces[count] = (mep_dist_block){r, e->losses + e->first, e->length * size};
        pieces[g->size + count++] = (mep_dist_block){r, e->losses + first, length * size};
    }
    mep_status status = mep_dist_transfer(g, pieces, count, pieces + g->size, count);
    mep_free(&pieces);
    return status;
}

/* Each process computes a stretch of the segment. */
static mep_status run_split(evaluation *e, const mep_dataset *data, int64_t segment)
{
    MEP_TRY(mep_dist_agree(e->group, read(e, data, segment, 1)));
    mep_status status = mep_session_ring_losses(e->session, e->inputs, e->targets, e->losses + e->first);
    MEP_TRY(mep_dist_agree(e->group, status));
    MEP_TRY(share_losses(e));
    score(e, segment, e->losses);
    return MEP_OK;
}

/* Tell how far it is: `segments` done, all their losses known but those of the round under way. */
static int report(const evaluation *e, double segments)
{
    double length = (double)e->settings->length, loss = e->scored > 0 ? e->sum / (double)e->scored : NAN;
    if (e->progress == NULL) return 0;
    return e->progress(e->context, (int64_t)(segments * length), e->segments * e->settings->length, loss) != 0;
}

static int report_within(void *context, double fraction)
{
    const evaluation *e = context;
    return report(e, (double)e->round_first + fraction * (double)(e->round_end - e->round_first));
}

/* Add the segments of a round, and report. */
static mep_status finish_round(evaluation *e)
{
    for (int64_t i = e->round_first; i < e->round_end; i++) {
        e->sum += e->sums[i];
        e->scored += scored(e, i);
        if (!isfinite(e->sum))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite in segment %lld; its weights are damaged or its training "
                            "went wrong",
                            (long long)i);
    }
    int stop = report(e, (double)e->round_end);
    MEP_TRY(mep_dist_any(e->group, &stop));
    return stop ? mep_fail(MEP_INTERRUPTED, "the evaluation was stopped") : MEP_OK;
}

static mep_status run_rounds(evaluation *e, const mep_dataset *data)
{
    int64_t round = e->split ? 1 : e->batch * e->group->size;
    for (int64_t first = 0; first < e->segments; first += round) {
        e->round_first = first;
        e->round_end = first + round < e->segments ? first + round : e->segments;
        MEP_TRY(e->split ? run_split(e, data, first) : run_batches(e, data, first));
        MEP_TRY(mep_dist_agree(e->group, finish_round(e)));
    }
    return MEP_OK;
}

/* Standard error of the mean of the segments' losses. */
static double spread(const evaluation *e)
{
    double mean = 0, squares = 0, n = (double)e->segments;
    for (int64_t i = 0; i < e->segments; i++) mean += e->sums[i] / (double)scored(e, i) / n;
    for (int64_t i = 0; i < e->segments; i++) {
        double deviation = e->sums[i] / (double)scored(e, i) - mean;
        squares += deviation * deviation;
    }
    return e->segments > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}

mep_status mep_evaluate_in(mep_dist *group, int split, mep_model *model, const mep_dataset *data,
                           const mep_eval_settings *settings, mep_eval_fn progress, void *context,
                           mep_eval_result *result)
{
    evaluation e = {.settings = settings, .group = group, .split = split, .progress = progress, .context = context};
    mep_watch_begin(&e.watch, "the evaluation", report_within, &e);
    double start = mep_now();
    mep_status status = mep_train_check_device(group, settings->device, settings->dtype);
    if (status == MEP_OK) status = plan(&e, data);
    status = mep_dist_agree(group, status);
    if (status == MEP_OK) status = open_evaluation(&e, model);
    if (status == MEP_OK && progress != NULL) mep_session_set_watch(e.session, &e.watch);
    if (status == MEP_OK) status = run_rounds(&e, data);
    if (status == MEP_OK) {
        double loss = e.sum / (double)e.scored;
        *result = (mep_eval_result){.length = settings->length,
                                    .segments = e.segments,
                                    .tokens = e.scored,
                                    .loss = loss,
                                    .perplexity = exp(loss),
                                    .standard_error = exp(loss) * spread(&e),
                                    .seconds = mep_now() - start};
    }
    mep_session_destroy(&e.session);
    mep_free(&e.inputs);
    mep_free(&e.targets);
    mep_free(&e.losses);
    mep_free(&e.sums);
    return status;
}

mep_status mep_evaluate(mep_model *model, const mep_dataset *data, const mep_eval_settings *settings,
                        mep_eval_fn progress, void *context, mep_eval_result *result)
{
    MEP_REQUIRE(model, data, settings, result);
    return mep_evaluate_in(&mep_dist_alone, 0, model, data, settings, progress, context, result);
}
