/* SPDX-License-Identifier: MIT */
/*
 * Generation: greedy text against the whole text's logits, sampling against probabilities, each setting, and refusals.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

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
            if (!(row[t.tokens[i + 1]] >= best - 1e-4f))
                fail_msg("%s: token %d is not the likeliest", positions[p], i + 1);
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
            if (!(fabs((double)counts[i] / DRAWS - p) <= bound))
                fail_msg("case %zu: token %d drawn %d times, expected %g", c, i, counts[i], p * DRAWS);
        }
    }
}

/* A model that knows nothing: every token is as likely as any other. */
static mep_model *flat_model(void)
{
    mep_train_settings s = settings_for("mep");
    mep_model *model;
    assert_int_equal(mep_model_create(&model, &s.model, 3), MEP_OK);
    float *output = model->tensors[model->embed_out].data;
    memset(output, 0, (size_t)model->tensors[model->embed_out].size * sizeof *output);
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

/* Tokens from vocab_limit on are never chosen, drawn or likeliest. */
static void test_vocab_limit(void **state)
{
    (void)state;
    for (int64_t limit = 1; limit <= VOCAB; limit += 9)
        for (int greedy = 0; greedy < 2; greedy++) {
            mep_model *model = flat_model();
            float *row = (float *)model->tensors[model->embed_out].data + (VOCAB - 1) * model->config.hidden_size;
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
        ((float *)model->tensors[model->embed_out].data)[5] = NAN;
        assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_NUMERIC);
        ((float *)model->tensors[model->embed_out].data)[5] = 0;
        ((float *)model->tensors[model->embed_in].data)[3 * model->config.hidden_size] =
            NAN; /* of the prompt's last token */
        assert_int_equal(mep_generate(model, prompt, 3, &g, collect, &t), MEP_ERROR_NUMERIC);
        assert_int_equal(t.count, 0);
        mep_model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generation), cmocka_unit_test(test_sampling),    cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_ends),       cmocka_unit_test(test_vocab_limit), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_numeric),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
