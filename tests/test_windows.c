/* SPDX-License-Identifier: MIT */
/*
 * Windows of the cache in Llama blocks: allowances bound what queries and keys give, with and without their norms,
 * shared heads and biases; and a cache that drops keys has the bits of one that keeps all, with every modifier.
 */
#include "small_model.h"

#include "base/bf16.h"
#include "attention/cache.h"
#include "base/memory.h"
#include "bias/table.h"
#include "model/kv_windows.h"

static double value_at(const mep_session *s, int64_t layer, int64_t token, int64_t channel)
{
    const mep_activation qkv = s->layer[layer].qkv;
    int64_t at = token * mep_dimension_of(&s->model->config, DIM_QKV) + channel;
    return s->settings.dtype == MEP_BFLOAT16 ? (double)mep_bf16_to_float(((mep_bf16 *)qkv.data)[at])
                                             : (double)((float *)qkv.data)[at];
}

/* The largest q.(k' - k) of a head and the keys of its text, scaled; q as attention read it. */
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
    assert_int_equal(mep_model_allowances(model, dtype, VOCAB, NULL, allowance), MEP_OK);
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
    static const char *const positions[] = {"llama mep",
                                            "qwen2 mep",
                                            "qwen3 mep",
                                            "olmo mep",
                                            "olmo2 mep",
                                            "mep/scale=ssmax",
                                            "qwen2 mep/scale=ssmax",
                                            "qwen3 mep/scale=ssmax",
                                            "llama mep/scale=logn:3",
                                            "olmo mep/scale=logn:7"};
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
            assert_int_equal(mep_model_allowances(with, (mep_dtype)type, VOCAB, NULL, a), MEP_OK);
            assert_int_equal(mep_model_allowances(without, (mep_dtype)type, VOCAB, NULL, b), MEP_OK);
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

enum { COUNT = 900, SEEDS = 40 };

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
        {"qwen3 exp:c=200/scale=ssmax", 1},
        {"olmo exp:c=300/scale=ssmax/forget", 1},
        {"llama exp:c=200/scale=logn:50", 1},
        {"qwen2 exp:c=200/profiles:rank=2,extent=90", 1},
        {"exp:c=200/profiles:rank=3,extent=200/forget", 1},
        {"alibi/profiles:rank=3,extent=2000", 0},
        {"qwen3 exp:c=200 + gauss/weights=query", 1},
        {"exp:c=200 + exp:c=400/weights=query/profiles:rank=2,extent=90/forget", 1},
        {"qwen2 exp:c=200 + exp:c=100/learn=weights,slopes/weights=query/scale=ssmax/sink", 1},
        {"llama exp:c=200 + kerple_log/weights=query", 0},
        {"exp:c=200 + uniform/weights=query", 0},
        {"llama exp:c=200 + gauss/weights=query/scale=logn:50|exp:c=200 + gauss/forget", 1},
        {"qwen3 exp:c=200/scale=ssmax/window=100|rotary/window=70", 1},
        {"olmo2 exp:c=200 + gauss/weights=query/window=130/profiles:rank=2/forget/sink", 1},
        {"llama fire:max=60", 0},
        {"qwen3 fire:max=60/window=140/forget", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int type = 0; type < 2; type++) check_cache(cases[i].position, cases[i].drops, (mep_dtype)type);
}

/* Replace the cache of a session by one with windows of a fraction of the length. */
static void shorten(mep_session *session, int64_t divisor)
{
    const mep_kv_settings settings = mep_session_kv_settings(session, COUNT);
    int64_t *window, count = session->model->config.num_hidden_layers * session->model->config.num_attention_heads;
    assert_int_equal(mep_kv_cache_windows(&settings, 0, &window), MEP_OK);
    for (int64_t i = 0; i < count; i++)
        if (window[i] != MEP_CACHE_ALL) window[i] = 1 + window[i] / divisor;
    mep_kv_destroy(&session->kv);
    assert_int_equal(mep_kv_ring_create(&session->kv, &settings, window), MEP_OK);
    mep_free(&window);
}

/* Read a text in calls of several sizes, with windows divided by `divisor`, or 0: all keys. Returns the longest window
 * before that. */
