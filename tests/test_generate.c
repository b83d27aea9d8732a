/* SPDX-License-Identifier: MIT */
/*
 * Generation: greedy text against the whole text's logits, a cache that drops keys against one that does not, sampling
 * against probabilities, each setting, and refusals.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

#include "model/kv_windows.h"
#include "model/sample.h"

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

/* Each token of greedy text from the cache is the likeliest by the logits of the complete text. */
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
            if (!(row[t.tokens[i + 1]] >= best - 1e-4f))
                fail_msg("%s: token %d is not the likeliest", positions[p], i + 1);
        }
        free(logits);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* ---- The cache's windows ---- */

/* Logits of `count` tokens read by calls of `call`, then 1, into logits [count / .., VOCAB]; returns the bytes held. */
static int64_t read_cached(mep_model *model, mep_dtype dtype, double tolerance, int whole, int64_t count,
                           const int32_t *tokens, int64_t call, float *logits)
{
    mep_session_settings settings;
    mep_session *session;
    mep_session_defaults(&settings);
    settings.length = call, settings.dtype = dtype, settings.tolerance = tolerance;
    if (mep_session_create_cached(&session, model, &settings, count, whole) != MEP_OK)
        fail_msg("%s", mep_error_message());
    for (int64_t t = 0, number = 0, step; t < count; t += step, number++) {
        step = number % 50 == 3 && t + call < count ? call : 1;
        if (mep_session_next(session, step, tokens + t, logits + (t + step - 1) * VOCAB) != MEP_OK)
            fail_msg("%s", mep_error_message());
    }
    int64_t bytes = mep_cache_bytes(mep_kv_ring_cache(session->kv));
    mep_session_destroy(&session);
    return bytes;
}

/* With large weights: logits, and therefore texts, are bit-identical to those of a cache that keeps everything. */
static void test_windows(void **state)
{
    (void)state;
    enum { COUNT = 800 };
    static const struct {
        const char *position;
        int64_t hidden, heads;
        int drops;
    } cases[] = {{"exp:c=16", 40, 2, 1}, {"exp:c=24 + gauss:c=16", 128, 2, 1},
                 {"mep", 64, 8, 1},      {"alibi", 64, 8, 1},
                 {"t5", 32, 4, 0},       {"rotary", 32, 4, 0}};
    int32_t tokens[COUNT];
    for (int i = 0; i < COUNT; i++) tokens[i] = (int32_t)(mep_random_bits(3, 1, (uint64_t)i) % VOCAB);
    int threads = mep_set_threads(0);
    mep_set_threads(1); /* faster for small models */
    float *trimmed = calloc(COUNT * VOCAB, sizeof *trimmed), *whole = calloc(COUNT * VOCAB, sizeof *whole);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
            mep_train_settings s = settings_for(cases[c].position);
            s.model.hidden_size = cases[c].hidden, s.model.num_attention_heads = cases[c].heads;
            s.model.max_position_embeddings = COUNT;
            mep_model *model;
            assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
            for (int64_t i = 0; i < model->size; i++) model->values[i] *= model->values[i] == 1.0f ? 1.0f : 5.0f;
            int64_t held = read_cached(model, (mep_dtype)is_bf16, 0, 0, COUNT, tokens, 70, trimmed);
            int64_t all = read_cached(model, (mep_dtype)is_bf16, 0, 1, COUNT, tokens, 70, whole);
            if (memcmp(trimmed, whole, COUNT * VOCAB * sizeof *whole) != 0) fail_msg("%s", cases[c].position);
            for (int i = 0; i < COUNT * VOCAB; i++) assert_true(isfinite(whole[i]));
            assert_true(cases[c].drops ? held < all : held == all);
            int64_t loose = read_cached(model, (mep_dtype)is_bf16, 1e-3, 0, COUNT, tokens, 70, trimmed);
            if (!(c == 0 ? loose < held : loose <= held))
                fail_msg("%s holds %lld bytes, with a tolerance %lld", cases[c].position, (long long)held,
                         (long long)loose);
            mep_model_destroy(&model);
        }
    mep_set_threads(threads);
    free(trimmed);
    free(whole);
}

