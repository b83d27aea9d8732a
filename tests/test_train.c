/* SPDX-License-Identifier: MIT */
/*
 * Training, resuming, evaluating and generating on a small synthetic dataset: a text in which every token but the first of a
 * group of four follows from the one before, so that learning shows.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "io/files.h"
#include "mep/train.h"
#include "model/sample.h"
#include "model/session.h"
#include "scratch.h"
#include "train/sampler.h"

enum { TOKENS = 20000, VOCAB = 64 };

static char folder[512], data_path[600];

/* Tokens t, t+1, t+2, t+3 (mod 60) in groups, t random. */
static void write_data(const char *path, int64_t tokens, uint64_t seed)
{
    mep_tokenizer *bytes;
    mep_dataset_writer *writer;
    int32_t *text = calloc((size_t)tokens, sizeof *text);
    for (int64_t i = 0; i < tokens; i++)
        text[i] = i % 4 == 0 ? (int32_t)(mep_random_bits(seed, 1, (uint64_t)i) % 60) : (text[i - 1] + 1) % 60;
    assert_int_equal(mep_tokenizer_bytes(&bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_create(&writer, path, bytes), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, text, tokens, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    mep_tokenizer_destroy(&bytes);
    free(text);
}

static mep_train_settings settings_for(const char *position)
{
    mep_train_settings s;
    assert_int_equal(mep_train_preset("nano", &s), MEP_OK);
    s.model.vocab_size = VOCAB, s.model.hidden_size = 32, s.model.num_attention_heads = 4, s.model.num_hidden_layers = 2;
    s.model.intermediate_size = 64, s.model.max_position_embeddings = 16;
    s.length = 16, s.batch_size = 8, s.micro_batch_size = 4, s.steps = 60, s.learning_rate = 1e-2, s.dtype = MEP_FLOAT32;
    s.save_every = 10;
    snprintf(s.model.position_encoding, sizeof s.model.position_encoding, "%s", position);
    snprintf(s.data, sizeof s.data, "%s", data_path);
    return s;
}

typedef struct record {
    int64_t stop_after, count;
    double first, last, valid;
} record;

static int keep_record(void *context, const mep_train_progress *p)
{
    record *r = context;
    if (r->count++ == 0) r->first = p->loss;
    r->last = p->loss;
    if (isfinite(p->valid_loss)) r->valid = p->valid_loss;
    return p->step == r->stop_after;
}

static char *run_path(const char *name)
{
    static char paths[8][700];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
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

/* An entropy of ln 60 for one token in four is the best; the loss comes close to it from ln 64. */
static void test_learning(void **state)
{
    (void)state;
    record r;
    mep_train_settings s = settings_for("mep_param");
    snprintf(s.valid, sizeof s.valid, "%s", data_path);
    s.valid_every = 30, s.valid_tokens = 1024, s.steps = 150;
    train("learning", &s, 0, &r);
    assert_int_equal(r.count, 150);
    assert_true(r.first > 4.0 && r.first < 4.4);
    assert_true(r.last < 1.6);
    assert_true(fabs(r.valid - r.last) < 0.3);
}

/* Stopped anywhere, with and without a checkpoint due there, and resumed: the same bits. */
static void test_resume(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep_param", "rotary", "mep/learn=weights,slopes"};
    static const int64_t stops[] = {1, 17, 59};
    record r;
    for (int p = 0; p < 3; p++)
        for (int dtype = 0; dtype < 2; dtype++) {
            char whole[32], parts[32];
            mep_train_settings s = settings_for(positions[p]);
            s.dtype = (mep_dtype)dtype;
            snprintf(whole, sizeof whole, "whole%d%d", p, dtype);
            train(whole, &s, 0, &r);
            double last = r.last;
            for (int i = 0; i < 3; i++) {
                snprintf(parts, sizeof parts, "parts%d%d%d", p, dtype, i);
                train(parts, &s, stops[i], &r);
                r = (record){0};
                assert_int_equal(mep_train_resume(run_path(parts), keep_record, &r), MEP_OK);
                assert_int_equal(r.count, s.steps - stops[i]);
                assert_true(r.last == last);
                assert_same_model(whole, parts);
            }
        }
}

/* Lines of metrics.jsonl: one a step, also after a resume from a checkpoint older than the last line. */
static void test_metrics(void **state)
{
    (void)state;
    record r;
    mep_train_settings s = settings_for("alibi");
    train("metrics", &s, 25, &r);
    char path[800], *text;
    int64_t size, lines = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_path("metrics"));
    assert_int_equal(mep_file_append_line(path, "{\"step\": 26}"), MEP_OK); /* as if killed after step 26 */
    assert_int_equal(mep_train_resume(run_path("metrics"), NULL, NULL), MEP_OK);
    assert_int_equal(mep_file_read(path, 1 << 24, &text, &size), MEP_OK);
    for (int64_t i = 0; i < size; i++) lines += text[i] == '\n';
    assert_int_equal(lines, s.steps);
    free(text);
}

static void test_refusals(void **state)
{
    (void)state;
    record r = {0};
    mep_train_settings s = settings_for("mep");
    train("refusals", &s, 5, &r);
    assert_int_equal(mep_train_start(run_path("refusals"), &s, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "holds a run"));
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
    /* other data than the run began with */
    char moved[700];
    snprintf(moved, sizeof moved, "%s/moved", folder);
    s = settings_for("mep");
    write_data(moved, TOKENS, 8);
    snprintf(s.data, sizeof s.data, "%s", moved);
    train("moving", &s, 5, &r);
    write_data(moved, TOKENS, 9);
    assert_int_equal(mep_train_resume(run_path("moving"), NULL, NULL), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "not the data"));
}

/* A weight that is not finite is caught in the first step, which is not applied or saved. */
static void test_numeric(void **state)
{
    (void)state;
    record r = {0};
    mep_model *model;
    mep_train_settings s = settings_for("mep");
    train("numeric", &s, 20, &r);
    assert_int_equal(mep_model_load(&model, run_path("numeric")), MEP_OK);
    ((float *)model->tensors[model->embed_out].data)[5] = NAN;
    assert_int_equal(mep_model_save(model, run_path("numeric/checkpoint-20")), MEP_OK);
    mep_model_destroy(&model);
    r = (record){0};
    assert_int_equal(mep_train_resume(run_path("numeric"), keep_record, &r), MEP_ERROR_NUMERIC);
    assert_int_equal(r.count, 0);
    assert_non_null(strstr(mep_error_message(), "step 21"));
    assert_non_null(strstr(mep_error_message(), "gpt_neox."));
    int64_t done;
    assert_int_equal(mep_train_steps_done(run_path("numeric"), &done), MEP_OK);
    assert_int_equal(done, 20);
}

/* Each epoch visits every segment once, within the data; another seed has another order. */
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

/* Evaluation equals a hand-made mean of the session's losses, for each of the protocols. */
static void test_evaluation(void **state)
{
    (void)state;
    enum { L = 24, N = 10 };
    mep_model *model;
    mep_dataset *data;
    mep_session *session;
    mep_session_settings ss;
    assert_int_equal(mep_model_load(&model, run_path("learning")), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    mep_session_defaults(&ss);
    ss.length = L;
    assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
    for (int protocol = 0; protocol < 3; protocol++) {
        mep_eval_settings e;
        mep_eval_result result;
        mep_eval_defaults(&e);
        e.length = L;
        e.batch_tokens = 3 * L;
        int64_t stride = L;
        if (protocol == 1) e.stride = stride = 8;
        if (protocol == 2) e.last = 5;
        e.max_tokens = (N - 1) * stride + L;
        double sum = 0, means[N], mean_of_means = 0, squares = 0;
        int64_t scored = 0;
        for (int64_t s = 0; s < N; s++) {
            int32_t tokens[L + 1];
            float losses[L];
            assert_int_equal(mep_dataset_read(data, s * stride, L + 1, tokens), MEP_OK);
            assert_int_equal(mep_session_losses(session, 1, L, tokens, tokens + 1, losses), MEP_OK);
            int64_t first = protocol == 2 ? L - 5 : s == 0 ? 0 : L - stride;
            means[s] = 0;
            for (int64_t i = first; i < L; i++) means[s] += (double)losses[i];
            sum += means[s];
            scored += L - first;
            means[s] /= (double)(L - first);
            mean_of_means += means[s] / N;
        }
        for (int s = 0; s < N; s++) squares += (means[s] - mean_of_means) * (means[s] - mean_of_means);
        double perplexity = exp(sum / (double)scored);
        assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_OK);
        assert_int_equal(result.segments, N);
        assert_int_equal(result.tokens, scored);
        assert_true(fabs(result.perplexity / perplexity - 1) < 1e-5);
        assert_true(fabs(result.standard_error / (perplexity * sqrt(squares / (N - 1) / N)) - 1) < 1e-3);
    }
    mep_eval_settings e;
    mep_eval_result result;
    mep_eval_defaults(&e);
    e.length = TOKENS;
    assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &result), MEP_ERROR_ARGUMENT);
    mep_session_destroy(&session);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* ---- Generation ---- */