static int64_t read_text(mep_model *model, mep_dtype dtype, int64_t divisor, const int32_t *tokens, float *logits)
{
    static const int64_t sizes[] = {1, 1, 3, 1, 1, 90, 1, 5};
    mep_session_settings settings;
    mep_session *session;
    mep_session_defaults(&settings);
    settings.length = 90, settings.dtype = dtype;
    if (mep_session_create_cached(&session, model, &settings, COUNT, divisor == 0) != MEP_OK)
        fail_msg("%s", mep_error_message());
    int64_t window = longest_window(session);
    if (divisor > 1) shorten(session, divisor);
    for (int64_t done = 0, number = 0, step; done < COUNT; done += step, number++) {
        step = sizes[number % 8] < COUNT - done ? sizes[number % 8] : COUNT - done;
        assert_int_equal(mep_session_next(session, step, tokens + done, logits + number * VOCAB), MEP_OK);
    }
    mep_session_destroy(&session);
    return window;
}

/* Fails where a cache that drops keys has other bits than one that keeps all. Returns the longest window. *differ:
 * increased where keys are dropped, and windows of an eighth change bits. */
static int64_t compare_caches(mep_model *model, mep_dtype dtype, const char *position, const int32_t *tokens,
                              int *differ)
{
    float *a = allocate(COUNT * VOCAB, sizeof *a), *b = allocate(COUNT * VOCAB, sizeof *b);
    int64_t window = read_text(model, dtype, 1, tokens, a);
    read_text(model, dtype, 0, tokens, b);
    if (memcmp(a, b, (size_t)(COUNT * VOCAB) * sizeof *a) != 0)
        fail_msg("%s, %s: other logits, with a window of %lld", position, mep_dtype_name(dtype), (long long)window);
    assert_true(isfinite(a[0]));
    read_text(model, dtype, 8, tokens, a);
    *differ += window < COUNT && memcmp(a, b, (size_t)(COUNT * VOCAB) * sizeof *a) != 0;
    free(a), free(b);
    return window;
}

/* The values of a learned parameter of the distance bias, of all heads. */
static void set_bias(mep_model *model, const char *name, float value)
{
    int found = 0;
    for (int64_t i = 0; i < model->count; i++) {
        const char *end = strrchr(model->tensors[i].name, '.');
        if (strstr(model->tensors[i].name, "position_bias") == NULL || strcmp(end + 1, name) != 0) continue;
        found = 1;
        for (int64_t n = 0; n < model->tensors[i].size; n++) ((float *)model->tensors[i].data)[n] = value;
    }
    assert_true(found);
    assert_int_equal(mep_model_sync_bias(model), MEP_OK);
}

/* Windows of a mixture by brute force. bam falls slowest, and is not 0 at distance 0: where that of the own key counts
 * (with a tolerance) it is the smaller kernel. */
static void test_mixture(void **state)
{
    (void)state;
    enum { TABLE = 1 << 17, HEADS = 3 };
    mep_model *model = small_model("exp + bam/weights=query");
    set_bias(model, "log_a", 5);
    set_bias(model, "p", 0.3f);
    float *table = allocate(2 * HEADS * TABLE, sizeof *table);
    double *scratch = allocate(mep_bias_scratch(model->bias), sizeof *scratch), allowance[2 * HEADS];
    assert_int_equal(mep_bias_kernel_tables(model->bias, TABLE, table, scratch), MEP_OK);
    assert_int_equal(mep_model_allowances(model, MEP_FLOAT32, TABLE, NULL, allowance), MEP_OK);
    for (int loose = 0; loose < 2; loose++) {
        int64_t window[2 * HEADS];
        double tolerance = loose ? 1e-3 : 0;
        assert_int_equal(mep_model_windows(model, MEP_FLOAT32, tolerance, TABLE, window), MEP_OK);
        for (int i = 0; i < 2 * HEADS; i++) {
            const float *a = table + 2 * (i % HEADS) * TABLE, *b = a + TABLE;
            double zero = loose ? fmin((double)a[0], (double)b[0]) : fmax((double)a[0], (double)b[0]);
            double bound = zero - (double)mep_cache_margin(tolerance) - allowance[i];
            int64_t expected = TABLE;
            while (expected > 0 && fmax((double)a[expected - 1], (double)b[expected - 1]) <= bound) expected--;
            assert_true(a[0] != b[0] && expected < TABLE);
            if (llabs(window[i] - expected) > 2)
                fail_msg("the window is %lld, expected %lld", (long long)window[i], (long long)expected);
        }
    }
    free(table), free(scratch);
    mep_model_destroy(&model);
}

