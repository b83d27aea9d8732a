/* SPDX-License-Identifier: MIT */
/*
 * Perplexity at a length: segments cut from the start of the data, batches of them through a session.
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "mep/train.h"

typedef struct evaluation {
    const mep_eval_settings *settings;
    int64_t step; /* tokens from one segment to the next */
    int64_t segments;
    int64_t batch; /* segments at a time */
    mep_session *session;
    int32_t *inputs, *targets;
    float *losses;
    double *means; /* mean loss of each segment's scored tokens */
    double sum;    /* of the losses of scored tokens */
    int64_t scored;
} evaluation;

void mep_eval_defaults(mep_eval_settings *settings)
{
    *settings = (mep_eval_settings){.length = 1024, .batch_tokens = 16384, .dtype = MEP_FLOAT32};
}

static mep_status plan(evaluation *e, const mep_dataset *data)
{
    const mep_eval_settings *s = e->settings;
    int64_t tokens = mep_dataset_tokens(data) - 1; /* a target for every input */
    if (s->length < 1 || s->batch_tokens < 1 || s->max_tokens < 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "evaluation needs a length and batch_tokens of 1 or more, found %lld and %lld",
                        (long long)s->length, (long long)s->batch_tokens);
    if (s->stride < 0 || s->stride > s->length || s->last < 0 || s->last > s->length)
        return mep_fail(MEP_ERROR_ARGUMENT, "at length %lld, stride %lld and last %lld must be from 0 to the length",
                        (long long)s->length, (long long)s->stride, (long long)s->last);
    if (s->stride > 0 && s->last > 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a stride says already which tokens count; leave out either the stride or the last tokens");
    if (s->max_tokens > 0 && s->max_tokens < tokens) tokens = s->max_tokens;
    if (tokens < s->length)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "the data has %lld tokens to score, too few for one segment of length %lld; use shorter "
                        "lengths or more text",
                        (long long)(tokens < 0 ? 0 : tokens), (long long)s->length);
    e->step = s->stride > 0 ? s->stride : s->length;
    e->segments = (tokens - s->length) / e->step + 1;
    e->batch = s->batch_tokens / s->length < 1 ? 1 : s->batch_tokens / s->length;
    if (e->batch > e->segments) e->batch = e->segments;
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
    int64_t rows = 0;
    MEP_TRY(mep_multiply(e->batch, e->settings->length, 1, &rows));
    MEP_TRY(mep_alloc(&e->inputs, rows, sizeof *e->inputs));
    MEP_TRY(mep_alloc(&e->targets, rows, sizeof *e->targets));
    MEP_TRY(mep_alloc(&e->losses, rows, sizeof *e->losses));
    MEP_TRY(mep_alloc(&e->means, e->segments, sizeof *e->means));
    return mep_session_create(&e->session, model, &session);
}

/* First position of a segment that counts. */
static int64_t first_scored(const evaluation *e, int64_t segment)
{
    if (e->settings->last > 0) return e->settings->length - e->settings->last;
    return segment == 0 ? 0 : e->settings->length - e->step;
}

static void score(evaluation *e, int64_t segment, const float *losses)
{
    int64_t first = first_scored(e, segment), count = e->settings->length - first;
    double sum = 0;
    for (int64_t i = first; i < e->settings->length; i++) sum += (double)losses[i];
    e->means[segment] = sum / (double)count;
    e->sum += sum;
    e->scored += count;
}

static mep_status run_batches(evaluation *e, const mep_dataset *data, mep_eval_fn progress, void *context)
{
    int64_t length = e->settings->length;
    for (int64_t first = 0; first < e->segments; first += e->batch) {
        int64_t count = e->segments - first < e->batch ? e->segments - first : e->batch;
        for (int64_t b = 0; b < count; b++) {
            int64_t start = (first + b) * e->step;
            MEP_TRY(mep_dataset_read(data, start, length, e->inputs + b * length));
            MEP_TRY(mep_dataset_read(data, start + 1, length, e->targets + b * length));
        }
        MEP_TRY(mep_session_losses(e->session, count, length, e->inputs, e->targets, e->losses));
        for (int64_t b = 0; b < count; b++) score(e, first + b, e->losses + b * length);
        if (!isfinite(e->sum))
            return mep_fail(MEP_ERROR_NUMERIC,
                            "the model's loss is not finite in segment %lld to %lld; its weights are damaged or its "
                            "training went wrong",
                            (long long)first, (long long)(first + count - 1));
        if (progress != NULL &&
            progress(context, (first + count) * length, e->segments * length, e->sum / (double)e->scored) != 0)
            return mep_fail(MEP_INTERRUPTED, "the evaluation was stopped");
    }
    return MEP_OK;
}

/* Standard error of the mean of the segments' losses. */
static double spread(const evaluation *e)
{
    double mean = 0, squares = 0, n = (double)e->segments;
    for (int64_t i = 0; i < e->segments; i++) mean += e->means[i] / n;
    for (int64_t i = 0; i < e->segments; i++) squares += (e->means[i] - mean) * (e->means[i] - mean);
    return e->segments > 1 ? sqrt(squares / (n - 1) / n) : NAN;
}

mep_status mep_evaluate(mep_model *model, const mep_dataset *data, const mep_eval_settings *settings,
                        mep_eval_fn progress, void *context, mep_eval_result *result)
{
    evaluation e = {.settings = settings};
    double start = mep_now();
    mep_status status = plan(&e, data);
    if (status == MEP_OK) status = open_evaluation(&e, model);
    if (status == MEP_OK) status = run_batches(&e, data, progress, context);
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
    mep_free(&e.means);
    return status;
}
