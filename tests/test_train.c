/* SPDX-License-Identifier: MIT */
/*
 * Training and resuming on a small synthetic dataset: the model learns; a step equals the session and AdamW applied to
 * the step's sequences; a resumed run is bit-identical to one without interruption; and refusals.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "eval/evaluate.h"
#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "test_backends.h"
#include "train/adamw.h"
#include "train/run.h"
#include "train/sampler.h"
#include "mep/train.h"

typedef struct record {
    int64_t stop_after, count;
    double first, last, valid;
    double norms[8], losses[8]; /* of the first steps */
} record;

static int keep_record(void *context, const mep_train_progress *p)
{
    record *r = context;
    if (r->count < 8) r->norms[r->count] = p->grad_norm, r->losses[r->count] = p->loss;
    if (r->count++ == 0) r->first = p->loss;
    r->last = p->loss;
    if (isfinite(p->valid_loss)) r->valid = p->valid_loss;
    return p->step == r->stop_after;
}

static void train(const char *name, const mep_train_settings *s, int64_t stop_after, record *r)
{
    *r = (record){.stop_after = stop_after, .valid = NAN};
    mep_status status = mep_train_start(run_path(name), s, keep_record, r);
    if (status != (stop_after > 0 ? MEP_INTERRUPTED : MEP_OK)) fail_msg("%s", mep_error_message());
}

static void assert_same_model(const char *a, const char *b)
{
    mep_model *x, *y;
    assert_int_equal(mep_model_load(&x, run_path(a)), MEP_OK);
    assert_int_equal(mep_model_load(&y, run_path(b)), MEP_OK);
    assert_int_equal(x->size, y->size);
    assert_memory_equal(x->values, y->values, (size_t)x->size * sizeof(float));
    mep_model_destroy(&x);
    mep_model_destroy(&y);
}

/* The best possible loss is ln 60 for one token in four. The loss starts at ln 64 and comes close to it, in either
 * dtype. The validation loss is that of the other text. */
static void test_learning(void **state)
{
    (void)state;
    char other[700];
    snprintf(other, sizeof other, "%s/other", folder);
    write_data(other, TOKENS / 4, 2);
    for (int dtype = 0; dtype < 2; dtype++) {
        record r;
        const char *name = dtype == 0 ? "learning32" : "learning16";
        mep_train_settings s = settings_for("mep_param");
        snprintf(s.valid, sizeof s.valid, "%s", other);
        s.valid_every = 50, s.valid_tokens = 1024, s.steps = 150, s.save_every = 0, s.dtype = (mep_dtype)dtype;
        train(name, &s, 0, &r);
        assert_int_equal(r.count, 150);
        assert_true(r.first > 4.0 && r.first < 4.4);
        if (!(r.last < 1.6)) fail_msg("the loss after 150 steps is %g", r.last);
        assert_true(fabs(r.valid - r.last) < 0.3);
        mep_model *model;
        mep_dataset *data;
        mep_eval_settings e;
        mep_eval_result result;
        mep_eval_defaults(&e);
        e.length = s.length, e.max_tokens = s.valid_tokens, e.dtype = s.dtype,
        e.batch_tokens = s.micro_batch_size * s.length;
        assert_int_equal(mep_model_load(&model, run_path(name)), MEP_OK);
        assert_int_equal(mep_dataset_open(&data, other), MEP_OK);
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_OK);
        if (!(fabs(result.loss - r.valid) < 1e-6))
            fail_msg("the validation loss is %.9g, expected %.9g", r.valid, result.loss);
        mep_dataset_close(&data);
        mep_model_destroy(&model);
    }
}

/* Three steps by hand, each with all sequences at once: the run, in micro-batches, has the same losses, gradient norms
 * and weights up to the rounding of sums. The settings clip every gradient, use a large weight decay, and warm up. */