/*
 * A model made for the worst: token 0 is normalized to e, token 1 to -e, q = c xhat and k = -c xhat, so that token 0
 * wants nothing less than its own key, and nothing more than token 1. The allowance is nearly attained.
 */
static mep_model *worst_model(const char *position, float c)
{
    enum { HIDDEN = 16 };
    mep_train_settings s = settings_for(position);
    s.model.hidden_size = HIDDEN, s.model.num_attention_heads = 1, s.model.num_hidden_layers = 1;
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    float *embed = model->tensors[model->first[EMBED_IN]].data;
    float *qkv = model->tensors[mep_tensor_index(model, QKV_WEIGHT, 0)].data;
    float *dense = model->tensors[mep_tensor_index(model, DENSE_WEIGHT, 0)].data;
    memset(qkv, 0, 3 * HIDDEN * HIDDEN * sizeof *qkv);
    for (int i = 0; i < HIDDEN; i++) {
        embed[i] = i % 2 == 0 ? 1.0f : -1.0f;
        embed[HIDDEN + i] = -embed[i];
        qkv[i * HIDDEN + i] = c;
        qkv[(HIDDEN + i) * HIDDEN + i] = -c;
        qkv[(2 * HIDDEN + i) * HIDDEN + i] = 1;
        dense[i * HIDDEN + i] = 1;
    }
    return model;
}

/* scale: by what the last query is multiplied. The slope of the slowest kernel is 1/4. */
static void check_worst_weights(const char *position, double scale)
{
    enum { COUNT = 1400, FAR = 700 };
    mep_model *model = worst_model(position, (float)sqrt(25 / scale));
    double attained = 2 * 25.0 * 16 / 4; /* scale q.(k' - k) = 2 scale c^2 |xhat|^2 / sqrt(16) = 200 */
    int32_t tokens[COUNT] = {1};
    float *logits[3];
    for (int i = 0; i < 3; i++) logits[i] = calloc(COUNT * VOCAB, sizeof **logits);
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        mep_session_settings settings;
        mep_session *session;
        double allowance;
        int64_t window;
        mep_session_defaults(&settings);
        settings.length = 8, settings.dtype = (mep_dtype)is_bf16;
        assert_int_equal(mep_session_create_cached(&session, model, &settings, COUNT, 0), MEP_OK);
        assert_int_equal(mep_model_allowances(session->model, session->settings.dtype, COUNT, NULL, &allowance),
                         MEP_OK);
        assert_int_equal(
            mep_model_windows(session->model, session->settings.dtype, session->settings.tolerance, COUNT, &window),
            MEP_OK);
        if (!(allowance >= attained && allowance <= attained * (is_bf16 ? 1.25 : 1.15)))
            fail_msg("%s: the allowance is %g, attained is %g", position, allowance, attained);
        assert_int_equal(window, (int64_t)ceil(4 * (104 + allowance)));
        mep_session_destroy(&session);
        /* the first token still has all of the weight where its bias is -FAR / 4 = -175 */
        tokens[0] = 1;
        read_cached(model, (mep_dtype)is_bf16, 0, 0, COUNT, tokens, 8, logits[0]);
        read_cached(model, (mep_dtype)is_bf16, 0, 1, COUNT, tokens, 8, logits[1]);
        assert_memory_equal(logits[0], logits[1], COUNT * VOCAB * sizeof **logits);
        tokens[0] = 0;
        read_cached(model, (mep_dtype)is_bf16, 0, 0, COUNT, tokens, 8, logits[2]);
        assert_memory_not_equal(logits[0] + FAR * VOCAB, logits[2] + FAR * VOCAB, VOCAB * sizeof **logits);
        assert_memory_equal(logits[0] + (COUNT - 1) * VOCAB, logits[2] + (COUNT - 1) * VOCAB, VOCAB * sizeof **logits);
    }
    for (int i = 0; i < 3; i++) free(logits[i]);
    mep_model_destroy(&model);
}

