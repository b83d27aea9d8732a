/* SPDX-License-Identifier: MIT */
/*
 * Windows of the cache in Llama blocks: allowances bound what queries and keys give, with and without their norms,
 * shared heads and biases; and a cache that drops keys has the bits of one that keeps all, with every modifier.
 */
#include "small_model.h"

#include "base/bf16.h"
#include "base/memory.h"
#include "model/kv_windows.h"

static double value_at(const mep_session *s, int64_t layer, int64_t token, int64_t channel)
{
    const mep_activation qkv = s->layer[layer].qkv;
    int64_t at = token * mep_dimension_of(&s->model->config, DIM_QKV) + channel;
    return s->settings.dtype == MEP_BFLOAT16 ? (double)mep_bf16_to_float(((mep_bf16 *)qkv.data)[at])
                                             : (double)((float *)qkv.data)[at];
}

/* The largest q.(k' - k) of a head and the keys of its text, scaled. */
static double most_of(const mep_session *s, int64_t layer, int64_t head)
{
    const mep_model_config *c = &s->model->config;
    int64_t n = mep_head_dim(c), kv = head / (c->num_attention_heads / mep_key_value_heads(c));
    int64_t q = mep_qkv_row(c, head, 0), k = mep_qkv_row(c, kv, 1);
    double most = 0;
    for (int64_t i = 0; i < VOCAB; i++)
        for (int64_t j = 0; j < VOCAB; j++) {
            double x = 0;
            for (int64_t d = 0; d < n; d++)
                x += value_at(s, layer, i, q + d) * (value_at(s, layer, j, k + d) - value_at(s, layer, i, k + d));
            most = fmax(most, x / sqrt((double)n));
        }
    return most;
}

/* Weights of all sizes, norms included. */
static mep_model *random_model(const char *position, int size, int without_qk_norm)
{
    mep_model *small = small_model(position), *model = small;
    if (without_qk_norm) {
        mep_model_config c = small->config;
        c.qk_norm = MEP_QK_NORM_NONE;
        mep_model_destroy(&small);
        assert_int_equal(mep_model_create(&model, &c, 3), MEP_OK);
    }
    for (int64_t i = 0; i < model->size; i++)
        model->values[i] = 0.3f * model->values[i] + 0.02f * (float)size * (float)mep_random_normal(1, 2, (uint64_t)i);
    return model;
}

static void check_allowances(const char *position, int size, mep_dtype dtype, int without_qk_norm)
{
    mep_model *model = random_model(position, size, without_qk_norm);
    mep_session *session = small_session(model, 1, VOCAB, dtype, 1);
    int64_t heads = model->config.num_attention_heads;
    int32_t tokens[VOCAB];
    float losses[VOCAB];
    double *allowance = allocate(2 * heads, sizeof *allowance);
    for (int i = 0; i < VOCAB; i++) tokens[i] = i;
    assert_int_equal(mep_model_allowances(model, dtype, NULL, allowance), MEP_OK);
    assert_int_equal(mep_session_losses(session, 1, VOCAB, tokens, tokens, losses), MEP_OK);
    for (int64_t i = 0; i < 2 * heads; i++) {
        double most = most_of(session, i / heads, i % heads);
        if (without_qk_norm) {
            assert_true(allowance[i] == INFINITY);
            continue;
        }
        if (!(most <= allowance[i]))
            fail_msg("%s, size %d, %s: %g is more than the allowance of %g", position, size, mep_dtype_name(dtype),
                     most, allowance[i]);
        if (!(most > 0.01 * allowance[i] || (size > 8 && !isfinite(allowance[i]))))
            fail_msg("%s, size %d: the allowance of %g is far above %g", position, size, allowance[i], most);
    }
    free(allowance);
    mep_session_destroy(&session);
    mep_model_destroy(&model);
}

static void test_allowances(void **state)
{
    (void)state;
    static const char *const positions[] = {"llama mep", "qwen2 mep", "qwen3 mep", "olmo mep", "olmo2 mep"};
    for (size_t p = 0; p < sizeof positions / sizeof *positions; p++)
        for (int size = 1; size <= 64; size *= 8)
            for (int type = 0; type < 2; type++) check_allowances(positions[p], size, (mep_dtype)type, 0);
}

