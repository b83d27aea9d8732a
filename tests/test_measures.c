/* SPDX-License-Identifier: MIT */
/*
 * The measures of how far a model reads, each against a hand-made computation from the session's losses: loss by
 * position, gain from context, copy gain; that batches, threads and processes change no bit; stops and refused
 * settings.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_measures.h"

#include "dist/dist_group.h"
#include "thread_group.h"

/* ---- Loss by position ---- */

static void test_by_position(void **state)
{
    (void)state;
    enum { L = 40, N = 7, BINS = 6 };
    static const int ends[BINS] = {1, 2, 5, 10, 20, 40};
    mep_model *model = lively_model("mep_param");
    mep_dataset *data = open_data();
    mep_measure_settings s;
    mep_measure m = {0};
    float losses[N][L];
    mep_measure_defaults(&s);
    s.length = L, s.max_tokens = N * L + 1, s.batch_tokens = 3 * L;
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &s, &m), MEP_OK);
    assert_int_equal(m.count, 2 * BINS);
    assert_string_equal(m.name, "by-position");
    assert_string_equal(m.axis, "position");
    for (int i = 0; i < N; i++) compute_losses(model, data, i * L, L, losses[i]);
    for (int b = 0; b < BINS; b++) {
        double sums[N], mean = 0, squares = 0;
        int first = b > 0 ? ends[b - 1] : 0, width = ends[b] - first;
        for (int i = 0; i < N; i++) {
            sums[i] = 0;
            for (int p = first; p < ends[b]; p++) sums[i] += (double)losses[i][p] / width;
            mean += sums[i] / N;
        }
        for (int i = 0; i < N; i++) squares += (sums[i] - mean) * (sums[i] - mean);
        const mep_measure_value *v = find(&m, "loss", L, ends[b]);
        assert_near(v->value, mean, 1e-6, "loss");
        assert_near(v->standard_error, sqrt(squares / (N - 1) / N), 1e-6, "its standard error");
        assert_int_equal(v->samples, N);
        v = find(&m, "bits_per_byte", L, ends[b]); /* a token is a byte */
        assert_near(v->value, mean / log(2), 1e-6, "bits per byte");
        assert_near(v->standard_error, sqrt(squares / (N - 1) / N) / log(2), 1e-6, "the standard error of bits");
    }
    /* given bins: the last positions are rounded powers, and empty bins are left out */
    s.bins = 8, s.length = 100, s.max_tokens = 0;
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &s, &m), MEP_OK);
    static const int given[] = {2, 3, 6, 10, 18, 32, 56, 100};
    for (int b = 0; b < 8; b++) find(&m, "loss", 100, given[b]);
    assert_int_equal(m.count, 2 * BINS + 16);
    mep_measure_free(&m);
    s.bins = 50;
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &s, &m), MEP_OK);
    for (int64_t i = 2; i < m.count; i += 2) assert_true(m.values[i].at > m.values[i - 2].at);
    assert_true(m.values[0].at == 1 && m.values[m.count - 1].at == 100);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Bits per byte of an evaluation: the tokens of the data are bytes. */
static void test_bits_per_byte(void **state)
{
    (void)state;
    mep_model *model = lively_model("alibi");
    mep_dataset *data = open_data();
    mep_eval_settings s;
    mep_eval_result r;
    double bits = 0;
    mep_eval_defaults(&s);
    s.length = 32, s.max_tokens = 1600;
    for (int protocol = 0; protocol < 3; protocol++) {
        s.stride = protocol == 1 ? 8 : 0, s.last = protocol == 2 ? 5 : 0;
        assert_int_equal(mep_evaluate(model, data, &s, NULL, NULL, &r), MEP_OK);
        assert_int_equal(mep_eval_bits_per_byte(data, &s, &r, &bits), MEP_OK);
        assert_near(bits, r.loss / log(2), 1e-12, "bits per byte");
    }
    mep_dataset_close(&data);
    /* a dataset that does not name its tokenizer */
    char path[700];
    write_data(run_path("unknown"), 2000, 1);
    snprintf(path, sizeof path, "%s.json", run_path("unknown"));
    assert_int_equal(remove(path), 0);
    assert_int_equal(mep_dataset_open(&data, run_path("unknown")), MEP_OK);
    assert_int_equal(mep_eval_bits_per_byte(data, &s, &r, &bits), MEP_OK);
    assert_true(isnan(bits));
    mep_measure_settings ms;
    mep_measure m = {0};
    mep_measure_defaults(&ms);
    ms.length = 32;
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &ms, &m), MEP_OK);
    assert_int_equal(m.count, 6);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Tokens of several bytes: the bits of a bin are divided by the bytes of its tokens. */