static void test_steps(void **state)
{
    (void)state;
    enum { STEPS = 3 };
    record r;
    mep_train_settings s = settings_for("mep_param");
    s.steps = STEPS, s.weight_decay = 3, s.max_grad_norm = 0.3, s.beta1 = 0.7, s.beta2 = 0.8, s.eps = 1e-2,
    s.warmup = 0.6;
    train("steps", &s, 0, &r);
    assert_int_equal(r.count, STEPS);

    mep_model *model, *found;
    mep_dataset *data;
    mep_sampler sampler;
    mep_session *session;
    mep_adamw *optimizer;
    mep_session_settings ss;
    mep_adamw_settings adamw = {s.beta1, s.beta2, s.eps, s.weight_decay, s.max_grad_norm};
    int64_t rows = s.batch_size * s.length;
    assert_int_equal(mep_model_create(&model, &s.model, s.seed), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    assert_int_equal(mep_sampler_init(&sampler, data, "data", s.length, s.seed), MEP_OK);
    mep_session_defaults(&ss);
    ss.batch = s.batch_size, ss.length = s.length, ss.training = 1;
    assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
    assert_int_equal(mep_adamw_create(&optimizer, model, &adamw, mep_context_cpu), MEP_OK);
    int32_t *inputs = calloc((size_t)rows, sizeof *inputs), *targets = calloc((size_t)rows, sizeof *targets);
    float *losses = calloc((size_t)rows, sizeof *losses), *gradients = calloc((size_t)model->size, sizeof *gradients);
    for (int64_t step = 0; step < STEPS; step++) {
        double sum = 0;
        for (int64_t b = 0; b < s.batch_size; b++)
            assert_int_equal(
                mep_sampler_read(&sampler, step * s.batch_size + b, inputs + b * s.length, targets + b * s.length),
                MEP_OK);
        memset(gradients, 0, (size_t)model->size * sizeof *gradients);
        assert_int_equal(mep_session_refresh(session), MEP_OK);
        assert_int_equal(mep_session_train(session,
                                           &(mep_train_batch){.batch = s.batch_size,
                                                              .length = s.length,
                                                              .inputs = inputs,
                                                              .targets = targets,
                                                              .scale = 1 / (float)rows,
                                                              .accumulate = 1},
                                           losses, gradients),
                         MEP_OK);
        double norm;
        assert_int_equal(mep_adamw_norm(optimizer, gradients, &norm), MEP_OK);
        for (int64_t i = 0; i < rows; i++) sum += (double)losses[i];
        assert_true(norm > s.max_grad_norm);
        if (!(fabs(r.norms[step] / norm - 1) < 1e-5))
            fail_msg("step %d: gradient norm %g, expected %g", (int)step + 1, r.norms[step], norm);
        assert_true(fabs(r.losses[step] - sum / (double)rows) < 1e-5);
        mep_adamw_step_run(optimizer, model, model->values, gradients, norm, mep_train_learning_rate(&s, step));
    }
    assert_int_equal(mep_session_refresh(session), MEP_OK);
    assert_int_equal(mep_model_load(&found, run_path("steps")), MEP_OK);
    for (int64_t i = 0; i < model->size; i++) /* a large eps suppresses gradients that are only rounding */
        if (!(fabsf(found->values[i] - model->values[i]) < 1e-6f))
            fail_msg("value %lld is %.9g, expected %.9g", (long long)i, (double)found->values[i],
                     (double)model->values[i]);
    free(inputs);
    free(targets);
    free(losses);
    free(gradients);
    mep_adamw_destroy(&optimizer);
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
    mep_model_destroy(&found);
}

/* Position parameters in checkpoints are within their ranges, whatever the last step did: steps here are large. */
static void test_position_ranges(void **state)
{
    (void)state;
    record r;
    mep_train_settings s = settings_for("kerple_log");
    s.steps = 1, s.learning_rate = 3, s.min_learning_rate = 3, s.warmup = 0;
    train("ranges", &s, 0, &r);
    static const char *const names[] = {"position_bias.kerple_log.p", "position_bias.kerple_log.a"};
    char path[800];
    mep_safetensors *file;
    int low = 0, high = 0;
    snprintf(path, sizeof path, "%s/checkpoint-1/model.safetensors", run_path("ranges"));
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    for (int n = 0; n < 2; n++) {
        float values[4];
        const int64_t heads = 4;
        assert_int_equal(mep_safetensors_read(file, names[n], MEP_FLOAT32, 1, &heads, values), MEP_OK);
        for (int h = 0; h < 4; h++) {
            if (!(values[h] >= 0.0099999f)) fail_msg("%s of head %d is %g", names[n], h + 1, (double)values[h]);
            low += values[h] < 0.010001f;
            high += values[h] > 3;
        }
    }
    if (!(low > 0 && low + high == 8)) fail_msg("%d parameters were held at 0.01, %d rose", low, high);
    mep_safetensors_close(&file);
}

/* Stopped at any step, with and without a checkpoint due, and resumed: the same bits. */
static void test_resume(void **state)
{
    (void)state;
    static const struct {
        const char *position;
        mep_dtype dtype;
    } cases[] = {{"mep_param", MEP_FLOAT32},
                 {"mep_param", MEP_BFLOAT16},
                 {"rotary", MEP_BFLOAT16},
                 {"mep/learn=weights,slopes", MEP_FLOAT32}};
    static const int64_t stops[] = {1, 4, 11};
    record r;
    for (int c = 0; c < 4; c++) {
        char whole[32], parts[32];
        mep_train_settings s = settings_for(cases[c].position);
        s.dtype = cases[c].dtype, s.steps = 12, s.save_every = 4;
        snprintf(whole, sizeof whole, "whole%d", c);
        train(whole, &s, 0, &r);
        double last = r.last;
        for (int i = 0; i < 3; i++) {
            snprintf(parts, sizeof parts, "parts%d%d", c, i);
            train(parts, &s, stops[i], &r);
            r = (record){0};
            assert_int_equal(mep_train_resume(run_path(parts), keep_record, &r), MEP_OK);
            assert_int_equal(r.count, s.steps - stops[i]);
            assert_true(r.last == last);
            assert_same_model(whole, parts);
        }
    }
}

/* The number of threads changes no bit, in either dtype. */
static void test_threads(void **state)
{
    (void)state;
    record r;
    int threads = mep_set_threads(0);
    for (int dtype = 0; dtype < 2; dtype++) {
        mep_train_settings s = settings_for("mep_param");
        s.dtype = (mep_dtype)dtype;
        mep_set_threads(1);
        train(dtype == 0 ? "one32" : "one16", &s, 0, &r);
        mep_set_threads(3);
        train(dtype == 0 ? "three32" : "three16", &s, 0, &r);
    }
    mep_set_threads(threads);
    assert_same_model("one32", "three32");
    assert_same_model("one16", "three16");
}

/* metrics.jsonl has one line per step, also after a resume from a checkpoint older than the last line. */
static void test_metrics(void **state)
{
    (void)state;
    record r;
    mep_train_settings s = settings_for("alibi");
    train("metrics", &s, 15, &r);
    char path[800], *text;
    int64_t size, lines = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_path("metrics"));
    mep_lines log;
    assert_int_equal(mep_lines_open(&log, path), MEP_OK);
    assert_int_equal(mep_lines_append(&log, "{\"step\": 16}"), MEP_OK);
    assert_int_equal(mep_lines_close(&log), MEP_OK); /* as if killed after step 16 */
    assert_int_equal(mep_train_resume(run_path("metrics"), NULL, NULL), MEP_OK);
    assert_int_equal(mep_file_read(path, 1 << 24, &text, &size), MEP_OK);
    for (int64_t i = 0; i < size; i++) lines += text[i] == '\n';
    assert_int_equal(lines, s.steps);
    free(text);
}

