/* SPDX-License-Identifier: MIT */
/*
 * Evaluation on several corpora: the weighted mean of their losses.
 */
#include "eval/evaluate.h"

#include <math.h>

#include "base/error.h"

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
    double variance = 0;
    corpus_call.progress = call->progress != NULL ? report : NULL;
    corpus_call.context = &p;
    for (; p.corpus < mix->count; p.corpus++) {
        mep_eval_result one = {0};
        double weight = mix->weights[p.corpus];
        mep_status status = mep_evaluate_in(&corpus_call, mix->data[p.corpus], &one);
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
    return MEP_OK;
}