static void test_worst_weights(void **state)
{
    (void)state;
    check_worst_weights("exp:c=64", 1);
    check_worst_weights("exp:c=64/forget:bias=30", 1);
    check_worst_weights("exp:c=64 + exp:c=640/weights=query", 1);
    check_worst_weights("exp:c=64/scale=ssmax", (double)0.43f * log(1400));
    check_worst_weights("exp:c=64 + exp:c=640/weights=query/scale=logn:20", log(1400) / log(20));
}

/* Weights of all sizes: what tokens bring about stays within the allowance. */
static void test_allowances(void **state)
{
    (void)state;
    enum { COUNT = VOCAB };
    int64_t looked_at = 0;
    for (int size = 1; size <= 64; size *= 8)
        for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
            mep_train_settings s = settings_for("mep");
            mep_model *model;
            assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
            for (int64_t i = 0; i < model->size; i++) /* biases and LayerNorm too */
                model->values[i] =
                    0.3f * model->values[i] + 0.02f * (float)size * (float)mep_random_normal(1, 2, (uint64_t)i);
            int64_t hidden = model->config.hidden_size, heads = model->config.num_attention_heads, d = hidden / heads;
            int32_t tokens[COUNT];
            double allowance[8];
            float losses[COUNT];
            mep_session_settings settings;
            mep_session *session;
            for (int i = 0; i < COUNT; i++) tokens[i] = i;
            mep_session_defaults(&settings);
            settings.length = COUNT, settings.dtype = (mep_dtype)is_bf16, settings.training = 1;
            assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
            assert_int_equal(mep_model_allowances(session->model, session->settings.dtype, COUNT, NULL, allowance),
                             MEP_OK);
            assert_int_equal(mep_session_losses(session, 1, COUNT, tokens, tokens, losses), MEP_OK);
            for (int64_t n = 0; n < 2 * heads; n++) {
                double most = 0;
                mep_activation qkv = session->layer[n / heads].qkv;
                for (int64_t i = 0; i < COUNT; i++)
                    for (int64_t j = 0; j < COUNT; j++) {
                        double x = 0;
                        for (int64_t c = 0; c < d; c++) {
                            int64_t place = n % heads * 3 * d + c;
                            double v[3]; /* q, its own k, another's */
                            int64_t at[] = {i * 3 * hidden + place, i * 3 * hidden + place + d,
                                            j * 3 * hidden + place + d};
                            for (int k = 0; k < 3; k++)
                                v[k] = is_bf16 ? (double)mep_bf16_to_float(((mep_bf16 *)qkv.data)[at[k]])
                                               : (double)((float *)qkv.data)[at[k]];
                            x += v[0] * (v[2] - v[1]);
                        }
                        most = fmax(most, x / sqrt((double)d));
                    }
                if (!(most <= allowance[n])) fail_msg("%g is more than the allowance of %g", most, allowance[n]);
                assert_true(most > 0.03 * allowance[n] || !isfinite(allowance[n]));
                looked_at += isfinite(allowance[n]);
            }
            mep_session_destroy(&session);
            mep_model_destroy(&model);
        }
    assert_true(looked_at >= 24);
}

