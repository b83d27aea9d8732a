/* SPDX-License-Identifier: MIT */
/*
 * The training benchmark: training steps on random tokens, without files (the work of train/trainer_step.c for one
 * micro-batch), or the losses of segments, as an evaluation computes them.
 */
#include <math.h>
#include <stdio.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/bench.h"
#include "bench/conditions.h"
#include "bench/operands.h"
#include "model/forward_pass.h"
#include "model/session.h"
#include "model/train_pass.h"
#include "train/adamw.h"

typedef struct bench {
    const mep_bench_train_settings *settings;
    mep_bench_common *common;
    mep_dtype dtype;
    mep_model *model;
    mep_session *session;
    mep_adamw *optimizer;
    float *gradients, *losses;
    int32_t *inputs, *targets;
    mep_bench_ceiling ceiling;
} bench;

mep_status mep_bench_preset(const char *name, mep_model_config *config)
{
    int is_gpt2 = strcmp(name, "gpt2") == 0;
    MEP_TRY(mep_model_preset(is_gpt2 ? "small" : name, config));
    if (config->hidden_size < 768) config->vocab_size = 320;
    if (!is_gpt2) return MEP_OK;
    config->max_position_embeddings = 1024;
    snprintf(config->position_encoding, sizeof config->position_encoding, "learned");
    return MEP_OK;
}

double mep_bench_train_work(const mep_bench_train_settings *s)
{
    double products = mep_products_work(&s->config, s->length), attention = mep_attention_work(&s->config, s->length);
    return (double)s->batch_size * (s->evaluate ? products + attention : 3 * products + 3.5 * attention);
}

static mep_status step(void *context)
{
    bench *t = context;
    const mep_bench_train_settings *s = t->settings;
    MEP_TRY(mep_session_refresh(t->session));
    const mep_train_batch batch = {.batch = s->batch_size,
                                   .length = s->length,
                                   .inputs = t->inputs,
                                   .targets = t->targets,
                                   .scale = 1.0f / (float)(s->batch_size * s->length)};
    MEP_TRY(mep_session_train(t->session, &batch, t->losses, t->gradients));
    double norm = 0;
    MEP_TRY(mep_adamw_norm(t->optimizer, t->gradients, &norm));
    if (!isfinite(norm)) return mep_fail(MEP_ERROR_NUMERIC, "a training step gave a gradient that is not finite");
    mep_adamw_step_run(t->optimizer, t->model, t->session->values, t->gradients, norm, 1e-4);
    return MEP_OK;
}

/* The weights are up to date since the session was created, as in mep_evaluate. */
static mep_status evaluate(void *context)
{
    bench *t = context;
    return mep_session_score(t->session, t->settings->batch_size, t->settings->length, t->inputs, t->targets,
                             t->losses);
}

/* Create the model, random tokens, the session and, for training, optimizer and gradients. */
static mep_status open_bench(bench *t)
{
    const mep_bench_train_settings *s = t->settings;
    const mep_adamw_settings adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .max_grad_norm = 1};
    mep_session_settings session;
    int64_t rows = 0;
    mep_session_defaults(&session);
    session.batch = s->batch_size;
    session.length = s->length;
    session.dtype = t->dtype;
    session.training = !s->evaluate;
    session.device = t->common->device;
    MEP_TRY(mep_multiply(s->batch_size, s->length, 1, &rows));
    MEP_TRY(mep_model_create(&t->model, &s->config, 1));
    MEP_TRY(MEP_ALLOC(&t->losses, rows));
    MEP_TRY(MEP_ALLOC(&t->inputs, rows));
    MEP_TRY(MEP_ALLOC(&t->targets, rows));
    for (int64_t i = 0; i < rows; i++) {
        t->inputs[i] = (int32_t)(mep_random_bits(1, 0, (uint64_t)i) % (uint64_t)s->config.vocab_size);
        t->targets[i] = (int32_t)(mep_random_bits(1, 1, (uint64_t)i) % (uint64_t)s->config.vocab_size);
    }
    MEP_TRY(mep_session_create(&t->session, t->model, &session));
    if (s->evaluate) return MEP_OK;
    MEP_TRY(mep_adamw_create(&t->optimizer, t->model, &adamw, mep_session_context(t->session)));
    return mep_device_array(session.device, &t->gradients, t->model->size, sizeof *t->gradients);
}

/* Measure steps or evaluations with their ceiling, and add the case to the report. */
static mep_status measure(bench *t, mep_bench_task tasks[2])
{
    const mep_bench_train_settings *s = t->settings;
    double tokens = (double)(s->batch_size * s->length);
    MEP_TRY(mep_bench_ceiling_create(&t->ceiling, t->common->device, t->common->ceiling, t->dtype));
    mep_bench_ceiling_task(&t->ceiling, &tasks[1]);
    tasks[0] = (mep_bench_task){.run = s->evaluate ? evaluate : step,
                                .context = t,
                                .device = t->common->device,
                                .work = mep_bench_train_work(s)};
    snprintf(tasks[0].name, sizeof tasks[0].name, "%s, %s", s->evaluate ? "evaluation" : "step",
             mep_dtype_name(t->dtype));
    MEP_TRY(mep_bench_first(&tasks[1], &t->common->control));
    MEP_TRY(mep_bench_sample(&tasks[1], &t->common->control));
    double begin = mep_bench_memory_begin();
    MEP_TRY(open_bench(t));
    MEP_TRY(mep_bench_first(&tasks[0], &t->common->control));
    double memory = mep_device_is_host(t->common->device) ? mep_bench_memory_growth(begin) : (double)NAN;
    MEP_TRY(mep_bench_measure(tasks, 2, &t->common->control));
    t->common->control.done++;
    mep_bench_figures f = mep_bench_figures_of(&tasks[0], &tasks[1]);
    mep_bench_train_case c = {.dtype = mep_dtype_name(t->dtype),
                              .parameters = t->model->size,
                              .batch_size = s->batch_size,
                              .length = s->length,
                              .figures = f,
                              .tokens = {tokens / f.seconds.best, tokens / f.seconds.median},
                              .memory = memory};
    return t->common->add(t->common->context, &c);
}

static void close_bench(bench *t)
{
    mep_adamw_destroy(&t->optimizer); /* before the session, whose context it uses */
    mep_session_destroy(&t->session);
    mep_model_destroy(&t->model);
    mep_bench_ceiling_destroy(&t->ceiling);
    mep_device_release(t->common->device, &t->gradients);
    mep_free(&t->losses);
    mep_free(&t->inputs);
    mep_free(&t->targets);
}

mep_status mep_bench_train(const mep_bench_train_settings *settings, mep_bench_common *common)
{
    mep_bench_task *tasks = NULL;
    MEP_TRY(MEP_ALLOC(&tasks, 2));
    common->control.total = common->dtype_count;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < common->dtype_count && status == MEP_OK; i++) {
        bench t = {.settings = settings, .common = common, .dtype = common->dtypes[i]};
        status = measure(&t, tasks);
        close_bench(&t);
    }
    mep_free(&tasks);
    return status;
}
