/* SPDX-License-Identifier: MIT */
/*
 * The training loop: data, micro-batches, AdamW, checkpoints. Files are run.c's business, mathematics model's and
 * adamw's.
 */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/model_files.h"
#include "model/session.h"
#include "train/adamw.h"
#include "train/mixture.h"
#include "train/run.h"

typedef struct trainer {
    const char *run;
    mep_train_settings settings;
    mep_mixture data, valid; /* valid.count is 0 where there is none */
    mep_model *model;
    mep_session *session;
    mep_adamw *optimizer;
    float *gradients, *losses;
    int32_t *inputs, *targets;
    int64_t micro;
} trainer;

static void close_trainer(trainer *t)
{
    mep_session_destroy(&t->session);
    mep_adamw_destroy(&t->optimizer);
    mep_model_destroy(&t->model);
    mep_mixture_close(&t->data);
    mep_mixture_close(&t->valid);
    mep_free(&t->gradients);
    mep_free(&t->losses);
    mep_free(&t->inputs);
    mep_free(&t->targets);
}

static mep_status check_vocabulary(const mep_mixture *data, const mep_train_settings *s)
{
    for (int64_t i = 0; i < data->count; i++) {
        int64_t size = mep_dataset_vocab_size(data->data[i]);
        if (size > s->model.vocab_size)
            return mep_fail(MEP_ERROR_ARGUMENT,
                            "%s: has tokens up to %lld, but the model's vocab_size is %lld; choose a larger one",
                            data->names[i], (long long)size - 1, (long long)s->model.vocab_size);
    }
    return MEP_OK;
}

static mep_status open_data(trainer *t)
{
    const mep_train_settings *s = &t->settings;
    MEP_TRY(mep_mixture_open_train(&t->data, s));
    MEP_TRY(check_vocabulary(&t->data, s));
    MEP_TRY(mep_mixture_open_valid(&t->valid, s));
    MEP_TRY(check_vocabulary(&t->valid, s));
    MEP_TRY(mep_mixture_check_tokenizers(&t->data, &t->valid));
    MEP_TRY(mep_mixture_order(&t->valid, s->length, 0)); /* too short shows now, not after hours */
    return mep_mixture_order(&t->data, s->length, s->seed);
}

/* The tokenizer.json of the folder that the run begins from is the data's, where both are known. */
static mep_status check_init_tokenizer(const trainer *t)
{
    mep_tokenizer *model = NULL, *data = NULL;
    char *folder = NULL, *path = NULL;
    const char *name = mep_dataset_tokenizer(t->data.data[0]);
    MEP_TRY(mep_model_folder(t->settings.init, &folder));
    mep_status status = mep_path_join(&path, folder, "tokenizer.json");
    if (status == MEP_OK && name[0] != '\0' && mep_file_exists(path)) {
        status = mep_tokenizer_open(&model, path);
        if (status == MEP_OK) status = mep_tokenizer_open(&data, name);
        if (status == MEP_OK && !mep_tokenizer_equal(model, data))
            status = mep_fail(MEP_ERROR_ARGUMENT,
                              "%s was prepared with the tokenizer %s, but %s reads the tokens of %s; prepare the text "
                              "with that one",
                              t->settings.data, name, t->settings.init, path);
    }
    mep_tokenizer_destroy(&model);
    mep_tokenizer_destroy(&data);
    mep_free(&folder);
    mep_free(&path);
    return status;
}

/* The weights that a new run begins with. */
static mep_status initialize(trainer *t)
{
    if (t->settings.init[0] == '\0') return MEP_OK;
    MEP_TRY(check_init_tokenizer(t));
    return mep_model_read_weights(t->model, t->settings.init);
}