/* Truncating the log of a long run takes linear time, not quadratic. */
static void test_long_log(void **state)
{
    (void)state;
    enum { LINES = 100000, LINE = 120 };
    char path[800], *text = malloc((size_t)LINES * LINE);
    int64_t used = 0, kept = 0, size = 0;
    assert_non_null(text);
    for (int64_t i = 1; i <= LINES; i++) {
        used += snprintf(text + used, LINE,
                         "{\"step\": %lld, \"loss\": 5.54123457, \"learning_rate\": 0.0006, \"grad_norm\": 2.31234568, "
                         "\"tokens_per_second\": 41000.1}\n",
                         (long long)i);
        if (i == LINES - 7) kept = used;
    }
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_path("long_log"));
    assert_int_equal(mep_make_folder(run_path("long_log"), 1), MEP_OK);
    assert_int_equal(mep_file_write_atomic(path, text, used), MEP_OK);
    free(text);
    clock_t begin = clock();
    assert_int_equal(mep_run_trim_log(run_path("long_log"), LINES - 7), MEP_OK);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (!(seconds < 3)) fail_msg("%d lines took %.1f s", LINES, seconds);
    assert_int_equal(mep_file_read(path, 1 << 28, &text, &size), MEP_OK);
    assert_int_equal(size, kept);
    free(text);
}