static void test_bits_of_bpe(void **state)
{
    (void)state;
    enum { L = 8, N = 12 };
    static const char text[] = "aaaa bb cccc aaaa bb cccc aaaa";
    mep_tokenizer_train_settings ts;
    mep_tokenizer_trainer *trainer;
    mep_tokenizer *tokenizer;
    mep_dataset_writer *writer;
    mep_dataset *data;
    int32_t tokens[N * L + 1];
    float losses[L];
    double sum[4] = {0}, bytes[4] = {0}, all = 0, all_bytes = 0, bits = 0;
    mep_tokenizer_train_defaults(&ts);
    ts.vocab_size = 264;
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &ts), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_add(trainer, text, (int64_t)strlen(text)), MEP_OK);
    assert_int_equal(mep_tokenizer_trainer_finish(&trainer, NULL, NULL, &tokenizer), MEP_OK);
    int64_t vocab = mep_tokenizer_vocab_size(tokenizer);
    for (int i = 0; i < N * L + 1; i++) /* often tokens of several bytes, now and then the end of a document */
        tokens[i] = (int32_t)(i % 3   ? vocab - 1 - (int64_t)(mep_random_bits(1, 1, (uint64_t)i) % 8)
                              : i % 7 ? i % 200
                                      : mep_tokenizer_end_of_document(tokenizer));
    assert_int_equal(mep_dataset_writer_create(&writer, run_path("bpe"), tokenizer), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, tokens, N * L + 1, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, run_path("bpe")), MEP_OK);
    mep_train_settings s = settings_for("mep");
    mep_model *model;
    s.model.vocab_size = vocab;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int i = 0; i < N; i++) {
        compute_losses(model, data, i * L, L, losses);
        for (int p = 0; p < L; p++) {
            int bin = p == 0 ? 0 : p == 1 ? 1 : p < 4 ? 2 : 3;
            const char *token_text;
            int64_t size = 0;
            int32_t token = tokens[i * L + p + 1];
            if (token != mep_tokenizer_end_of_document(tokenizer))
                assert_int_equal(mep_tokenizer_decode(tokenizer, token, &token_text, &size), MEP_OK);
            sum[bin] += (double)losses[p], bytes[bin] += (double)size;
            all += (double)losses[p], all_bytes += (double)size;
        }
    }
    mep_measure_settings ms;
    mep_measure m = {0};
    mep_measure_defaults(&ms);
    ms.length = L;
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &ms, &m), MEP_OK);
    for (int b = 0; b < 4; b++)
        assert_near(find(&m, "bits_per_byte", L, 1 << b)->value, sum[b] / bytes[b] / log(2), 1e-6, "bits per byte");
    assert_true(all_bytes > 1.3 * N * L); /* otherwise this tests too little */
    mep_eval_settings e;
    mep_eval_result r;
    mep_eval_defaults(&e);
    e.length = L;
    assert_int_equal(mep_evaluate(model, data, &e, NULL, NULL, &r), MEP_OK);
    assert_int_equal(mep_eval_bits_per_byte(data, &e, &r, &bits), MEP_OK);
    assert_near(bits, all / all_bytes / log(2), 1e-6, "bits per byte of the evaluation");
    mep_measure_free(&m);
    mep_model_destroy(&model);
    mep_dataset_close(&data);
    mep_tokenizer_destroy(&tokenizer);
}