/* Windows that the text cannot be longer than are not searched for; those that it can are the same for all lengths. */
static void test_windows_by_length(void **state)
{
    (void)state;
    enum { HEADS = 8, COUNT = 2 * HEADS };
    mep_train_settings s = settings_for("mep"); /* slopes 1/2 .. 1/256 */
    s.model.num_attention_heads = HEADS;
    mep_model *model;
    mep_session *session;
    mep_session_settings settings;
    int64_t endless[COUNT], window[COUNT];
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    mep_session_defaults(&settings);
    settings.length = 8;
    assert_int_equal(mep_session_create_cached(&session, model, &settings, 8, 0), MEP_OK);
    assert_int_equal(mep_model_windows(session->model, session->settings.dtype, session->settings.tolerance,
                                       MEP_GENERATE_ENDLESS, endless),
                     MEP_OK);
    for (int64_t tokens = 1; tokens < 1 << 18; tokens *= 2) {
        int found = 0;
        assert_int_equal(
            mep_model_windows(session->model, session->settings.dtype, session->settings.tolerance, tokens, window),
            MEP_OK);
        for (int i = 0; i < COUNT; i++) {
            assert_true(window[i] == endless[i] || (window[i] == MEP_CACHE_ALL && endless[i] >= tokens));
            found += window[i] == endless[i];
        }
        assert_true(tokens <= 256 ? found == 0 : tokens == 4096 ? found > 0 && found < COUNT : 1);
        if (tokens == 1 << 17) assert_int_equal(found, COUNT);
    }
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

typedef struct endless {
    int64_t count, limit;
} endless;

static int count_tokens(void *context, int32_t token)
{
    endless *e = context;
    assert_true(token >= 0);
    return ++e->count == e->limit;
}

/* A text without end needs a reach in every head. */
static void test_endless(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3};
    enum { BOUNDED = 6, WITHOUT_BIAS = 11, COUNT = 14 };
    static const char *const positions[COUNT] = {"exp:c=16",
                                                 "mep",
                                                 "alibi",
                                                 "mep/weights=query/scale=ssmax",
                                                 "mep/profiles:rank=2/forget/sink/scale=logn:30|mep/weights=query",
                                                 "t5/window=8",
                                                 "t5",
                                                 "kerple_log",
                                                 "exp + t5",
                                                 "mep + uniform/weights=query",
                                                 "fire",
                                                 "rotary",
                                                 "nope",
                                                 "mep|nope/window=8"};
    for (int p = 0; p < COUNT; p++) {
        mep_train_settings s = settings_for(positions[p]);
        mep_model *model;
        mep_generate_settings g;
        endless e = {0, 600};
        assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
        mep_generate_defaults(&g);
        g.max_tokens = MEP_GENERATE_ENDLESS;
        mep_status status = mep_generate(model, prompt, 3, &g, count_tokens, &e);
        assert_int_equal(status, p < BOUNDED ? MEP_OK : MEP_ERROR_UNSUPPORTED);
        assert_int_equal(e.count, p < BOUNDED ? 600 : 0);
        if (p >= BOUNDED)
            assert_non_null(strstr(mep_error_message(), p < WITHOUT_BIAS ? "has no reach" : "has no distance bias"));
        mep_model_destroy(&model);
    }
}

/* With P learned positions a text may have P + 1 tokens: the last one is not read. */
static void test_all_positions(void **state)
{
    (void)state;
    enum { POSITIONS = 40 };
    static const int32_t prompt[POSITIONS + 1] = {1, 2, 3};
    static const int64_t counts[] = {1, 3, POSITIONS};
    mep_train_settings s = settings_for("learned");
    s.model.max_position_embeddings = POSITIONS;
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    for (int i = 0; i < 3; i++) {
        mep_generate_settings g;
        text t = {0};
        mep_generate_defaults(&g);
        g.max_tokens = POSITIONS + 1 - counts[i];
        assert_int_equal(mep_generate(model, prompt, counts[i], &g, collect, &t), MEP_OK);
        assert_int_equal(t.count, g.max_tokens);
        g.max_tokens++;
        assert_int_equal(mep_generate(model, prompt, counts[i], &g, collect, &t), MEP_ERROR_ARGUMENT);
        g.max_tokens = 0;
        assert_int_equal(mep_generate(model, prompt, POSITIONS, &g, collect, &t), MEP_OK);
        assert_int_equal(t.count, POSITIONS + 1 - counts[i]);
    }
    mep_model_destroy(&model);
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
            if (!(fabs((double)counts[i] / DRAWS - p) <= bound))
                fail_msg("case %zu: token %d drawn %d times, expected %g", c, i, counts[i], p * DRAWS);
        }
    }
}