static void change_byte(const char *path, int64_t from_end)
{
    char *data;
    int64_t size;
    assert_int_equal(mep_file_read(path, 1 << 24, &data, &size), MEP_OK);
    data[size - 1 - from_end] ^= 4;
    assert_int_equal(mep_file_write_atomic(path, data, size), MEP_OK);
    free(data);
}

/* Damage to any file of the newest checkpoint: resuming names the damage and changes nothing; falling back renames that
 * checkpoint and continues from the one before it, with the same bits. */
static void test_fall_back(void **state)
{
    (void)state;
    static const struct {
        const char *file, *message;
    } cases[] = {{"model.safetensors", "model.safetensors: the tensor \"position_bias."},
                 {"optimizer.safetensors", "optimizer.safetensors: the tensor \"v\""},
                 {"config.json", "config.json is damaged"},
                 {"state.json", "state.json"}};
    record r;
    char name[32], path[800];
    int64_t step, aside;
    mep_train_settings s = settings_for("mep_param");
    s.steps = 12, s.save_every = 3, s.keep = 2;
    train("never_damaged", &s, 0, &r);
    for (int c = 0; c < 4; c++) {
        snprintf(name, sizeof name, "damaged%d", c);
        train(name, &s, 9, &r);
        snprintf(path, sizeof path, "%s/checkpoint-9/%s", run_path(name), cases[c].file);
        change_byte(path, 5);
        assert_int_equal(mep_train_resume(run_path(name), NULL, NULL), MEP_ERROR_FORMAT);
        if (strstr(mep_error_message(), cases[c].message) == NULL) fail_msg("%s", mep_error_message());
        assert_non_null(strstr(mep_error_message(), "--fall-back"));
        assert_int_equal(mep_train_fall_back(run_path(name), &step, &aside), MEP_OK);
        assert_true(step == 6 && aside == 1);
        assert_true(mep_folder_exists(run_path(name)));
        snprintf(path, sizeof path, "%s/checkpoint-9.damaged", run_path(name));
        assert_true(mep_folder_exists(path));
        assert_int_equal(mep_train_fall_back(run_path(name), &step, &aside), MEP_OK);
        assert_true(step == 6 && aside == 0);
        assert_int_equal(mep_train_resume(run_path(name), NULL, NULL), MEP_OK);
        assert_same_model("never_damaged", name);
    }
    /* weights or moments of another step, as a copy that was interrupted leaves them */
    for (int c = 0; c < 2; c++) {
        snprintf(name, sizeof name, "mixed%d", c);
        train(name, &s, 9, &r);
        char *data, from[800];
        int64_t size;
        snprintf(from, sizeof from, "%s/checkpoint-6/%s", run_path(name), cases[c].file);
        snprintf(path, sizeof path, "%s/checkpoint-9/%s", run_path(name), cases[c].file);
        assert_int_equal(mep_file_read(from, 1 << 24, &data, &size), MEP_OK);
        assert_int_equal(mep_file_write_atomic(path, data, size), MEP_OK);
        mep_free(&data);
        assert_int_equal(mep_train_resume(run_path(name), NULL, NULL), MEP_ERROR_FORMAT);
        if (strstr(mep_error_message(), cases[c].file) == NULL) fail_msg("%s", mep_error_message());
        assert_int_equal(mep_train_fall_back(run_path(name), &step, &aside), MEP_OK);
        assert_true(step == 6 && aside == 1);
    }
    /* a missing file is damage; one that cannot be read may be undamaged, and nothing is changed */
    train("unreadable", &s, 9, &r);
    snprintf(path, sizeof path, "%s/checkpoint-9/optimizer.safetensors", run_path("unreadable"));
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(mep_train_fall_back(run_path("unreadable"), &step, &aside), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), "nothing was changed"));
    assert_true(aside == 0 && mep_folder_exists(run_path("unreadable/checkpoint-9")));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mep_train_fall_back(run_path("unreadable"), &step, &aside), MEP_OK);
    assert_true(step == 6 && aside == 1);
    /* no checkpoint is complete: nothing is changed */
    train("all_damaged", &s, 9, &r);
    snprintf(path, sizeof path, "%s/checkpoint-9/model.safetensors", run_path("all_damaged"));
    change_byte(path, 5);
    snprintf(path, sizeof path, "%s/checkpoint-6/optimizer.safetensors", run_path("all_damaged"));
    change_byte(path, 5);
    assert_int_equal(mep_train_fall_back(run_path("all_damaged"), &step, &aside), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "no complete checkpoint"));
    assert_true(aside == 0 && mep_folder_exists(run_path("all_damaged/checkpoint-9")));
}

