/* SPDX-License-Identifier: MIT */
/*
 * The measures of how far a model reads, each against a hand-made computation from the session's losses: loss by
 * position, gain from context, copy gain, effective length; that batches, threads and processes change no bit; stops
 * and refused settings.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "dist/dist_group.h"
#include "mep/measure.h"
#include "thread_group.h"

/* A model whose losses differ from token to token: new weights, made larger. */
static mep_model *lively_model(const char *position)
{
    mep_train_settings s = settings_for(position);
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int64_t t = 0; t < model->count; t++)
        for (int64_t i = 0; model->tensors[t].ndim == 2 && i < model->tensors[t].size; i++)
            ((float *)model->tensors[t].data)[i] *= 8;
    return model;
}

/* The same without attention: a loss depends on the token and the one before it alone. */
static mep_model *forgetful_model(void)
{
    mep_model *model = lively_model("nope");
    for (int64_t layer = 0; layer < model->config.num_hidden_layers; layer++) {
        mep_tensor *t = &model->tensors[mep_tensor_index(model, DENSE_WEIGHT, layer)];
        memset(t->data, 0, (size_t)t->size * sizeof(float));
    }
    return model;
}

static mep_dataset *open_data(void)
{
    mep_dataset *data;
    assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
    return data;
}

static void compute_losses(mep_model *model, const mep_dataset *data, int64_t start, int64_t length, float *losses)
{
    mep_session *session;
    mep_session_settings s;
    int32_t *tokens = calloc((size_t)length + 1, sizeof *tokens);
    mep_session_defaults(&s);
    s.length = length;
    assert_int_equal(mep_session_create(&session, model, &s), MEP_OK);
    assert_int_equal(mep_dataset_read(data, start, length + 1, tokens), MEP_OK);
    assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
    mep_session_destroy(&session);
    free(tokens);
}

static void assert_near(double found, double wanted, double tolerance, const char *what)
{
    if (!(fabs(found - wanted) <= tolerance * fmax(1, fabs(wanted))))
        fail_msg("%s: %.12g, not %.12g", what, found, wanted);
}

static const mep_measure_value *find(const mep_measure *m, const char *name, int64_t length, double at)
{
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].length == length &&
            (m->values[i].at == at || (isnan(at) && isnan(m->values[i].at))))
            return &m->values[i];
    fail_msg("no %s at length %d, %g", name, (int)length, at);
    return NULL;
}

typedef mep_status (*measure_fn)(const mep_measure_call *call, mep_measure *measure);

static mep_status measure_with(measure_fn measure, mep_model *model, const mep_dataset *data,
                               const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .data = data, .settings = settings};
    return measure(&call, m);
}

static mep_status copy_with(mep_model *model, const mep_dataset *data, int64_t gap,
                            const mep_measure_settings *settings, mep_measure *m)
{
    const mep_measure_call call = {.model = model, .data = data, .settings = settings};
    return mep_measure_copy_gain(&call, gap, m);
}

static mep_measure_settings small_settings(void)
{
    mep_measure_settings s;
    mep_measure_defaults(&s);
    s.length = 72, s.samples = 40, s.max_tokens = 800, s.copy_tokens = 9, s.batch_tokens = 200;
    return s;
}

static void refuse(mep_status status, const char *text, mep_status found)
{
    assert_int_equal(found, status);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("\"%s\" is not in: %s", text, mep_error_message());
}

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

/* ---- Blindness ---- */

/* With queries and keys of 0 the bias alone decides. */
static mep_model *bias_model(const char *position)
{
    mep_model *model = lively_model(position);
    for (int64_t layer = 0; layer < model->config.num_hidden_layers; layer++) {
        mep_tensor *t = &model->tensors[mep_tensor_index(model, QKV_WEIGHT, layer)];
        memset(t->data, 0, (size_t)t->size * sizeof(float));
    }
    return model;
}

static const mep_measure_value *find_head(const mep_measure *m, const char *name, int64_t layer, int64_t head)
{
    for (int64_t i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0 && m->values[i].layer == layer && m->values[i].head == head)
            return &m->values[i];
    fail_msg("no %s of layer %d, head %d", name, (int)layer, (int)head);
    return NULL;
}