/* Tokens that a tokenizer puts around texts, such as <s>, are no bytes of the text. */
static void test_bits_of_special(void **state)
{
    (void)state;
    enum { N = 301 };
    mep_tokenizer *tokenizer;
    mep_special_tokens special;
    mep_dataset_writer *writer;
    mep_dataset *data;
    int32_t tokens[N];
    double bytes = 0, bits = 0;
    assert_int_equal(mep_tokenizer_open(&tokenizer, MEP_GOLDEN_DEFAULT "/llama2_tokenizer"), MEP_OK);
    assert_int_equal(mep_tokenizer_special_tokens(tokenizer, &special), MEP_OK);
    assert_true(special.before_count == 1 && special.after_count == 0);
    for (int i = 0; i < N; i++) {
        const char *token_text;
        int64_t size = 0;
        tokens[i] = i % 3 == 1 ? special.before[0] : 300 + i;
        assert_int_equal(mep_tokenizer_decode(tokenizer, tokens[i], &token_text, &size), MEP_OK);
        if (i % 3 == 1) assert_true(size > 0); /* otherwise this tests nothing */
        if (i > 0 && i % 3 != 1) bytes += (double)size;
    }
    assert_int_equal(mep_dataset_writer_create(&writer, run_path("special"), tokenizer), MEP_OK);
    assert_int_equal(mep_dataset_writer_add(writer, tokens, N, 0), MEP_OK);
    assert_int_equal(mep_dataset_writer_finish(&writer), MEP_OK);
    assert_int_equal(mep_dataset_open(&data, run_path("special")), MEP_OK);
    mep_eval_settings e;
    mep_eval_defaults(&e);
    e.length = 50;
    const mep_eval_result r = {.length = 50, .segments = 6, .tokens = N - 1, .loss = 2};
    assert_int_equal(mep_eval_bits_per_byte(data, &e, &r, &bits), MEP_OK);
    assert_near(bits, 2 * (N - 1) / bytes / log(2), 1e-12, "bits per byte");
    mep_dataset_close(&data);
    mep_tokenizer_destroy(&tokenizer);
}

/* ---- Gain from context ---- */

