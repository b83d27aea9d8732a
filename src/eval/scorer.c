/* SPDX-License-Identifier: MIT */
/*
 * Batches of segments through a session. In each round every process computes one batch; then all exchange the losses
 * and take them in the order of the segments, so that sums are those of one process.
 */
#include "eval/scorer.h"

#include <math.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/watch.h"
#include "model/forward_pass.h"
#include "model/session.h"

typedef struct scoring {
    const mep_scorer *job;
    mep_dist *group;
    int64_t batch;                  /* segments per batch */
    int64_t scored;                 /* losses per segment */
    int64_t round_first, round_end; /* segments of the current round */
    mep_session *session;
    mep_watch watch;
    int32_t *inputs, *targets; /* [batch, length] */
    int64_t *positions;        /* [batch, answers] */
    float *logits;             /* [vocabulary], if there are answers */
    float *losses;             /* [processes, batch, scored] */
    int32_t *likeliest;        /* [processes, batch, answers] */
} scoring;

/* ---- Opening ---- */

static mep_status allocate(scoring *s)
{
    const mep_scorer *job = s->job;
    int64_t rows = 0, all = 0, vocab = mep_model_get_config(job->call->model)->vocab_size;
    MEP_TRY(mep_multiply(s->batch, job->length, 1, &rows));
    MEP_TRY(mep_multiply(s->batch, s->scored, s->group->size, &all));
    MEP_TRY(MEP_ALLOC(&s->inputs, rows));
    MEP_TRY(MEP_ALLOC(&s->targets, rows));
    MEP_TRY(MEP_ALLOC(&s->losses, all));
    MEP_TRY(MEP_ALLOC(&s->positions, s->batch * job->answers));
    MEP_TRY(MEP_ALLOC(&s->likeliest, s->batch * job->answers * s->group->size));
    return MEP_ALLOC(&s->logits, job->answers > 0 ? vocab : 0);
}

static mep_status open_scoring(scoring *s)
{
    const mep_measure_settings *settings = s->job->call->settings;
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = s->batch;
    session.length = s->job->length;
    session.dtype = settings->dtype;
    session.tolerance = settings->tolerance;
    session.device = settings->device;
    MEP_TRY(allocate(s));
    MEP_TRY(mep_session_create(&s->session, s->job->call->model, &session));
    if (s->job->call->progress != NULL) mep_session_set_watch(s->session, &s->watch);
    return MEP_OK;
}

static void close_scoring(scoring *s)
{
    mep_session_destroy(&s->session);
    mep_free(&s->inputs);
    mep_free(&s->targets);
    mep_free(&s->losses);
    mep_free(&s->positions);
    mep_free(&s->likeliest);
    mep_free(&s->logits);
}

/* ---- Progress ---- */

static int report(const scoring *s, double segments)
{
    const mep_scorer *job = s->job;
    int64_t own = job->segments * job->length, done = (int64_t)(segments * (double)job->length);
    if (job->call->progress == NULL) return 0;
    return job->call->progress(job->call->context, job->before + done, job->before + own + job->after, NAN) != 0;
}

static int report_within(void *context, double fraction)
{
    const scoring *s = context;
    return report(s, (double)s->round_first + fraction * (double)(s->round_end - s->round_first));
}

/* ---- Rounds ---- */

/* The loss of a target, from the logits of its position, and the likeliest token. The sum is in float64. */
static double examine(const float *logits, int64_t vocab, int32_t target, int32_t *likeliest)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t t = 1; t < vocab; t++)
        if (logits[t] > logits[best]) best = t;
    for (int64_t t = 0; t < vocab; t++) sum += exp((double)logits[t] - (double)logits[best]);
    *likeliest = (int32_t)best;
    return (double)logits[best] + log(sum) - (double)logits[target];
}