/* A checkpoint in a folder with train.json of another run. */
static void test_other_settings(void **state)
{
    (void)state;
    record r;
    mep_run_checksums checksums;
    mep_train_settings s = settings_for("mep"), read;
    train("settings", &s, 5, &r);
    assert_int_equal(mep_run_read_settings(run_path("settings"), &read, &checksums), MEP_OK);
    s.keep = 7, s.save_every = 3, s.valid_every = 0; /* these change no bit */
    assert_int_equal(mep_run_write_settings(run_path("settings"), &s, &checksums), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("settings"), keep_record, &(record){.stop_after = 6}), MEP_INTERRUPTED);
    s.beta2 = 0.5;
    assert_int_equal(mep_run_write_settings(run_path("settings"), &s, &checksums), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("settings"), NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "beta2 0.999, now it is 0.5"));
    s.beta2 = 0.999, s.seed++;
    assert_int_equal(mep_run_write_settings(run_path("settings"), &s, &checksums), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("settings"), NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "seed"));
}

/* A checkpoint of version 0.1, without checksums. */
static void test_old_checkpoint(void **state)
{
    (void)state;
    record r;
    char path[800], *data, *key;
    int64_t size;
    mep_train_settings s = settings_for("mep_param");
    train("never_old", &s, 0, &r);
    train("old", &s, 8, &r);
    static const char *const files[] = {"model", "optimizer"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/checkpoint-8/%s.safetensors", run_path("old"), files[i]);
        assert_int_equal(mep_file_read(path, 1 << 24, &data, &size), MEP_OK);
        for (int64_t at = 0; at + 12 < size; at++)
            if (memcmp(key = data + at, "mep_checksum", 12) == 0) memcpy(key, "other_______", 12);
        assert_int_equal(mep_file_write_atomic(path, data, size), MEP_OK);
        free(data);
    }
    snprintf(path, sizeof path, "%s/checkpoint-8/state.json", run_path("old"));
    assert_int_equal(mep_file_write_atomic(path, "{\"step\": 8}", 11), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("old"), NULL, NULL), MEP_OK);
    assert_same_model("never_old", "old");
}