static mep_status open_trainer(trainer *t)
{
    mep_train_settings *s = &t->settings;
    t->micro = s->micro_batch_size > 0 ? s->micro_batch_size : s->batch_size;
    MEP_TRY(open_data(t));
    MEP_TRY(mep_model_create(&t->model, &s->model, s->seed));
    mep_adamw_settings adamw = {s->beta1, s->beta2, s->eps, s->weight_decay, s->max_grad_norm};
    MEP_TRY(mep_adamw_create(&t->optimizer, t->model, &adamw));
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = t->micro;
    session.length = s->length;
    session.dtype = s->dtype;
    session.training = 1;
    session.recompute = s->recompute;
    int64_t rows = 0;
    MEP_TRY(mep_multiply(t->micro, s->length, 1, &rows));
    MEP_TRY(mep_alloc(&t->gradients, t->model->size, sizeof *t->gradients));
    MEP_TRY(mep_alloc(&t->losses, rows, sizeof *t->losses));
    MEP_TRY(mep_alloc(&t->inputs, rows, sizeof *t->inputs));
    MEP_TRY(mep_alloc(&t->targets, rows, sizeof *t->targets));
    return mep_session_create(&t->session, t->model, &session);
}

/* Name the first tensor whose gradient is not finite. */
static mep_status fail_numeric(const trainer *t, double loss, double norm)
{
    const char *name = "none of its tensors";
    for (int64_t i = t->model->count - 1; i >= 0; i--) {
        const float *g = t->gradients + mep_tensor_offset(t->model, i);
        for (int64_t n = 0; n < t->model->tensors[i].size; n++)
            if (!isfinite(g[n])) name = t->model->tensors[i].name;
    }
    return mep_fail(MEP_ERROR_NUMERIC,
                    "step %lld: loss %g, gradient norm %g; first gradient that is not finite: %s; the step was not "
                    "applied, the last checkpoint is whole; try a lower learning rate",
                    (long long)t->optimizer->step + 1, loss, norm, name);
}

/* Loss and gradients of all micro-batches of a step. */
static mep_status accumulate(trainer *t, double *loss)
{
    const mep_train_settings *s = &t->settings;
    int64_t step = t->optimizer->step, length = s->length, rows = t->micro * length;
    float scale = 1.0f / (float)(s->batch_size * length);
    double sum = 0;
    for (int64_t first = 0; first < s->batch_size; first += t->micro) {
        for (int64_t b = 0; b < t->micro; b++)
            MEP_TRY(mep_mixture_read(&t->data, step * s->batch_size + first + b, t->inputs + b * length,
                                     t->targets + b * length));
        MEP_TRY(mep_session_train(t->session, t->micro, length, t->inputs, t->targets, scale, first > 0, t->losses,
                                  t->gradients));
        for (int64_t i = 0; i < rows; i++) sum += (double)t->losses[i];
    }
    *loss = sum / (double)(s->batch_size * length);
    return MEP_OK;
}

static mep_status run_step(trainer *t, mep_train_progress *p)
{
    const mep_train_settings *s = &t->settings;
    double start = mep_now();
    MEP_TRY(mep_session_refresh(t->session));
    MEP_TRY(accumulate(t, &p->loss));
    p->grad_norm = mep_adamw_norm(t->optimizer, t->gradients);
    if (!isfinite(p->loss) || !isfinite(p->grad_norm)) return fail_numeric(t, p->loss, p->grad_norm);
    p->learning_rate = mep_train_learning_rate(s, t->optimizer->step);
    mep_adamw_step_run(t->optimizer, t->model, t->gradients, p->grad_norm, p->learning_rate);
    p->step = t->optimizer->step;
    p->steps = s->steps;
    p->tokens_per_second = (double)(s->batch_size * s->length) / (mep_now() - start);
    p->valid_loss = NAN;
    return MEP_OK;
}

static mep_status validate(trainer *t, mep_train_progress *p)
{
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = t->settings.length;
    e.max_tokens = t->settings.valid_tokens;
    e.batch_tokens = t->micro * t->settings.length;
    e.dtype = t->settings.dtype;
    MEP_TRY(mep_mixture_evaluate(t->model, &t->valid, &e, NULL, NULL, &result));
    p->valid_loss = result.loss;
    return MEP_OK;
}