static void test_blindness_of_bias(void **state)
{
    (void)state;
    enum { L = 256, QUERIES = 32 };
    static const char *const positions[] = {"alibi", "nope", "exp:c=64", "kerple_log"};
    static const double held[] = {0.5, 0.9, 0.99};
    mep_dataset *data = open_data();
    mep_measure_settings s;
    mep_measure_defaults(&s);
    s.length = L, s.samples = 4 * QUERIES;
    for (int p = 0; p < 4; p++) {
        mep_model *model = bias_model(positions[p]);
        mep_measure m = {0};
        float table[4 * L] = {0};
        if (mep_model_get_bias(model) != NULL)
            assert_int_equal(mep_bias_table(mep_model_get_bias(model), L, table), MEP_OK);
        assert_int_equal(measure_with(mep_measure_blindness, model, data, &s, &m), MEP_OK);
        assert_int_equal(m.count, 2 * 4 * 4);
        for (int64_t head = 0; head < 4; head++) {
            double zero = 0, distance[3] = {0};
            for (int q = 0; q < QUERIES; q++) {
                int position = L - 1 - (QUERIES - 1 - q) * (L / 4) / QUERIES;
                double sum = 0, some = 0;
                int k = 0;
                for (int d = 0; d <= position; d++) {
                    double b = (double)table[head * L + d] - (double)table[head * L];
                    sum += exp(b);
                    zero += (b < -87.3) / (position + 1.0) / QUERIES;
                }
                for (int d = 0; d <= position && k < 3; d++) {
                    some += exp((double)table[head * L + d] - (double)table[head * L]);
                    while (k < 3 && some >= held[k] * sum) distance[k++] += (d + 1.0) / QUERIES;
                }
            }
            for (int64_t layer = 0; layer < 2; layer++) {
                const mep_measure_value *v = find_head(&m, "zero", layer, head);
                assert_near(v->value, zero, 1e-9, "zero");
                assert_near(v->standard_error, 0, 1e-9, "its standard error");
                assert_int_equal(v->samples, 4);
                assert_near(find_head(&m, "d50", layer, head)->value, distance[0], 0.02, "d50");
                assert_near(find_head(&m, "d90", layer, head)->value, distance[1], 0.02, "d90");
                assert_near(find_head(&m, "d99", layer, head)->value, distance[2], 0.02, "d99");
            }
        }
        if (p == 2) assert_true(find_head(&m, "zero", 0, 0)->value > 0.9); /* 16 nats per token */
        if (p == 1) assert_true(find_head(&m, "d50", 1, 3)->value > 100 && find_head(&m, "zero", 1, 3)->value == 0);
        mep_measure_free(&m);
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
}

/* Queries and keys count: every encoding's log-sum-exps are checked inside (otherwise the call fails), in both types.
 */
static void test_blindness_of_models(void **state)
{
    (void)state;
    static const char *const positions[] = {
        "mep",
        "mep_param",
        "rotary",
        "t5",
        "nope",
        "sinusoidal",
        "mep + uniform/weights=query",
        "nope/forget",
        "alibi/forget:bias=none",
        "rotary/scale=ssmax",
        "bam/scale=logn:16/sink",
        "alibi/window=16/sink|rotary",
        "mep/weights=query/forget/profiles:rank=2/scale=ssmax/sink/window=40|nope/forget"};
    enum { COUNT = sizeof positions / sizeof *positions };
    mep_dataset *data = open_data();
    for (int i = 0; i < 2 * COUNT; i++) {
        mep_model *model = lively_model(positions[i / 2]);
        mep_measure_settings s = small_settings();
        mep_measure m = {0};
        s.dtype = i % 2 ? MEP_BFLOAT16 : MEP_FLOAT32;
        if (measure_with(mep_measure_blindness, model, data, &s, &m) != MEP_OK)
            fail_msg("%s, %s: %s", positions[i / 2], mep_dtype_name(s.dtype), mep_error_message());
        double before = 0;
        for (int64_t k = 0; k < m.count; k++) {
            const mep_measure_value *v = &m.values[k];
            assert_true(v->value >= 0 && v->value <= (double)s.length);
            if (strcmp(v->name, "d50") == 0) before = 0;
            if (v->name[0] == 'd') assert_true(v->value >= before);
            before = v->value;
        }
        mep_measure_free(&m);
        mep_model_destroy(&model);
    }
    mep_dataset_close(&data);
}

static void test_bias_sight(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int converges[2], has_reach;
    } cases[] = {{"exp", {1, 1}, 1}, {"gauss", {1, 1}, 1},        {"alibi", {1, 1}, 1},
                 {"t5", {0, 0}, 0},  {"kerple_power", {1, 1}, 1}, {"kerple_log", {1, 0}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mep_bias *bias;
        mep_bias_sight sight[2];
        double mass = 0, params[4] = {1.001, 0.999, 1, 1}; /* kerple_log falls as d^-p; the other one is a */
        int64_t distances[2] = {0, 0};
        double at[4];
        assert_int_equal(mep_bias_create(&bias, cases[i].spec, 2, 16), MEP_OK);
        if (strcmp(cases[i].spec, "kerple_log") == 0) assert_int_equal(mep_bias_set_params(bias, params, 4), MEP_OK);
        assert_int_equal(mep_bias_sights(bias, 5000, sight), MEP_OK);
        for (int h = 0; h < 2; h++) {
            if (sight[h].converges != cases[i].converges[h]) fail_msg("%s, head %d", cases[i].spec, h);
            assert_int_equal(sight[h].reach >= 0, cases[i].has_reach);
            mass = 0;
            for (int64_t d = 0; d < 5000; d++) {
                distances[1] = d;
                assert_int_equal(mep_bias_at(bias, distances, 2, at), MEP_OK);
                mass += exp(at[2 * h + 1] - at[2 * h]);
            }
            assert_near(sight[h].mass, mass, 1e-12, "mass");
            if (sight[h].reach < 0) continue;
            distances[0] = sight[h].reach, distances[1] = sight[h].reach - 1;
            assert_int_equal(mep_bias_at(bias, distances, 2, at), MEP_OK);
            double far = at[2 * h], near = at[2 * h + 1];
            distances[0] = 0;
            assert_int_equal(mep_bias_at(bias, distances, 1, at), MEP_OK);
            assert_true(far - at[h] <= -87.3 && near - at[h] > -87.31);
        }
        mep_bias_destroy(&bias);
    }
    mep_bias *bias;
    mep_bias_sight sight[2];
    assert_int_equal(mep_bias_create(&bias, "mep", 2, 16), MEP_OK);
    refuse(MEP_ERROR_ARGUMENT, "length", mep_bias_sights(bias, 0, sight));
    mep_bias_destroy(&bias);
}

/* ---- Bits ---- */

static mep_status copy_gain(const mep_measure_call *call, mep_measure *measure)
{
    return mep_measure_copy_gain(call, 30, measure);
}

static const measure_fn MEASURES[] = {mep_measure_by_position, mep_measure_context_gain, copy_gain,
                                      mep_measure_blindness};
enum { MEASURE_COUNT = sizeof MEASURES / sizeof *MEASURES };

static void assert_same(const mep_measure *found, const mep_measure *wanted, const char *what)
{
    assert_int_equal(found->count, wanted->count);
    for (int64_t i = 0; i < wanted->count; i++) {
        const mep_measure_value *f = &found->values[i], *w = &wanted->values[i];
        assert_string_equal(f->name, w->name);
        if (!(f->value == w->value && (f->standard_error == w->standard_error || isnan(w->standard_error))))
            fail_msg("%s: %s %s at %g: %.17g, not %.17g", what, wanted->name, w->name, w->at, f->value, w->value);
    }
}

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
    int calls, stop_at;
    int64_t done, total;
} watcher;