/* Compute the answers of segment number `b` of the batch, whose layers have been run. */
static mep_status find_answers(scoring *s, int64_t b, float *losses, int32_t *likeliest)
{
    const mep_scorer *job = s->job;
    int64_t vocab = mep_model_get_config(job->call->model)->vocab_size;
    for (int64_t i = 0; i < job->answers; i++) {
        int64_t row = b * job->length + s->positions[b * job->answers + i];
        int32_t target = s->targets[row];
        if (target < 0 || target >= vocab)
            return mep_fail(MEP_ERROR_ARGUMENT, "target token %d is not in the model's vocabulary of %lld", (int)target,
                            (long long)vocab);
        MEP_TRY(mep_run_output(s->session, row, 1, s->session->logits));
        MEP_TRY(mep_device_read(s->session->settings.device, s->logits, s->session->logits,
                                vocab * (int64_t)sizeof *s->logits));
        losses[i] = (float)examine(s->logits, vocab, target, &likeliest[i]);
    }
    return MEP_OK;
}

static mep_status run_session(scoring *s, int64_t count, float *losses, int32_t *likeliest)
{
    const mep_scorer *job = s->job;
    if (job->answers == 0) return mep_session_score(s->session, count, job->length, s->inputs, s->targets, losses);
    MEP_TRY(mep_session_begin(s->session, count, job->length, s->inputs));
    MEP_TRY(mep_run_layers(s->session, s->inputs));
    for (int64_t b = 0; b < count; b++)
        MEP_TRY(find_answers(s, b, losses + b * job->answers, likeliest + b * job->answers));
    return MEP_OK;
}

/* Compute `count` segments from `first` on; `losses` and `likeliest` are this process's part of the round. */
static mep_status compute(scoring *s, int64_t first, int64_t count, float *losses, int32_t *likeliest)
{
    const mep_scorer *job = s->job;
    if (count <= 0) return MEP_OK;
    for (int64_t b = 0; b < count; b++)
        MEP_TRY(job->read(job->context, first + b, s->inputs + b * job->length, s->targets + b * job->length,
                          s->positions + b * job->answers));
    MEP_TRY(run_session(s, count, losses, likeliest));
    for (int64_t i = 0; i < count * s->scored; i++)
        if (!isfinite(losses[i]))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite in segment %lld of %s; its weights are damaged or its "
                            "training diverged",
                            (long long)(first + i / s->scored), job->what);
    return MEP_OK;
}

/* Compute one batch of segments per process, gather the results, and pass them on in order in every process. */
static mep_status run_round(scoring *s)
{
    const mep_scorer *job = s->job;
    int64_t rank = s->group->rank, own = s->round_first + rank * s->batch, own_losses = s->batch * s->scored;
    int64_t count = min_i64(job->segments - own, s->batch), answers = s->batch * job->answers; /* may be negative */
    float *losses = s->losses + rank * own_losses;
    int32_t *likeliest = s->likeliest + rank * answers;
    MEP_TRY(mep_dist_agree(s->group, compute(s, own, count, losses, likeliest)));
    MEP_TRY(mep_dist_gather(s->group, losses, own_losses * (int64_t)sizeof *losses, s->losses));
    MEP_TRY(mep_dist_gather(s->group, likeliest, answers * (int64_t)sizeof *likeliest, s->likeliest));
    for (int64_t i = s->round_first; i < s->round_end; i++) {
        int64_t at = i - s->round_first;
        job->take(job->context, i, s->losses + at * s->scored, s->likeliest + at * job->answers);
    }
    int stop = report(s, (double)s->round_end);
    MEP_TRY(mep_dist_any(s->group, &stop));
    return stop ? mep_fail(MEP_INTERRUPTED, "%s was stopped", job->what) : MEP_OK;
}

mep_status mep_scorer_run(const mep_scorer *job)
{
    scoring s = {.job = job, .group = job->call->group, .scored = job->answers > 0 ? job->answers : job->length};
    int64_t fit = max_i64(job->call->settings->batch_tokens / job->length, 1);
    s.batch = min_i64(fit, ceil_div(job->segments, s.group->size));
    mep_watch_begin(&s.watch, job->what, report_within, &s);
    mep_status status = mep_dist_agree(s.group, open_scoring(&s));
    for (int64_t first = 0; first < job->segments && status == MEP_OK; first += s.batch * s.group->size) {
        s.round_first = first;
        s.round_end = min_i64(first + s.batch * s.group->size, job->segments);
        status = run_round(&s);
    }
    close_scoring(&s);
    return status;
}