/* Windows of fire by brute force, over all positions of the text. The function is 0 up to x = 1/2, then it falls. */
static void check_fire(const char *position, mep_dtype dtype)
{
    enum { HEADS = 3 };
    mep_model *model = small_model(position);
    set_bias(model, "w1", 1);
    set_bias(model, "b1", -0.5f);
    set_bias(model, "w2", -40);
    int64_t window[2 * HEADS], *distances = allocate(COUNT, sizeof *distances), farthest[2 * HEADS] = {0};
    double *b = allocate(HEADS * COUNT, sizeof *b), allowance[2 * HEADS];
    for (int64_t d = 0; d < COUNT; d++) distances[d] = d;
    assert_int_equal(model->config.num_attention_heads, HEADS);
    assert_int_equal(mep_model_windows(model, dtype, 0, COUNT, window), MEP_OK);
    assert_int_equal(mep_model_allowances(model, dtype, COUNT, NULL, allowance), MEP_OK);
    for (int64_t p = 0; p < COUNT; p++) {
        assert_int_equal(mep_bias_at_position(model->bias, p, distances, p + 1, b), MEP_OK);
        for (int i = 0; i < 2 * HEADS; i++)
            for (int64_t d = 1; d <= p; d++) {
                const double *x = b + i % HEADS * (p + 1);
                if (x[d] > x[0] - 104 - allowance[i] && d > farthest[i]) farthest[i] = d;
            }
    }
    for (int i = 0; i < 2 * HEADS; i++)
        if (window[i] <= farthest[i] || window[i] > farthest[i] + 3)
            fail_msg("%s: the window is %lld, the farthest key that can count is at %lld", position,
                     (long long)window[i], (long long)farthest[i]);
    /* the text may be longer than any position that the function is bounded for */
    assert_int_equal(mep_model_windows(model, dtype, 0, MEP_MOST_POSITIONS + 1, window), MEP_OK);
    for (int i = 0; i < 2 * HEADS; i++) assert_true(window[i] == MEP_CACHE_ALL);
    free(distances), free(b);
    int32_t tokens[COUNT];
    int differ = 0;
    random_tokens(tokens, COUNT);
    assert_true(compare_caches(model, dtype, position, tokens, &differ) < COUNT && differ == 1);
    mep_model_destroy(&model);
}

static void test_fire(void **state)
{
    (void)state;
    for (int type = 0; type < 2; type++) {
        check_fire("fire:max=60", (mep_dtype)type);
        check_fire("qwen2 fire:max=300/forget/scale=ssmax", (mep_dtype)type);
        check_fire("qwen2 fire:max=5000/profiles:rank=2,extent=64", (mep_dtype)type);
    }
}

/* Windows hold for the tokens that a session was made for: it refuses more. */
static void test_tokens(void **state)
{
    (void)state;
    static const char *const positions[] = {"exp:c=200/scale=ssmax", "rotary"};
    for (int i = 0; i < 2; i++) {
        mep_model *model = small_model(positions[i]);
        mep_session *session;
        mep_session_settings settings;
        int32_t tokens[20] = {0};
        float next[VOCAB];
        mep_session_defaults(&settings);
        settings.length = 20;
        assert_int_equal(mep_session_create_cached(&session, model, &settings, 30, 0), MEP_OK);
        assert_int_equal(mep_session_next(session, 20, tokens, next), MEP_OK);
        assert_int_equal(mep_session_next(session, 11, tokens, next), MEP_ERROR_ARGUMENT);
        assert_int_equal(mep_session_next(session, 10, tokens, next), MEP_OK);
        assert_int_equal(mep_session_next(session, 1, tokens, next), MEP_ERROR_ARGUMENT);
        mep_session_destroy(&session);
        mep_model_destroy(&model);
    }
}

/* ---- Random models ---- */

/* A spec whose every layer has the distance bias of some kernels that fall at different rates, with random modifiers.
 */