/* A profile of the own key of nearly the least value that its text can have. */
static void test_profiles(void **state)
{
    (void)state;
    for (int llama = 0; llama < 2; llama++)
        for (int type = 0; type < 2; type++) {
            mep_model *with =
                small_model(llama ? "qwen3 mep/profiles:rank=3,extent=20" : "mep/profiles:rank=3,extent=20");
            mep_model *without = small_model(llama ? "qwen3 mep" : "mep");
            int64_t heads = with->config.num_attention_heads, hidden = with->config.hidden_size;
            double *a = allocate(2 * heads, sizeof *a), *b = allocate(2 * heads, sizeof *b);
            assert_int_equal(mep_model_allowances(with, (mep_dtype)type, NULL, a), MEP_OK);
            assert_int_equal(mep_model_allowances(without, (mep_dtype)type, NULL, b), MEP_OK);
            for (int64_t i = 0; i < 2 * heads; i++) {
                const mep_tensor *bank = &with->tensors[mep_tensor_index(with, PROFILES_BANK, i / heads)];
                const float *weight = mep_tensor_values(with, PROFILES_WEIGHT, i / heads) + i % heads * 3 * hidden;
                double square = 0; /* the norm's weights are 1 */
                for (int64_t j = 0; j < hidden; j++) {
                    double x = 0;
                    for (int r = 0; r < 3; r++)
                        x += (double)weight[r * hidden + j] * (double)((float *)bank->data)[r * bank->shape[1]];
                    square += x * x;
                }
                double attained = sqrt((double)hidden * square), found = a[i] - b[i];
                if (!(found >= attained * (1 - 1e-9) * (type ? 0.99 : 1) && found < attained * 1.3))
                    fail_msg("the allowance of profiles is %g, attained is %g", found, attained);
            }
            free(a), free(b);
            mep_model_destroy(&with);
            mep_model_destroy(&without);
        }
}

/* The input of attention has no norm, and keys have none: no bound. */
static void test_post_norm_alone(void **state)
{
    (void)state;
    check_allowances("olmo2 mep", 1, MEP_FLOAT32, 1);
    check_allowances("olmo2 mep", 1, MEP_BFLOAT16, 1);
}

/* ---- A cache that drops keys ---- */

enum { COUNT = 900 };

static int64_t longest_window(mep_session *session)
{
    const mep_kv_settings settings = mep_session_kv_settings(session, COUNT);
    int64_t *window, longest = 0;
    int64_t count = session->model->config.num_hidden_layers * session->model->config.num_attention_heads;
    assert_int_equal(mep_kv_cache_windows(&settings, 0, &window), MEP_OK);
    for (int64_t i = 0; i < count; i++) longest = window[i] > longest ? window[i] : longest;
    mep_free(&window);
    return longest;
}

static void check_cache(const char *position, int drops, mep_dtype dtype)
{
    static const int64_t chunks[] = {1, 3, 64, 130};
    mep_model *model = small_model(position);
    for (int64_t i = 0; i < model->count; i++) /* small weights: windows follow from the bias */
        for (int64_t n = 0; n < model->tensors[i].size && mep_tensor_multiplies(model, i); n++)
            ((float *)model->tensors[i].data)[n] *= 0.3f;
    int32_t *tokens = allocate(COUNT, sizeof *tokens);
    float *logits = allocate(COUNT * VOCAB, sizeof *logits), next[VOCAB];
    random_tokens(tokens, COUNT);
    mep_session *session = small_session(model, 1, COUNT, dtype, 0);
    assert_int_equal(mep_session_logits(session, 1, COUNT, tokens, logits), MEP_OK);
    mep_session_destroy(&session);
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        mep_session_settings settings;
        mep_session_defaults(&settings);
        settings.length = 130, settings.dtype = dtype;
        assert_int_equal(mep_session_create_cached(&session, model, &settings, COUNT, 0), MEP_OK);
        int64_t window = longest_window(session);
        if (drops ? window > COUNT / 2 : window != MEP_CACHE_ALL)
            fail_msg("%s: the longest window is %lld", position, (long long)window);
        for (int64_t done = 0, step = chunks[c]; done < COUNT; done += step) {
            if (step > COUNT - done) step = COUNT - done;
            assert_int_equal(mep_session_next(session, step, tokens + done, next), MEP_OK);
            if (memcmp(next, logits + (done + step - 1) * VOCAB, sizeof next) != 0)
                fail_msg("%s, %s, chunks of %d: token %d has other logits", position, mep_dtype_name(dtype),
                         (int)chunks[c], (int)(done + step - 1));
        }
        mep_session_destroy(&session);
    }
    free(tokens), free(logits);
    mep_model_destroy(&model);
}

static void test_cache(void **state)
{
    (void)state;
    static const struct {
        const char *position;
        int drops;
    } cases[] = {
        {"llama exp:c=200", 1},
        {"qwen2 exp:c=200/sink", 1},
        {"qwen3 exp:c=200/forget", 1},
        {"olmo2 exp:c=400", 1},
        {"qwen3 exp:c=200/scale=ssmax", 0},
        {"llama exp:c=200/scale=logn:50", 0},
        {"qwen2 exp:c=200/profiles:rank=2,extent=90", 1},
        {"exp:c=200/profiles:rank=3,extent=200/forget", 1},
        {"alibi/profiles:rank=3,extent=2000", 0},
        {"qwen3 exp:c=200 + gauss/weights=query", 0},
        {"qwen3 exp:c=200/scale=ssmax/window=100|rotary/window=70", 1},
        {"olmo2 exp:c=200 + gauss/weights=query/window=130/profiles:rank=2/forget/sink", 1},
        {"llama fire:max=60", 0},
        {"qwen3 fire:max=60/window=140/forget", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int type = 0; type < 2; type++) check_cache(cases[i].position, cases[i].drops, (mep_dtype)type);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allowances), cmocka_unit_test(test_profiles),
                                       cmocka_unit_test(test_post_norm_alone), cmocka_unit_test(test_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
