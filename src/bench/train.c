/* SPDX-License-Identifier: MIT */
/*
 * Whole training steps on random tokens, without files: what train/trainer.c does for one micro-batch, and nothing of
 * the data. Or the losses of segments, as an evaluation computes them.
 */
#include <math.h>
#include <stdio.h>

#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/bench.h"
#include "bench/parts.h"
#include "model/forward_pass.h"
#include "model/session.h"
#include "model/train_pass.h"
#include "train/adamw.h"

typedef struct trainer {
    const mep_bench_train_settings *settings;
    mep_bench_common *common;
    mep_dtype dtype;
    mep_model *model;
    mep_session *session;
    mep_adamw *optimizer;
    float *gradients, *losses;
    int32_t *inputs, *targets;
    mep_bench_ceiling ceiling;
} trainer;

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
    trainer *t = context;
    const mep_bench_train_settings *s = t->settings;
    MEP_TRY(mep_session_refresh(t->session));
    MEP_TRY(mep_session_train(t->session, s->batch_size, s->length, t->inputs, t->targets,
                              1.0f / (float)(s->batch_size * s->length), 0, t->losses, t->gradients));
    double norm = 0;
    MEP_TRY(mep_adamw_norm(t->optimizer, t->gradients, &norm));
    if (!isfinite(norm)) return mep_fail(MEP_ERROR_NUMERIC, "a training step gave a gradient that is not finite");
    mep_adamw_step_run(t->optimizer, t->model, t->session->values, t->gradients, norm, 1e-4);
    return MEP_OK;
}

/* As mep_evaluate: the weights are where they are needed since the session was made. */
static mep_status evaluate(void *context)
{
    trainer *t = context;
    return mep_session_score(t->session, t->settings->batch_size, t->settings->length, t->inputs, t->targets,
                             t->losses);
}

static mep_status open_trainer(trainer *t)
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
    MEP_TRY(mep_alloc(&t->losses, rows, sizeof *t->losses));
    MEP_TRY(mep_alloc(&t->inputs, rows, sizeof *t->inputs));
    MEP_TRY(mep_alloc(&t->targets, rows, sizeof *t->targets));
    for (int64_t i = 0; i < rows; i++) {
        t->inputs[i] = (int32_t)(mep_random_bits(1, 0, (uint64_t)i) % (uint64_t)s->config.vocab_size);
        t->targets[i] = (int32_t)(mep_random_bits(1, 1, (uint64_t)i) % (uint64_t)s->config.vocab_size);
    }
    MEP_TRY(mep_session_create(&t->session, t->model, &session));
    if (s->evaluate) return MEP_OK;
    MEP_TRY(mep_adamw_create(&t->optimizer, t->model, &adamw, mep_session_context(t->session)));
    return mep_device_array(session.device, &t->gradients, t->model->size, sizeof *t->gradients);
}

static mep_status measure(trainer *t, mep_bench_lane lanes[2])
{
    const mep_bench_train_settings *s = t->settings;
    double tokens = (double)(s->batch_size * s->length);
    MEP_TRY(mep_bench_ceiling_create(&t->ceiling, t->common->device, t->common->ceiling, t->dtype));
    mep_bench_ceiling_lane(&t->ceiling, &lanes[1]);
    lanes[0] = (mep_bench_lane){.run = s->evaluate ? evaluate : step,
                                .context = t,
                                .device = t->common->device,
                                .work = mep_bench_train_work(s)};
    snprintf(lanes[0].name, sizeof lanes[0].name, "%s, %s", s->evaluate ? "evaluation" : "step",
             mep_dtype_name(t->dtype));
    MEP_TRY(mep_bench_first(&lanes[1], &t->common->control));
    MEP_TRY(mep_bench_sample(&lanes[1], &t->common->control));
    double begin = mep_bench_memory_begin();
    MEP_TRY(open_trainer(t));
    MEP_TRY(mep_bench_first(&lanes[0], &t->common->control));
    double memory = t->common->device == MEP_DEVICE_CPU ? mep_bench_memory_growth(begin) : (double)NAN;
    MEP_TRY(mep_bench_measure(lanes, 2, &t->common->control));
    t->common->control.done++;
    mep_bench_figures f = mep_bench_figures_of(&lanes[0], &lanes[1]);
    mep_bench_train_case c = {.dtype = mep_dtype_name(t->dtype),
                              .parameters = t->model->size,
                              .batch_size = s->batch_size,
                              .length = s->length,
                              .figures = f,
                              .tokens = {tokens / f.seconds.best, tokens / f.seconds.median},
                              .memory = memory};
    return t->common->add(t->common->context, &c);
}

static void close_trainer(trainer *t)
{
    mep_adamw_destroy(&t->optimizer); /* it computes where the session does */
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
    mep_bench_lane *lanes = NULL;
    MEP_TRY(mep_alloc(&lanes, 2, sizeof *lanes));
    common->control.total = common->dtype_count;
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < common->dtype_count && status == MEP_OK; i++) {
        trainer t = {.settings = settings, .common = common, .dtype = common->dtypes[i]};
        status = measure(&t, lanes);
        close_trainer(&t);
    }
    mep_free(&lanes);
    return status;
}