static int watch(void *context, int64_t done, int64_t total, double loss)
{
    watcher *w = context;
    if (!isnan(loss) || done < w->done || done > total) return 1;
    w->done = done, w->total = total;
    return ++w->calls == w->stop_at;
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
        w = (watcher){.stop_at = w.calls};
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

/* ---- Effective length ---- */

static void add_value(mep_measure *m, const char *name, int64_t length, double at, double value)
{
    mep_measure_value *v = &m->values[m->count++];
    *v = (mep_measure_value){.length = length, .at = at, .value = value};
    snprintf(v->name, sizeof v->name, "%s", name);
}

static void assert_effective(const mep_measure *m, const char *name, int64_t training, double within, int64_t wanted)
{
    int64_t length = -1;
    assert_int_equal(mep_measure_effective_length(m, name, training, within, &length), MEP_OK);
    if (length != wanted) fail_msg("%s, %d: %d, not %d", name, (int)training, (int)length, (int)wanted);
}

static void test_effective_length(void **state)
{
    (void)state;
    mep_measure_value values[64];
    mep_measure m = {.name = "a", .values = values};
    static const double losses[] = {4, 3, 3.05, 2.9, 3.2, 3.0};
    for (int i = 5; i >= 0; i--) add_value(&m, "loss", 64 << i, NAN, losses[i]); /* the order does not matter */
    assert_effective(&m, "loss", 128, 0.02, 512); /* 1024 is worse; that 2048 is not does not count */
    assert_effective(&m, "loss", 128, 0.01, 128);
    assert_effective(&m, "loss", 128, 0.1, 2048);
    assert_effective(&m, "loss", 200, 0.02, 512); /* 128 takes the place of 200 */
    assert_effective(&m, "loss", 63, 0.02, 0);
    assert_effective(&m, "loss", 4096, 0, 2048);
    /* of exact, more is better; the mean over the axis counts */
    snprintf(m.axis, sizeof m.axis, "depth");
    for (int i = 0; i < 3; i++)
        add_value(&m, "exact", 64 << i, 0, 1.0 - 0.1 * i), add_value(&m, "exact", 64 << i, 1, 1);
    assert_effective(&m, "exact", 64, 0.06, 128);
    assert_effective(&m, "exact", 64, 0.11, 256);
    for (int i = 0; i < 3; i++) add_value(&m, "gain", 64 << i, 0, 0);
    assert_effective(&m, "gain", 64, 0.02, 0); /* nothing stays nothing */
    /* the end of the segment counts where the axis is a position */
    m.count = 0;
    snprintf(m.axis, sizeof m.axis, "position");
    for (int i = 0; i < 3; i++) add_value(&m, "loss", 64 << i, 8, 9 + i), add_value(&m, "loss", 64 << i, 64 << i, 3);
    assert_effective(&m, "loss", 64, 0, 256);
    int64_t length;
    refuse(MEP_ERROR_ARGUMENT, "\"exact\"", mep_measure_effective_length(&m, "exact", 64, 0.02, &length));
    refuse(MEP_ERROR_ARGUMENT, "fraction", mep_measure_effective_length(&m, "loss", 64, NAN, &length));
}

/* ---- Text ---- */

static void test_text(void **state)
{
    (void)state;
    mep_model *model = lively_model("mep");
    mep_dataset *data = open_data();
    for (int k = 0; k < MEASURE_COUNT; k++) {
        mep_measure_settings s = small_settings();
        const mep_measure_call call = {.model = model, .data = data, .settings = &s};
        mep_measure m = {0}, again = {0};
        char *text, *second;
        s.samples = k == 3 ? 1 : 40; /* one segment: no standard errors */
        assert_int_equal(MEASURES[k](&call, &m), MEP_OK);
        assert_int_equal(mep_measure_print(&m, &text), MEP_OK);
        assert_int_equal(mep_measure_parse(text, &again), MEP_OK);
        assert_string_equal(again.name, m.name);
        assert_string_equal(again.axis, m.axis);
        assert_same(&again, &m, "text");
        for (int64_t i = 0; i < m.count; i++) {
            const mep_measure_value *a = &m.values[i], *b = &again.values[i];
            assert_true(a->length == b->length && a->layer == b->layer && a->head == b->head);
            assert_true(a->samples == b->samples && (a->at == b->at || (isnan(a->at) && isnan(b->at))));
            assert_true(isnan(a->standard_error) == isnan(b->standard_error));
        }
        assert_int_equal(mep_measure_print(&again, &second), MEP_OK);
        assert_string_equal(text, second);
        mep_measure_free(&again);
        mep_measure_free(&m);
        mep_text_free(&text);
        mep_text_free(&second);
    }
    mep_dataset_close(&data);
    mep_model_destroy(&model);
}

static void test_bad_text(void **state)
{
    (void)state;
    static const char heading[] = "measure,axis,length,at,layer,head,name,value,stderr,samples\n";
    static const char good[] = "a,gap,12,3,,,loss,1.5,0.25,7\n";
    static const char *const bad[] = {
        "a,gap,12,3,,,loss,1.5,0.25\n",
        "a,gap,12,3,,,loss,1.5,0.25,7,8\n",
        "a,gap,0,3,,,loss,1.5,0.25,7\n",
        "a,gap,12,3,,,,1.5,0.25,7\n",
        "b,gap,12,3,,,loss,1.5,0.25,7\n",
        "a,depth,12,3,,,loss,1.5,0.25,7\n",
        "a,gap,12,3x,,,loss,1.5,0.25,7\n",
        "a,gap,12,3,-1,,loss,1.5,0.25,7\n",
        "a,gap,12,3,,,loss,1.5,0.25,\n",
        "a,gap,12,3,,,012345678901234567890123456789012,1.5,0.25,7\n",
        "\n",
    };
    char text[512];
    mep_measure m = {0};
    snprintf(text, sizeof text, "%s%s", heading, good);
    assert_int_equal(mep_measure_parse(text, &m), MEP_OK);
    assert_int_equal(m.count, 1);
    assert_true(m.values[0].value == 1.5 && m.values[0].layer == -1 && m.values[0].at == 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s%s%s", heading, good, bad[i]);
        refuse(MEP_ERROR_FORMAT, "line 3", mep_measure_parse(text, &m));
        assert_int_equal(m.count, 1); /* unchanged */
    }
    refuse(MEP_ERROR_FORMAT, "line 1", mep_measure_parse("", &m));
    refuse(MEP_ERROR_FORMAT, "line 1", mep_measure_parse("measure,axis\n", &m));
    mep_measure_free(&m);
    assert_int_equal(mep_measure_parse(heading, &m), MEP_OK);
    assert_int_equal(m.count, 0);
    mep_measure_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_position),
        cmocka_unit_test(test_bits_per_byte),
        cmocka_unit_test(test_context_gain),
        cmocka_unit_test(test_copy_gain),
        cmocka_unit_test(test_copy_distance),
        cmocka_unit_test(test_blindness_of_bias),
        cmocka_unit_test(test_blindness_of_models),
        cmocka_unit_test(test_bias_sight),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_effective_length),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
