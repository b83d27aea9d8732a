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
    int64_t round_first, round_end; /* segments of the current round */
    mep_session *session;
    mep_watch watch;
    int32_t *inputs, *targets; /* [batch, length] */
    int64_t *positions;        /* [batch, answers] */
    float *logits;             /* [vocabulary], if there are answers */
    float *losses;             /* [processes, batch, length] */
    int32_t *likeliest;        /* [processes, batch, answers] */
} scoring;

/* ---- Opening ---- */

static mep_status allocate(scoring *s)
{
    const mep_scorer *job = s->job;
    int64_t rows = 0, all = 0, vocab = mep_model_get_config(job->call->model)->vocab_size;
    MEP_TRY(mep_multiply(s->batch, job->length, 1, &rows));
    MEP_TRY(mep_multiply(rows, s->group->size, 1, &all));
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

static mep_status find_likeliest(scoring *s, int64_t batch_index, int32_t *likeliest)
{
    const mep_scorer *job = s->job;
    int64_t vocab = mep_model_get_config(job->call->model)->vocab_size;
    for (int64_t i = 0; i < job->answers; i++) {
        int64_t row = batch_index * job->length + s->positions[batch_index * job->answers + i], best = 0;
        MEP_TRY(mep_run_output(s->session, row, 1, s->session->logits));
        MEP_TRY(mep_device_read(s->session->settings.device, s->logits, s->session->logits,
                                vocab * (int64_t)sizeof *s->logits));
        for (int64_t t = 1; t < vocab; t++)
            if (s->logits[t] > s->logits[best]) best = t;
        likeliest[i] = (int32_t)best;
    }
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
    MEP_TRY(mep_session_score(s->session, count, job->length, s->inputs, s->targets, losses));
    for (int64_t b = 0; b < count; b++) MEP_TRY(find_likeliest(s, b, likeliest + b * job->answers));
    for (int64_t i = 0; i < count * job->length; i++)
        if (!isfinite(losses[i]))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite in segment %lld of %s; its weights are damaged or its "
                            "training diverged",
                            (long long)(first + i / job->length), job->what);
    return MEP_OK;
}

static mep_status run_round(scoring *s)
{
    const mep_scorer *job = s->job;
    int64_t rank = s->group->rank, own = s->round_first + rank * s->batch, rows = s->batch * job->length;
    int64_t count = min_i64(job->segments - own, s->batch), answers = s->batch * job->answers; /* may be negative */
    float *losses = s->losses + rank * rows;
    int32_t *likeliest = s->likeliest + rank * answers;
    MEP_TRY(mep_dist_agree(s->group, compute(s, own, count, losses, likeliest)));
    MEP_TRY(mep_dist_gather(s->group, losses, rows * (int64_t)sizeof *losses, s->losses));
    MEP_TRY(mep_dist_gather(s->group, likeliest, answers * (int64_t)sizeof *likeliest, s->likeliest));
    for (int64_t i = s->round_first; i < s->round_end; i++) {
        int64_t at = i - s->round_first;
        job->take(job->context, i, s->losses + at * job->length, s->likeliest + at * job->answers);
    }
    int stop = report(s, (double)s->round_end);
    MEP_TRY(mep_dist_any(s->group, &stop));
    return stop ? mep_fail(MEP_INTERRUPTED, "%s was stopped", job->what) : MEP_OK;
}

mep_status mep_scorer_run(const mep_scorer *job)
{
    scoring s = {.job = job, .group = job->call->group};
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