static mep_status loop(trainer *t, mep_train_fn progress, void *context)
{
    const mep_train_settings *s = &t->settings;
    while (t->optimizer->step < s->steps) {
        mep_train_progress p;
        MEP_TRY(run_step(t, &p));
        int last = p.step == s->steps;
        if (t->valid.count > 0 && s->valid_every > 0 && (p.step % s->valid_every == 0 || last))
            MEP_TRY(validate(t, &p));
        MEP_TRY(mep_run_log(t->run, &p));
        int stop = progress != NULL && progress(context, &p) != 0;
        if (stop || last || (s->save_every > 0 && p.step % s->save_every == 0)) {
            MEP_TRY(mep_model_sync_bias(t->model)); /* position parameters are saved within their ranges */
            MEP_TRY(mep_run_save(t->run, t->model, t->optimizer, s->keep));
        }
        if (stop && !last)
            return mep_fail(MEP_INTERRUPTED, "stopped after step %lld of %lld; everything is saved in %s",
                            (long long)p.step, (long long)s->steps, t->run);
    }
    return MEP_OK;
}

static mep_run_checksums checksums_of(const trainer *t)
{
    mep_run_checksums checksums;
    mep_mixture_checksums(&t->data, checksums.data);
    mep_mixture_checksums(&t->valid, checksums.valid);
    return checksums;
}

mep_status mep_train_start(const char *run, const mep_train_settings *settings, mep_train_fn progress, void *context)
{
    trainer t = {.run = run, .settings = *settings};
    char *path = NULL;
    if (t.settings.model.max_position_embeddings < settings->length)
        t.settings.model.max_position_embeddings = settings->length;
    MEP_TRY(mep_train_check(&t.settings));
    MEP_TRY(mep_path_join(&path, run, "train.json"));
    mep_status status = MEP_OK;
    if (mep_file_exists(path))
        status = mep_fail(MEP_ERROR_ARGUMENT, "%s: holds a run already; resume it, or choose another folder", run);
    mep_free(&path);
    if (status == MEP_OK) status = open_trainer(&t);
    if (status == MEP_OK) status = initialize(&t);
    if (status == MEP_OK) status = mep_make_folder(run, 1);
    if (status == MEP_OK) {
        mep_run_checksums checksums = checksums_of(&t);
        status = mep_run_write_tokenizer(run, t.data.data[0]);
        if (status == MEP_OK) status = mep_run_write_settings(run, &t.settings, &checksums);
    }
    if (status == MEP_OK) status = loop(&t, progress, context);
    close_trainer(&t);
    return status;
}

static mep_status check_data(const trainer *t, const mep_run_checksums *then)
{
    mep_run_checksums now = checksums_of(t);
    int differs = strcmp(now.data, then->data) != 0;
    if (!differs && strcmp(now.valid, then->valid) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: is not the data that %s was started with; bring it back, or start a new run",
                    differs || t->settings.valid[0] == '\0' ? t->settings.data : t->settings.valid, t->run);
}

mep_status mep_train_resume(const char *run, mep_train_fn progress, void *context)
{
    trainer t = {.run = run};
    mep_run_checksums checksums = {0};
    int64_t done = 0;
    MEP_TRY(mep_run_read_settings(run, &t.settings, &checksums));
    MEP_TRY(mep_train_steps_done(run, &done));
    if (done >= t.settings.steps) return MEP_OK;
    mep_status status = open_trainer(&t);
    if (status == MEP_OK) status = check_data(&t, &checksums);
    if (status == MEP_OK && done == 0) status = initialize(&t);
    if (status == MEP_OK) status = mep_run_load(run, t.model, t.optimizer);
    if (status == MEP_OK) status = mep_run_trim_log(run, t.optimizer->step);
    if (status == MEP_OK) status = loop(&t, progress, context);
    close_trainer(&t);
    return status;
}