static void random_spec(uint64_t seed, char *spec, size_t size)
{
    static const char *const blocks[] = {"", "llama ", "qwen2 ", "qwen3 ", "olmo ", "olmo2 "};
    static const char *const mixtures[] = {"exp:c=100 + exp:c=900", "exp:c=60 + gauss:c=9", "gauss:c=2 + exp:c=90",
                                           "exp:c=400 + kerple_power"};
    static const char *const modifiers[] = {
        "/weights=query", "/scale=ssmax", "/scale=logn:9", "/forget:bias=3", "/profiles:rank=2,extent=70", "/sink"};
    uint64_t bits = mep_random_bits(seed, 1, 0);
    int at = snprintf(spec, size, "%s%s", blocks[bits % 6], mixtures[bits / 6 % 4]);
    bits /= 24;
    for (int i = 0; i < 6; i++, bits /= 2)
        if (bits % 2 != 0 && (i != 2 || strstr(spec, "/scale") == NULL))
            at += snprintf(spec + at, size - (size_t)at, "%s", modifiers[i]);
}

/* Each tensor of a random size of its own, some of them very large: mixture weights near 0 and 1, scores of hundreds.
 */
static void randomize(mep_model *model, uint64_t seed)
{
    for (int64_t i = 0; i < model->count; i++) {
        double size = exp(3.5 * mep_random_uniform(seed, 2, (uint64_t)i) - 2.5);
        float *x = model->tensors[i].data;
        for (int64_t n = 0; n < model->tensors[i].size; n++)
            x[n] = (float)(size * ((double)x[n] + 0.05 * mep_random_normal(seed, (uint64_t)i + 3, (uint64_t)n)));
    }
    assert_int_equal(mep_model_sync_bias(model), MEP_OK);
}

/* Keys that the queries of their own token avoid most: k = -q without biases, and token 1 is the opposite of token 0.
 */
static void oppose(mep_model *model)
{
    const mep_model_config *c = &model->config;
    int64_t n = mep_head_dim(c), group = c->num_attention_heads / mep_key_value_heads(c), hidden = c->hidden_size;
    float *embed = model->tensors[model->first[EMBED_IN]].data;
    for (int64_t i = 0; i < hidden; i++) embed[hidden + i] = -embed[i];
    for (int64_t layer = 0; layer < c->num_hidden_layers; layer++) {
        float *w = model->tensors[mep_tensor_index(model, mep_kind_in_block(model, QKV_WEIGHT), layer)].data;
        for (int64_t kv = 0; kv < mep_key_value_heads(c); kv++) {
            const float *q = w + mep_qkv_row(c, kv * group, 0) * hidden;
            float *k = w + mep_qkv_row(c, kv, 1) * hidden;
            for (int64_t i = 0; i < n * hidden; i++) k[i] = -q[i];
        }
    }
}

/* Token 1 for a while, then any, then token 0. */
static void opposed_tokens(int32_t *tokens)
{
    random_tokens(tokens, COUNT);
    for (int i = 0; i < COUNT; i++)
        if (i < 70 || i > 150) tokens[i] = i < 70;
}

/* Weights of any size cannot make a dropped key count; with shorter windows they do, so the comparison can fail. */
static void test_random(void **state)
{
    (void)state;
    int drops = 0, differ = 0;
    int32_t *tokens = allocate(COUNT, sizeof *tokens);
    for (int64_t seed = 0; seed < SEEDS; seed++) {
        char spec[256];
        random_spec((uint64_t)seed, spec, sizeof spec);
        mep_model *model = small_model(spec);
        randomize(model, (uint64_t)seed);
        random_tokens(tokens, COUNT);
        if (seed % 4 < 2) opposed_tokens(tokens), oppose(model);
        drops += compare_caches(model, (mep_dtype)(seed % 2), spec, tokens, &differ) < COUNT;
        mep_model_destroy(&model);
    }
    assert_true(drops >= SEEDS / 3 && differ >= drops / 4);
    free(tokens);
}

int main(void)
{
    mep_set_threads(1); /* faster for small models */

    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allowances),      cmocka_unit_test(test_profiles),
                                       cmocka_unit_test(test_post_norm_alone), cmocka_unit_test(test_cache),
                                       cmocka_unit_test(test_mixture),         cmocka_unit_test(test_fire),
                                       cmocka_unit_test(test_tokens),          cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
