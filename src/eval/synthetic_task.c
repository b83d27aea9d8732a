/* SPDX-License-Identifier: MIT */
/*
 * A synthetic task as a measure: new sequences of a length, and the fraction of their answers that the model finds.
 */
#include "base/error.h"
#include "base/memory.h"
#include "eval/scorer.h"
#include "eval/synthetic.h"

#include <math.h>

typedef struct task_run {
    const mep_measure_call *call;
    mep_synthetic task;
    int64_t answers;        /* per sequence */
    int32_t *tokens;        /* [length] */
    uint8_t *mask;          /* [length] */
    double *exact, *losses; /* [samples] */
} task_run;

/* Make a sequence and list its answers: positions of inputs whose target is an answer. */
static void make(task_run *r, int64_t index, int64_t *answers)
{
    int64_t length = r->call->settings->length, found = 0;
    mep_synthetic_fill(&r->task, 1, index, length, r->tokens, r->mask);
    for (int64_t i = 1; i < length && found < r->answers; i++)
        if (r->mask[i]) answers[found++] = i - 1;
}

/* Compose sequence number `segment` (a mep_scorer.read). */
static mep_status read(void *context, int64_t segment, int32_t *inputs, int32_t *targets, int64_t *answers)
{
    task_run *r = context;
    int64_t length = r->call->settings->length;
    make(r, segment, answers);
    for (int64_t i = 0; i < length; i++) {
        inputs[i] = r->tokens[i];
        targets[i] = r->tokens[(i + 1) % length];
    }
    return MEP_OK;
}

/* Score sequence number `segment` (a mep_scorer.take): the fraction of right answers, and their mean loss. */
static void take(void *context, int64_t segment, const float *losses, const int32_t *likeliest)
{
    task_run *r = context;
    int64_t positions[64] = {0}, right = 0;
    double loss = 0;
    make(r, segment, positions);
    for (int64_t i = 0; i < r->answers; i++) {
        right += likeliest[i] == r->tokens[positions[i] + 1];
        loss += (double)losses[i];
    }
    r->exact[segment] = (double)right / (double)r->answers;
    r->losses[segment] = loss / (double)r->answers;
}

static mep_status open_measure(task_run *r)
{
    const mep_measure_settings *s = r->call->settings;
    const mep_model *model = r->call->model; /* NULL: only a check */
    MEP_TRY(mep_measure_check(r->call));
    MEP_TRY(mep_synthetic_check(&r->task, s->length));
    if (model != NULL) MEP_TRY(mep_synthetic_check_vocab(r->task.kind->name, mep_model_get_config(model)->vocab_size));
    MEP_TRY(MEP_ALLOC(&r->tokens, s->length));
    MEP_TRY(MEP_ALLOC(&r->mask, s->length));
    MEP_TRY(MEP_ALLOC(&r->exact, s->samples));
    return MEP_ALLOC(&r->losses, s->samples);
}

static mep_status run(task_run *r, mep_measure_draft *draft)
{
    const mep_measure_settings *s = r->call->settings;
    const mep_scorer scorer = {.call = r->call,
                               .what = "the task",
                               .length = s->length,
                               .segments = s->samples,
                               .answers = r->answers,
                               .read = read,
                               .take = take,
                               .context = r};
    MEP_TRY(mep_scorer_run(&scorer));
    MEP_TRY(mep_measure_add_samples(draft, "exact", NAN, r->exact, s->samples));
    return mep_measure_add_samples(draft, "loss", NAN, r->losses, s->samples);
}

mep_status mep_measure_synthetic(const mep_measure_call *call, const char *task, mep_measure *measure)
{
    mep_measure_call own;
    MEP_REQUIRE(call, task, measure);
    MEP_TRY(mep_measure_open(&own, call, MEP_MEASURE_NOTHING));
    task_run r = {.call = &own};
    mep_measure_draft draft;
    MEP_TRY(mep_synthetic_parse(&r.task, task, own.settings->seed));
    r.answers = r.task.kind->answers(&r.task);
    MEP_TRY(mep_measure_begin(&draft, measure, r.task.kind->name, "", own.settings->length));
    mep_status status = mep_dist_agree(own.group, open_measure(&r));
    if (status == MEP_OK && !own.check_only) status = run(&r, &draft);
    mep_free(&r.tokens);
    mep_free(&r.mask);
    mep_free(&r.exact);
    mep_free(&r.losses);
    return mep_measure_end(&draft, status, measure);
}