static int by_probability(const void *a, const void *b)
{
    const mep_candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

/* What mep_sample chooses, from all candidates in order. */
static int32_t sample_sorted(const mep_generate_settings *s, int64_t count, const float *logits, int64_t place)
{
    mep_candidate candidates[700];
    double top = -INFINITY, sum = 0, kept = 0, drawn = 0;
    int64_t k = s->top_k > 0 && s->top_k < count ? s->top_k : count, n = 0, i = 0;
    for (int64_t t = 0; t < count; t++) /* fmax here: an internal error of gcc 12 on Arm */
        if ((double)logits[t] > top) top = (double)logits[t];
    for (int64_t t = 0; t < count; t++)
        candidates[t] = (mep_candidate){(float)exp(((double)logits[t] - top) / s->temperature), (int32_t)t};
    qsort(candidates, (size_t)count, sizeof *candidates, by_probability);
    for (int64_t t = 0; t < k; t++) sum += (double)candidates[t].probability;
    while (n < k && (n == 0 || kept < s->top_p * sum)) kept += (double)candidates[n++].probability;
    double draw = mep_random_uniform(s->seed, mep_random_stream("sample"), (uint64_t)place) * kept;
    while (i < n - 1 && (drawn = draw - (double)candidates[i].probability) >= 0) draw = drawn, i++;
    return candidates[i].token;
}

/* Random logits with ties: the likeliest tokens of a heap are those of a sorted list, in the same order. */
static void test_heap(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 3, 10, 64, 700}, ks[] = {0, 1, 2, 5, 63, 64, 65, 699, 1000};
    static const double ps[] = {1e-9, 0.1, 0.5, 0.9, 0.999, 1};
    float logits[700];
    for (uint64_t c = 0; c < 6 * 3; c++)
        for (int k = 0; k < 9; k++)
            for (int p = 0; p < 6; p++) {
                int64_t count = counts[c / 3];
                for (int64_t i = 0; i < count; i++) {
                    float x = 3 * (float)mep_random_normal(c, 1, (uint64_t)i);
                    logits[i] = c % 3 == 0 ? x : c % 3 == 1 ? roundf(x) : 0; /* ties */
                    if (i % 7 == 3) logits[i] -= 200;                        /* and weights of 0 */
                }
                mep_generate_settings s;
                mep_generate_defaults(&s);
                s.top_k = ks[k], s.top_p = ps[p], s.seed = c;
                for (int64_t place = 0; place < 20; place++) {
                    mep_candidate candidates[700];
                    int32_t token = -1, sorted = sample_sorted(&s, count, logits, place);
                    assert_int_equal(mep_sample(&s, count, logits, place, candidates, &token), MEP_OK);
                    if (s.top_k > 0 || s.top_p < 1) assert_int_equal(token, sorted);
                }
            }
}

/* A model that knows nothing: every token is as likely as any other. */
static mep_model *flat_model(void)
{
    mep_train_settings s = settings_for("mep");
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    float *output = model->tensors[model->first[EMBED_OUT]].data;
    memset(output, 0, (size_t)model->tensors[model->first[EMBED_OUT]].size * sizeof *output);
    return model;
}

static text generate(mep_model *model, const mep_generate_settings *settings)
{
    static const int32_t prompt[] = {1, 2, 3};
    text t = {0};
    assert_int_equal(mep_generate(model, prompt, 3, settings, collect, &t), MEP_OK);
    return t;
}

/* The seed alone decides, and each token has a draw of its own. */
static void test_seeds(void **state)
{
    (void)state;
    mep_model *model = flat_model();
    mep_generate_settings g;
    mep_generate_defaults(&g);
    g.max_tokens = 200, g.seed = 5;
    text first = generate(model, &g), again = generate(model, &g);
    g.seed = 6;
    text other = generate(model, &g);
    assert_int_equal(first.count, 200);
    assert_memory_equal(&first, &again, sizeof first);
    int seen[VOCAB] = {0}, distinct = 0, same = 0;
    for (int i = 0; i < 200; i++) {
        assert_true(first.tokens[i] >= 0 && first.tokens[i] < VOCAB);
        distinct += seen[first.tokens[i]]++ == 0;
        same += first.tokens[i] == other.tokens[i];
    }
    assert_true(distinct > VOCAB / 2); /* 61 of 64 are expected */
    assert_true(same < 20);            /* 3 */
    mep_model_destroy(&model);
}

static int collect_four(void *context, int32_t token)
{
    text *t = context;
    t->tokens[t->count++] = token;
    return t->count == 4;
}