/* The device is kept and changed; a missing device is refused before anything is created. */
static void test_device(void **state)
{
    (void)state;
    record r;
    mep_dist pair = {.size = 2};
    mep_train_settings s = settings_for("mep"), read;
    s.device = MEP_DEVICE_CUDA, s.dtype = MEP_FLOAT32;
    assert_int_equal(mep_train_check(&s), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "bfloat16, not in float32"));
    s.dtype = MEP_BFLOAT16;
    assert_int_equal(mep_train_check(&s), MEP_OK); /* the settings may be for another machine */
    assert_int_equal(mep_train_start(run_path("no_device"), &s, NULL, NULL), MEP_ERROR_UNSUPPORTED);
    assert_false(mep_folder_exists(run_path("no_device")));
    assert_int_equal(mep_eval_check_device(&pair, MEP_DEVICE_CUDA, MEP_BFLOAT16), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "one process, found 2"));
    assert_int_equal(mep_eval_check_device(&pair, MEP_DEVICE_CPU, MEP_FLOAT32), MEP_OK);
    s.device = (mep_device)2;
    assert_int_equal(mep_train_check(&s), MEP_ERROR_ARGUMENT);

    s.device = MEP_DEVICE_CPU;
    train("stayed", &s, 0, &r);
    train("moved_away", &s, 5, &r);
    assert_int_equal(mep_train_set_device(run_path("moved_away"), (mep_device)2), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_train_set_device(run_path("moved_away"), MEP_DEVICE_CUDA), MEP_OK);
    assert_int_equal(mep_train_read_settings(run_path("moved_away"), &read), MEP_OK);
    assert_int_equal(read.device, MEP_DEVICE_CUDA);
    assert_int_equal(mep_train_resume(run_path("moved_away"), NULL, NULL), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "computes on cuda (--device moves it): "));
    assert_int_equal(mep_train_set_device(run_path("moved_away"), MEP_DEVICE_CPU), MEP_OK);
    assert_int_equal(mep_train_resume(run_path("moved_away"), NULL, NULL), MEP_OK);
    assert_same_model("stayed", "moved_away");

    s.dtype = MEP_FLOAT32;
    train("float32", &s, 5, &r);
    assert_int_equal(mep_train_set_device(run_path("float32"), MEP_DEVICE_CUDA), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_train_read_settings(run_path("float32"), &read), MEP_OK);
    assert_int_equal(read.device, MEP_DEVICE_CPU);
}

