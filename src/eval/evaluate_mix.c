/* SPDX-License-Identifier: MIT */
/*
 * Evaluation on several corpora: the weighted mean of their losses.
 */
#include "eval/evaluate.h"

#include <math.h>

#include "base/error.h"
#include "base/memory.h"

typedef struct mix_progress {
    const mep_eval_call *call;
    const mep_data_mix *mix;
    const mep_eval_result *sum; /* of the finished corpora */
    int64_t corpus;             /* the current one */
    int64_t done;               /* tokens of the finished corpora */
    double weight;              /* of the finished corpora */
} mix_progress;

/* Report the current corpus. The total is an estimate until the last corpus. */
static int report(void *context, int64_t done, int64_t total, double loss)
{
    const mix_progress *p = context;
    double weight = isnan(loss) ? 0 : p->mix->weights[p->corpus]; /* NaN: no batch of this corpus is finished */
    double sum = p->sum->loss + (isnan(loss) ? 0 : weight * loss), mean = sum / (p->weight + weight);
    return p->call->progress(p->call->context, p->done + done, p->done + total * (p->mix->count - p->corpus), mean);
}

/* The samples of the corpora as samples of the weighted mean. */
typedef struct mix_samples {
    double *values;
    int64_t count;
    int64_t starts[MEP_DATA_MIX_MOST + 1];
    int is_unknown; /* a corpus has one segment, whose spread is unknown */
} mix_samples;

static mep_status add_samples(mix_samples *all, const mep_eval_result *one, const double *samples, int64_t corpus)
{
    MEP_TRY(MEP_GROW(&all->values, all->count, all->count + one->segments));
    for (int64_t i = 0; i < one->segments; i++) all->values[all->count + i] = samples[i] - one->loss;
    all->is_unknown |= one->segments < 2;
    all->starts[corpus] = all->count;
    all->count += one->segments;
    all->starts[corpus + 1] = all->count;
    return MEP_OK;
}

/* Scale the deviations of each corpus so that the standard error of all samples together is that of the weighted mean,
 * sqrt(sum over corpora of weight^2 variance / segments). */
static void scale_samples(mix_samples *all, const mep_data_mix *mix, double loss)
{
    double count = (double)all->count;
    for (int64_t k = 0; k < mix->count; k++) {
        double own = (double)(all->starts[k + 1] - all->starts[k]);
        double scale = mix->weights[k] * count / own * sqrt((count - 1) / count * own / (own - 1));
        for (int64_t i = all->starts[k]; i < all->starts[k + 1]; i++) all->values[i] = loss + scale * all->values[i];
    }
}

mep_status mep_evaluate_mix(const mep_eval_call *call, const mep_data_mix *mix, mep_eval_result *result,
                            mep_eval_result *each)
{
    MEP_REQUIRE(call, mix, result);
    MEP_REQUIRE(call->model, call->settings);
    if (mix->count == 0) return mep_fail(MEP_ERROR_ARGUMENT, "the data mix has no corpus to evaluate");
    if (mix->count == 1) {
        MEP_TRY(mep_evaluate_in(call, mix->data[0], result));
        if (each != NULL) each[0] = *result;
        return MEP_OK;
    }
    mep_eval_result sum = {.length = call->settings->length};
    mix_progress p = {.call = call, .mix = mix, .sum = &sum};
    mep_eval_call corpus_call = *call;
    mix_samples all = {.count = 0};
    double variance = 0;
    corpus_call.progress = call->progress != NULL ? report : NULL;
    corpus_call.context = &p;
    for (; p.corpus < mix->count; p.corpus++) {
        mep_eval_result one = {0};
        double weight = mix->weights[p.corpus];
        double *samples = NULL;
        corpus_call.samples = call->samples != NULL ? &samples : NULL;
        mep_status status = mep_evaluate_in(&corpus_call, mix->data[p.corpus], &one);
        if (status == MEP_OK && samples != NULL) status = add_samples(&all, &one, samples, p.corpus);
        mep_free(&samples);
        if (status != MEP_OK) mep_free(&all.values);
        if (status == MEP_INTERRUPTED) return status;
        if (status != MEP_OK) return mep_fail_in(status, "%s: ", mix->names[p.corpus]);
        if (each != NULL) each[p.corpus] = one;
        double deviation = weight * one.standard_error / one.perplexity; /* of the mean loss */
        variance += deviation * deviation;
        sum.loss += weight * one.loss;
        sum.segments += one.segments;
        sum.tokens += one.tokens;
        sum.seconds += one.seconds;
        p.done += one.segments * call->settings->length;
        p.weight += weight;
    }
    sum.perplexity = exp(sum.loss);
    sum.standard_error = sum.perplexity * sqrt(variance);
    *result = sum;
    if (call->samples == NULL) return MEP_OK;
    if (all.is_unknown)
        mep_free(&all.values);
    else
        scale_samples(&all, mix, sum.loss);
    *call->samples = all.values;
    return MEP_OK;
}