/* What ends a text: max_tokens, stop_token (which is not part of it), the callback. */
static void test_ends(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3};
    mep_model *model = flat_model();
    mep_generate_settings g;
    mep_generate_defaults(&g);
    g.max_tokens = 50;
    text whole = generate(model, &g), four = {0};
    for (int end = 1; end < 50; end += 6) {
        int32_t stop = whole.tokens[end];
        int64_t first = 0;
        while (whole.tokens[first] != stop) first++;
        g.stop_token = stop;
        text part = generate(model, &g);
        assert_int_equal(part.count, first);
        assert_memory_equal(part.tokens, whole.tokens, (size_t)first * sizeof stop);
    }
    g.stop_token = -1;
    assert_int_equal(mep_generate(model, prompt, 3, &g, collect_four, &four), MEP_OK);
    assert_int_equal(four.count, 4);
    assert_memory_equal(four.tokens, whole.tokens, 4 * sizeof *four.tokens);
    g.max_tokens = 0;
    assert_int_equal(generate(model, &g).count, 0);
    mep_model_destroy(&model);
}

/* vocab_limit and the tokens above it are never chosen, whether drawn or likeliest. */
static void test_vocab_limit(void **state)
{
    (void)state;
    for (int64_t limit = 1; limit <= VOCAB; limit += 9)
        for (int greedy = 0; greedy < 2; greedy++) {
            mep_model *model = flat_model();
            float *row =
                (float *)model->tensors[model->first[EMBED_OUT]].data + (VOCAB - 1) * model->config.hidden_size;
            for (int64_t i = 0; greedy && i < model->config.hidden_size; i++)
                row[i] = 0.1f * (float)i; /* the last is another */
            mep_generate_settings g;
            mep_generate_defaults(&g);
            g.max_tokens = 100, g.vocab_limit = limit, g.temperature = greedy ? 0 : 1;
            text t = generate(model, &g);
            int32_t highest = 0;
            for (int i = 0; i < 100; i++) {
                assert_true(t.tokens[i] < limit);
                highest = t.tokens[i] > highest ? t.tokens[i] : highest;
            }
            if (!greedy) assert_true(highest >= limit / 2); /* and those below are */
            mep_model_destroy(&model);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3}, foreign[] = {1, VOCAB};
    mep_model *model = flat_model();
    mep_generate_settings g;
    text t = {0};
    for (int64_t n = 0; n < 4; n++) { /* with the prompt these pass what 64 bits hold */
        mep_generate_defaults(&g);
        g.max_tokens = INT64_MAX - n;
        assert_int_not_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_OK);
    }
    mep_generate_defaults(&g);
    assert_int_equal(mep_generate(model, foreign, 2, &g, collect, &t), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_generate(model, prompt, 0, &g, collect, &t), MEP_ERROR_ARGUMENT);
    g.vocab_limit = VOCAB + 1;
    assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_ARGUMENT);
    mep_generate_defaults(&g);
    g.temperature = NAN;
    assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_ARGUMENT);
    mep_generate_defaults(&g);
    g.tolerance = 1;
    assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_ARGUMENT);
    mep_generate_defaults(&g);
    g.top_p = 0;
    assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_ARGUMENT);
    assert_int_equal(t.count, 0);
    mep_model_destroy(&model);
}

/* Logits that are not finite are an error, drawn or greedy, and no token is given. */
static void test_numeric(void **state)
{
    (void)state;
    static const int32_t prompt[] = {1, 2, 3};
    for (int greedy = 0; greedy < 2; greedy++) {
        mep_model *model = flat_model();
        mep_generate_settings g;
        text t = {0};
        mep_generate_defaults(&g);
        g.temperature = greedy ? 0 : 1;
        ((float *)model->tensors[model->first[EMBED_OUT]].data)[5] = NAN;
        assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_NUMERIC);
        ((float *)model->tensors[model->first[EMBED_OUT]].data)[5] = 0;
        ((float *)model->tensors[model->first[EMBED_IN]].data)[3 * model->config.hidden_size] =
            NAN; /* of the prompt's last token */
        assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_NUMERIC);
        assert_int_equal(t.count, 0);
        mep_model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_all_positions),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_heap),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_vocab_limit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_worst_weights),
        cmocka_unit_test(test_allowances),
        cmocka_unit_test(test_windows_by_length),
        cmocka_unit_test(test_endless),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