static void test_refusals(void **state)
{
    (void)state;
    record r = {0};
    mep_train_settings s = settings_for("mep");
    train("refusals", &s, 5, &r);
    assert_int_equal(mep_train_start(run_path("refusals"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "already contains a run"));
    s.length = TOKENS + 1;
    assert_int_equal(mep_train_start(run_path("other"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "more text"));
    assert_false(mep_folder_exists(run_path("other")));
    s = settings_for("mep");
    s.model.vocab_size = 20;
    assert_int_equal(mep_train_start(run_path("other"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    s = settings_for("mep");
    s.learning_rate = 1e30, s.min_learning_rate = 0;
    assert_int_equal(mep_train_start(run_path("other"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    s = settings_for("mep");
    snprintf(s.valid, sizeof s.valid, "%s", data_path);
    s.valid_tokens = s.length - 1;
    assert_int_equal(mep_train_start(run_path("other"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "valid_tokens"));
    /* data that differs from that of the start */
    char moved[700];
    snprintf(moved, sizeof moved, "%s/moved", folder);
    for (int valid = 0; valid < 2; valid++) {
        const char *run = valid ? "moving_valid" : "moving";
        write_data(moved, TOKENS, 8);
        s = settings_for("mep");
        snprintf(valid ? s.valid : s.data, sizeof s.data, "%s", moved);
        train(run, &s, 5, &r);
        write_data(moved, TOKENS, 9);
        assert_int_equal(mep_train_resume(run_path(run), NULL, NULL), MEP_ERROR_FORMAT);
        assert_non_null(strstr(mep_error_message(), "not the data"));
        assert_non_null(strstr(mep_error_message(), moved));
    }
}

/* A weight that is not finite is caught in the first step, which is not applied or saved. */
static void test_numeric(void **state)
{
    (void)state;
    record r = {0};
    mep_model *model;
    json_t *state_json;
    mep_train_settings s = settings_for("mep");
    train("numeric", &s, 8, &r);
    assert_int_equal(mep_checkpoint_state(run_path("numeric/checkpoint-8"), &state_json), MEP_OK);
    assert_int_equal(mep_model_load(&model, run_path("numeric")), MEP_OK);
    ((float *)model->tensors[model->first[EMBED_OUT]].data)[5] = NAN;
    assert_int_equal(mep_model_save(model, run_path("numeric/checkpoint-8"), NULL), MEP_OK);
    mep_model_destroy(&model);
    assert_int_equal(mep_checkpoint_write_state(run_path("numeric/checkpoint-8"), state_json), MEP_OK);
    json_decref(state_json);
    r = (record){0};
    assert_int_equal(mep_train_resume(run_path("numeric"), keep_record, &r), MEP_ERROR_NUMERIC);
    assert_int_equal(r.count, 0);
    assert_non_null(strstr(mep_error_message(), "step 9"));
    assert_non_null(strstr(mep_error_message(), "embed_out.weight (the weights)"));
    assert_non_null(strstr(mep_error_message(), "checkpoint 8 is complete"));
    int64_t done;
    assert_int_equal(mep_train_steps_done(run_path("numeric"), &done), MEP_OK);
    assert_int_equal(done, 8);
}

/* Each epoch visits every segment once, within the data; another seed gives another order. */
static void test_sampler(void **state)
{
    (void)state;
    mep_dataset *data;
    mep_sampler a, b;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    for (int64_t length = 1; length < TOKENS; length = length * 3 + 1) {
        assert_int_equal(mep_sampler_init(&a, data, "data", length, 1), MEP_OK);
        assert_int_equal(mep_sampler_init(&b, data, "data", length, 2), MEP_OK);
        char *seen = calloc((size_t)a.segments, 1);
        int64_t differ = 0;
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            memset(seen, 0, (size_t)a.segments);
            int64_t shift = mep_sampler_start(&a, epoch * a.segments) % length;
            for (int64_t i = 0; i < a.segments; i++) {
                int64_t start = mep_sampler_start(&a, epoch * a.segments + i);
                assert_true(start >= 0 && start + length + 1 <= TOKENS && start % length == shift);
                assert_false(seen[(start - shift) / length]);
                seen[(start - shift) / length] = 1;
                differ += start != mep_sampler_start(&b, epoch * a.segments + i);
            }
        }
        if (a.segments > 10) assert_true(differ > a.segments);
        free(seen);
    }
    mep_dataset_close(&data);
}

static void test_schedule(void **state)
{
    (void)state;
    mep_train_settings s = settings_for("mep");
    s.steps = 1000, s.warmup = 0.01, s.learning_rate = 6e-4;
    assert_true(fabs(mep_train_learning_rate(&s, 0) - 6e-5) < 1e-12);
    assert_true(fabs(mep_train_learning_rate(&s, 9) - 6e-4) < 1e-12);
    assert_true(fabs(mep_train_learning_rate(&s, 505) - 3e-4) < 1e-12);
    assert_true(mep_train_learning_rate(&s, 999) < 1e-8);
}

/* Initial weights of the recipes: sqrt(2 / (5 hidden_size)) for models that are smaller than the paper's. */
static void test_initial_weights(void **state)
{
    (void)state;
    static const char *const names[] = {"nano", "micro", "mini", "nano-llama", "micro-llama", "mini-llama"};
    mep_train_settings s;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(mep_train_preset(names[i], &s), MEP_OK);
        double expected = sqrt(2 / (5.0 * (double)s.model.hidden_size));
        assert_true(fabs(s.model.initializer_range / expected - 1) < 0.02);
    }
    assert_int_equal(mep_train_preset("small", &s), MEP_OK);
    assert_true(s.model.initializer_range == 0.02);
    assert_int_equal(mep_train_preset("medium", &s), MEP_OK);
    assert_true(s.model.initializer_range == 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learning),        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_position_ranges), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_metrics),         cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_fall_back),
        cmocka_unit_test(test_other_settings),  cmocka_unit_test(test_old_checkpoint),
        cmocka_unit_test(test_numeric),         cmocka_unit_test(test_sampler),
        cmocka_unit_test(test_device),          cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_long_log),        cmocka_unit_test(test_initial_weights),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