static void test_context_gain(void **state)
{
    (void)state;
    enum { L = 48, N = 40, TOP = 4 };
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    mep_measure_settings s;
    mep_measure m = {0};
    double loss[4][N], gain[N];
    mep_measure_defaults(&s);
    s.length = L, s.samples = N, s.max_tokens = 1000, s.top = 0.1;
    assert_int_equal(measure_with(mep_measure_context_gain, model, data, &s, &m), MEP_OK);
    assert_int_equal(m.count, 4 + 2 * 3);
    for (int c = 0; c < 4; c++) {
        double mean = 0;
        int context = L / 8 << c;
        for (int i = 0; i < N; i++) {
            float losses[L];
            int token = L + (int)((1000 - L) / (double)N * (i + 0.5));
            compute_losses(model, data, token - context, context, losses);
            loss[c][i] = (double)losses[context - 1];
            mean += loss[c][i] / N;
        }
        assert_near(find(&m, "loss", L, context)->value, mean, 1e-5, "loss");
    }
    /* the top tokens are those that gain most at the full length, at every context */
    int used[N] = {0};
    double top[4] = {0}, all[4] = {0};
    for (int i = 0; i < N; i++) gain[i] = loss[0][i] - loss[3][i];
    for (int k = 0; k < TOP; k++) {
        int best = -1;
        for (int i = 0; i < N; i++)
            if (!used[i] && (best < 0 || gain[i] > gain[best])) best = i;
        used[best] = 1;
        for (int c = 0; c < 4; c++) top[c] += (loss[0][best] - loss[c][best]) / TOP;
    }
    for (int c = 1; c < 4; c++) {
        for (int i = 0; i < N; i++) all[c] += (loss[0][i] - loss[c][i]) / N;
        assert_near(find(&m, "gain", L, L / 8 << c)->value, all[c], 1e-5, "gain");
        assert_near(find(&m, "top_gain", L, L / 8 << c)->value, top[c], 1e-5, "top gain");
        assert_int_equal(find(&m, "top_gain", L, L / 8 << c)->samples, TOP);
        assert_true(find(&m, "gain", L, L / 8 << c)->standard_error > 0);
    }
    mep_measure_free(&m);
    mep_model_destroy(&model);
    /* a model that reads one token gains nothing */
    model = forgetful_model();
    assert_int_equal(measure_with(mep_measure_context_gain, model, data, &s, &m), MEP_OK);
    for (int64_t i = 0; i < m.count; i++)
        if (strcmp(m.values[i].name, "loss") != 0) assert_true(m.values[i].value == 0);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* ---- Copy gain ---- */

/* Both copies are the same text: a model without attention has the same losses on them. With attention it has not. */
static void test_copy_gain(void **state)
{
    (void)state;
    static const int64_t gaps[] = {0, 1, 64, 300};
    mep_model *models[2] = {forgetful_model(), lively_model("alibi")};
    mep_dataset *data = open_data();
    mep_measure_settings s;
    mep_measure m[2] = {{.count = 0}, {.count = 0}};
    mep_measure_defaults(&s);
    s.samples = 20, s.copy_tokens = 16;
    for (int k = 0; k < 2; k++)
        for (int g = 0; g < 4; g++) assert_int_equal(copy_with(models[k], data, gaps[g], &s, &m[k]), MEP_OK);
    assert_int_equal(m[0].count, 12);
    double reference = find(&m[0], "first", 48, 0)->value;
    for (int g = 0; g < 4; g++) {
        double at = (double)gaps[g];
        int64_t length = 48 + gaps[g];
        assert_true(find(&m[0], "gain", length, at)->value == 0);
        assert_true(find(&m[0], "gain", length, at)->standard_error == 0);
        assert_true(find(&m[0], "first", length, at)->value == reference); /* the same texts for every gap */
        const mep_measure_value *first = find(&m[1], "first", length, at), *second = find(&m[1], "second", length, at);
        const mep_measure_value *gain = find(&m[1], "gain", length, at);
        assert_true(gain->standard_error > 0 && gain->samples == 20);
        assert_near(gain->value, first->value - second->value, 1e-12, "gain");
        assert_true(first->value == find(&m[1], "first", 48, 0)->value); /* what follows does not change it */
    }
    /* another seed copies other text */
    s.seed = 2;
    mep_measure other = {0};
    assert_int_equal(copy_with(models[0], data, 0, &s, &other), MEP_OK);
    assert_true(find(&other, "first", 48, 0)->value != reference);
    mep_measure_free(&other);
    mep_dataset_close(&data);
    for (int k = 0; k < 2; k++) {
        mep_measure_free(&m[k]);
        mep_model_destroy(&models[k]);
    }
}

/* A model that reaches a few tokens: the gap matters to the second copy, through the text before it, not to the first.
 */
static void test_copy_distance(void **state)
{
    (void)state;
    mep_dataset *data = open_data();
    mep_model *model = lively_model("exp:c=512"); /* reaches a few tokens */
    mep_measure_settings s;
    mep_measure m = {0};
    mep_measure_defaults(&s);
    s.samples = 30, s.copy_tokens = 8;
    for (int64_t gap = 0; gap <= 512; gap += 256) assert_int_equal(copy_with(model, data, gap, &s, &m), MEP_OK);
    assert_true(find(&m, "second", 24, 0)->value != find(&m, "second", 280, 256)->value);
    assert_true(find(&m, "first", 24, 0)->value == find(&m, "first", 536, 512)->value);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* ---- Bits ---- */

typedef struct group_job {
    measure_fn measure;
    mep_measure_settings settings;
    mep_measure found[MOST_THREADS];
    mep_status status[MOST_THREADS];
    int64_t blind; /* a process that has no data; -1: none */
} group_job;

static void work(mep_dist *group, void *context)
{
    group_job *j = context;
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    mep_measure_settings s = j->settings;
    if (group->rank == j->blind) s.length = 0;
    const mep_measure_call call = {.group = group, .model = model, .data = data, .settings = &s};
    j->status[group->rank] = j->measure(&call, &j->found[group->rank]);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* Batches, threads and processes change no bit. */
static void test_bits(void **state)
{
    (void)state;
    static const int64_t batches[] = {1, 100, 1000, 100000};
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    int threads = mep_set_threads(0);
    for (int k = 0; k < MEASURE_COUNT; k++) {
        mep_measure_settings s = small_settings();
        const mep_measure_call call = {.group = &mep_dist_alone, .model = model, .data = data, .settings = &s};
        mep_measure wanted = {0};
        assert_int_equal(MEASURES[k](&call, &wanted), MEP_OK);
        for (int b = 0; b < 4; b++) {
            mep_measure found = {0};
            s.batch_tokens = batches[b];
            mep_set_threads(b % 2 + 1);
            assert_int_equal(MEASURES[k](&call, &found), MEP_OK);
            assert_same(&found, &wanted, "batches");
            mep_measure_free(&found);
        }
        for (int64_t size = 2; size <= 5; size++) {
            group_job j = {.measure = MEASURES[k], .settings = small_settings(), .blind = size == 4 ? 2 : -1};
            run_group(size, work, &j);
            for (int64_t r = 0; r < size; r++) {
                assert_int_equal(j.status[r], j.blind >= 0 ? MEP_ERROR_ARGUMENT : MEP_OK);
                if (j.blind < 0) assert_same(&j.found[r], &wanted, "processes");
                mep_measure_free(&j.found[r]);
            }
        }
        mep_measure_free(&wanted);
    }
    mep_set_threads(threads);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

/* ---- Stops and failures ---- */

typedef struct watcher {
    int calls, stops_at_end; /* reports within a batch depend on the time, the last one does not */
    int64_t done, total;
} watcher;

static int watch(void *context, int64_t done, int64_t total, double loss)
{
    watcher *w = context;
    if (!isnan(loss) || done < w->done || done > total) return 1;
    w->done = done, w->total = total;
    w->calls++;
    return w->stops_at_end && done == total;
}

static void test_stop(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    for (int k = 0; k < MEASURE_COUNT; k++) {
        mep_measure_settings s = small_settings();
        watcher w = {0};
        mep_measure m = {0};
        const mep_measure_call call = {
            .group = &mep_dist_alone, .model = model, .data = data, .settings = &s, .progress = watch, .context = &w};
        assert_int_equal(MEASURES[k](&call, &m), MEP_OK);
        assert_true(w.calls > 1 && w.done == w.total && w.total > 0);
        int64_t count = m.count;
        w = (watcher){.stops_at_end = 1};
        assert_int_equal(MEASURES[k](&call, &m), MEP_INTERRUPTED);
        assert_int_equal(m.count, count); /* what was there stays */
        mep_measure_free(&m);
    }
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

static void test_refused(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    mep_measure m = {0};
    mep_measure_settings s = small_settings();
    s.max_tokens = 72;
    refuse(MEP_ERROR_ARGUMENT, "too few for one segment of length 72",
           measure_with(mep_measure_by_position, model, data, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "too few for a token with a context of 72",
           measure_with(mep_measure_context_gain, model, data, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "too few for a gap of 64", copy_with(model, data, 64, &s, &m));
    s.bins = -1;
    s.max_tokens = 0;
    refuse(MEP_ERROR_ARGUMENT, "bins", measure_with(mep_measure_by_position, model, data, &s, &m));
    s.length = 60;
    refuse(MEP_ERROR_ARGUMENT, "multiple of 8", measure_with(mep_measure_context_gain, model, data, &s, &m));
    s = small_settings(), s.top = 0;
    refuse(MEP_ERROR_ARGUMENT, "gain most", measure_with(mep_measure_context_gain, model, data, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "gap", copy_with(model, data, -1, &s, &m));
    s.copy_tokens = 1;
    refuse(MEP_ERROR_ARGUMENT, "copies", copy_with(model, data, 8, &s, &m));
    s = small_settings(), s.samples = 0;
    refuse(MEP_ERROR_ARGUMENT, "samples", copy_with(model, data, 8, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "gap", copy_with(model, data, INT64_MAX, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "no model", measure_with(mep_measure_by_position, NULL, data, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "no data", measure_with(mep_measure_context_gain, model, NULL, &s, &m));
    refuse(MEP_ERROR_ARGUMENT, "no settings", copy_with(model, data, 8, NULL, &m));
    assert_int_equal(m.count, 0);
    s = small_settings();
    assert_int_equal(measure_with(mep_measure_by_position, model, data, &s, &m), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "by-position", measure_with(mep_measure_context_gain, model, data, &s, &m));
    ((float *)model->tensors[mep_tensor_index(model, EMBED_OUT, 0)].data)[5] = NAN;
    int64_t count = m.count;
    refuse(MEP_ERROR_NUMERIC, "not finite", measure_with(mep_measure_by_position, model, data, &s, &m));
    assert_int_equal(m.count, count);
    mep_measure_free(&m);
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_position),   cmocka_unit_test(test_bits_per_byte),
                                       cmocka_unit_test(test_bits_of_bpe),   cmocka_unit_test(test_bits_of_special),
                                       cmocka_unit_test(test_context_gain),  cmocka_unit_test(test_copy_gain),
                                       cmocka_unit_test(test_copy_distance), cmocka_unit_test(test_bits),
                                       cmocka_unit_test(test_stop),          cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