typedef struct text {
    int64_t count;
    int32_t tokens[256];
} text;

static int collect(void *context, int32_t token)
{
    text *t = context;
    t->tokens[t->count++] = token;
    return 0;
}

/* Greedy text from the cache equals the likeliest token of the whole text's logits, each time. */
static void test_generation(void **state)
{
    (void)state;
    static const char *const positions[] = {"mep", "mep_param", "rotary", "sinusoidal", "learned", "nope"};
    for (int p = 0; p < 6; p++) {
        mep_train_settings s = settings_for(positions[p]);
        s.model.max_position_embeddings = 200;
        mep_model *model;
        assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
        for (int64_t i = 0; i < model->size; i++) model->values[i] *= model->values[i] == 1.0f ? 1.0f : 8.0f;
        text t = {.count = 70};
        for (int i = 0; i < 70; i++) t.tokens[i] = i * 7 % 60;
        int32_t prompt[70];
        memcpy(prompt, t.tokens, sizeof prompt);
        mep_generate_settings g;
        mep_generate_defaults(&g);
        g.temperature = 0, g.max_tokens = 60;
        assert_int_equal(mep_generate(model, prompt, 70, &g, collect, &t), MEP_OK);
        assert_int_equal(t.count, 130);
        mep_session_settings ss;
        mep_session *session;
        mep_session_defaults(&ss);
        ss.length = 130;
        float *logits = calloc(130 * VOCAB, sizeof *logits);
        assert_int_equal(mep_session_create(&session, model, &ss), MEP_OK);
        assert_int_equal(mep_session_logits(session, 1, 130, t.tokens, logits), MEP_OK);
        for (int i = 69; i < 129; i++) {
            const float *row = logits + i * VOCAB;
            float best = row[0];
            for (int v = 1; v < VOCAB; v++) best = fmaxf(best, row[v]);
            if (!(row[t.tokens[i + 1]] >= best - 1e-4f)) fail_msg("%s: token %d is not the likeliest", positions[p], i + 1);
        }
        free(logits);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* Shares of 20,000 draws against the probabilities that temperature, top_k and top_p leave. */
static void test_sampling(void **state)
{
    (void)state;
    enum { DRAWS = 20000, N = 5 };
    const float logits[N] = {0.0f, 1.0f, 2.0f, -1.0f, 1.5f};
    struct {
        double temperature;
        int64_t top_k;
        double top_p;
    } cases[] = {{1, 0, 1}, {0.5, 0, 1}, {1, 2, 1}, {1, 0, 0.6}, {1, 3, 0.5}, {0, 0, 1}};
    const int order[N] = {2, 4, 1, 0, 3};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        mep_generate_settings s;
        mep_generate_defaults(&s);
        s.temperature = cases[c].temperature, s.top_k = cases[c].top_k, s.top_p = cases[c].top_p, s.seed = 9;
        double expected[N] = {0}, sum = 0, kept = 0, total = 0;
        double temperature = s.temperature == 0 ? 1e-3 : s.temperature;
        int64_t k = s.top_k > 0 ? s.top_k : N;
        for (int i = 0; i < k; i++) sum += expected[order[i]] = exp(((double)logits[order[i]] - 2) / temperature);
        for (int i = 0; i < k; i++) {
            if (i > 0 && kept >= s.top_p * sum) expected[order[i]] = 0;
            kept += expected[order[i]];
        }
        for (int i = 0; i < N; i++) total += expected[i];
        int counts[N] = {0};
        mep_candidate candidates[N];
        for (int64_t i = 0; i < DRAWS; i++) {
            int32_t token;
            assert_int_equal(mep_sample(&s, N, logits, i, candidates, &token), MEP_OK);
            counts[token]++;
        }
        for (int i = 0; i < N; i++) {
            double p = expected[i] / total, bound = 4.5 * sqrt(p * (1 - p) / DRAWS) + 1e-12;
            if (!(fabs((double)counts[i] / DRAWS - p) <= bound)) fail_msg("case %zu: token %d drawn %d times, expected %g", c, i, counts[i], p * DRAWS);
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", scratch_path(""));
    snprintf(data_path, sizeof data_path, "%s/data", folder);
    write_data(data_path, TOKENS, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return mep_remove_tree(folder) == MEP_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learning),   cmocka_unit_test(test_resume),   cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_numeric),  cmocka_unit_test(test_sampler),
        cmocka_unit_test(test_schedule),   cmocka_unit_test(test_evaluation), cmocka_unit_test(test_generation),
        cmocka_unit_test(test_sampling),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
