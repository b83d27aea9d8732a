/* SPDX-License-Identifier: MIT */
/*
 * The key/value cache. A cache that drops keys outside its windows computes the bits of one that keeps everything, over
 * thousands of tokens in calls of all sizes, and its size stops growing; with windows that are too short it does not,
 * so the comparison can fail. At every CPU level.
 */
#include "attention_problem.h"

#include <omp.h>

#include "attention/cache.h"
#include "attention/decode.h"
#include "attention/kernels.h"
#include "base/memory.h"

enum { CALL = 130 };

/* A text of `tokens` tokens: random queries, keys and values [heads, tokens, head_dim]. */
typedef struct scene {
    const char *spec;
    int64_t heads, head_dim, tokens;
    mep_dtype dtype;
    double tolerance, size;
    double far; /* every 400th key is so long in a direction that all queries share */
} scene;

typedef struct run_of {
    problem p;
    tensor q, k, v, out;
} run_of;

static run_of make_run(const scene *s)
{
    run_of r = {.p = random_problem(1, s->heads, s->tokens, s->tokens, s->head_dim, s->size, NULL)};
    for (int64_t i = 0; s->far != 0 && i < s->heads * s->tokens; i++) {
        r.p.q[i * s->head_dim] = 8;
        r.p.k[i * s->head_dim] = i % s->tokens % 400 == 7 ? s->far : -1;
    }
    double *inputs[] = {r.p.q, r.p.k, r.p.v};
    tensor *tensors[] = {&r.q, &r.k, &r.v};
    for (int i = 0; i < 3; i++) {
        *tensors[i] = make_tensor(s->dtype, 1, s->heads, s->tokens, s->head_dim, inputs[i]);
        for (int64_t n = 0; n < s->heads * s->tokens * s->head_dim; n++) inputs[i][n] = tensor_at(tensors[i], n);
    }
    r.out = make_tensor(s->dtype, 1, s->heads, s->tokens, s->head_dim, NULL);
    return r;
}

static void free_run(run_of *r)
{
    tensor *tensors[] = {&r->q, &r->k, &r->v, &r->out};
    for (int i = 0; i < 4; i++) free(tensors[i]->memory);
    free_problem(&r->p);
}

static mep_bias *bias_of(const scene *s)
{
    mep_bias *bias;
    assert_int_equal(mep_bias_create(&bias, s->spec, s->heads, s->head_dim), MEP_OK);
    return bias;
}

/* Distances from which no key of the text can matter, with `allowance` instead of scale |q| |k' - k|. */
static void windows_for(const scene *s, double allowance, int64_t *window)
{
    mep_bias *bias = bias_of(s);
    int64_t zero = 0, reach[16];
    double at_zero[16];
    assert_int_equal(mep_bias_at(bias, &zero, 1, at_zero), MEP_OK);
    for (int64_t h = 0; h < s->heads; h++) {
        double bound = at_zero[h] - (double)mep_cache_margin(s->tolerance) - allowance;
        assert_int_equal(mep_bias_reach(bias, bound, (int64_t)1 << 31, reach), MEP_OK);
        window[h] = reach[h] < 1 ? 1 : reach[h];
    }
    mep_bias_destroy(&bias);
}

static double safe_allowance(const scene *s, const run_of *r)
{
    int64_t rows = s->heads * s->tokens;
    return 2 * longest(r->p.q, rows, s->head_dim) * longest(r->p.k, rows, s->head_dim) / sqrt((double)s->head_dim);
}

static mep_cache *open_cache(const scene *s, const int64_t *window)
{
    mep_cache *cache;
    mep_cache_settings settings = {.layers = 1,
                                   .heads = s->heads,
                                   .head_dim = s->head_dim,
                                   .call = CALL,
                                   .dtype = s->dtype,
                                   .tolerance = s->tolerance,
                                   .window = window};
    assert_int_equal(mep_cache_create(&cache, &settings), MEP_OK);
    return cache;
}

static void extend_bias(const scene *s, mep_cache *cache, int64_t *covered)
{
    int64_t distances = mep_cache_distances(cache);
    if (distances <= *covered) return;
    mep_bias *bias = bias_of(s);
    float *table = calloc((size_t)(s->heads * distances), sizeof *table);
    assert_int_equal(mep_bias_table(bias, distances, table), MEP_OK);
    const mep_attention_terms terms = {.table = table, .table_length = distances};
    assert_int_equal(mep_cache_set_terms(cache, 0, &terms, NULL, distances), MEP_OK);
    *covered = distances;
    free(table);
    mep_bias_destroy(&bias);
}

static mep_tensor_view view_from(const tensor *t, int64_t token)
{
    mep_tensor_view view = t->view;
    view.data = (char *)view.data + token * view.token_stride * mep_dtype_size(t->dtype);
    return view;
}

/* Pass the tokens of a run from `t` through the cache. */
static mep_status attend(mep_cache *cache, int64_t count, const run_of *r, int64_t t)
{
    const mep_attention_call call = {.batch = 1,
                                     .queries = count,
                                     .q = view_from(&r->q, t),
                                     .k = view_from(&r->k, t),
                                     .v = view_from(&r->v, t),
                                     .out = view_from(&r->out, t)};
    return mep_cache_attend(cache, 0, &call);
}

/* Sizes of calls: 1 token, with some of 2, 3, 5, 64 and CALL between them. */
static int64_t call_size(int64_t number)
{
    return number == 0 ? 100 : number % 97 == 11 ? CALL : number % 61 == 7 ? 64 : number % 7 == 3 ? 1 + number % 5 : 1;
}

/* Read the complete text into r->out; returns the bytes of the cache at the end. */
static int64_t read_text(const scene *s, run_of *r, const int64_t *window)
{
    mep_cache *cache = open_cache(s, window);
    int64_t covered = 0;
    for (int64_t t = 0, number = 0, count; t < s->tokens; t += count, number++) {
        count = call_size(number) < s->tokens - 1 - t ? call_size(number) : s->tokens - 1 - t;
        if (count < 1) count = 1; /* the last token is a call of its own */
        assert_int_equal(mep_cache_length(cache), t);
        assert_int_equal(mep_cache_reserve(cache, count), MEP_OK);
        extend_bias(s, cache, &covered);
        assert_int_equal(attend(cache, count, r, t), MEP_OK);
        mep_cache_advance(cache, count);
    }
    int64_t bytes = mep_cache_bytes(cache);
    mep_cache_destroy(&cache);
    assert_null(cache);
    return bytes;
}

/* Compare row t of every head with the reference. */
static void check_reference(const scene *s, const run_of *r, int64_t t, double bound)
{
    int64_t keys = t + 1, d = s->head_dim;
    mep_bias *bias = bias_of(s);
    double *table = doubles(s->heads * keys), *out = doubles(d), lse;
    float *rounded = calloc((size_t)(s->heads * keys), sizeof *rounded);
    assert_int_equal(mep_bias_table(bias, keys, rounded), MEP_OK);
    for (int64_t i = 0; i < s->heads * keys; i++) table[i] = (double)rounded[i];
    for (int64_t h = 0; h < s->heads; h++) {
        int64_t first = h * s->tokens * d;
        const mep_attention_reference_call call = {.batch = 1,
                                                   .heads = 1,
                                                   .queries = 1,
                                                   .keys = keys,
                                                   .head_dim = d,
                                                   .q = r->p.q + first + t * d,
                                                   .k = r->p.k + first,
                                                   .v = r->p.v + first,
                                                   .table = table + h * keys,
                                                   .out = out,
                                                   .lse = &lse};
        assert_int_equal(mep_attention_reference_forward(&call), MEP_OK);
        for (int64_t c = 0; c < d; c++)
            if (!(fabs(tensor_at(&r->out, first + t * d + c) - out[c]) <= bound))
                fail_msg("%s, token %lld, head %lld: %g, expected %g", s->spec, (long long)t, (long long)h,
                         tensor_at(&r->out, first + t * d + c), out[c]);
    }
    free(rounded);
    free(table);
    free(out);
    mep_bias_destroy(&bias);
}

static int64_t keep_all[16];

/* A trimmed and a complete cache compute the same bits, which are correct; `drops`: the trimmed one has dropped keys.
 */
static void check_scene(const scene *s, int drops)
{
    int64_t window[16];
    run_of trimmed = make_run(s), whole = make_run(s);
    windows_for(s, safe_allowance(s, &trimmed), window);
    int64_t bytes = read_text(s, &trimmed, window), all = read_text(s, &whole, keep_all);
    assert_true(same_bits(&trimmed.out, &whole.out));
    check_canaries(&trimmed.out);
    assert_true(drops ? bytes < all : bytes <= all);
    double bound = s->dtype == MEP_BFLOAT16 ? 0.03 : 1e-4;
    for (int64_t t = 0; t < s->tokens; t += s->tokens / 6 + 1) check_reference(s, &trimmed, t, bound);
    check_reference(s, &trimmed, s->tokens - 1, bound);
    free_run(&trimmed);
    free_run(&whole);
    checks++;
}

static void test_same_bits(void **state)
{
    (void)state;
    static const char *const specs[] = {"exp:c=16", "exp:c=24 + gauss:c=16", "mep", "alibi"};
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        for (int spec = 0; spec < 4; spec++)
            for (int is_bf16 = 0; is_bf16 < 2; is_bf16++)
                for (int wide = 0; wide < 2; wide++) {
                    scene s = {specs[spec], 4, wide ? 64 : 20, spec < 2 ? 2500 : 1200, (mep_dtype)is_bf16, 0, 1, 0};
                    if (spec > 0 && wide != level % 2) continue; /* half of them at each level */
                    check_scene(&s, spec < 2);
                }
    }
    assert_true(checks >= 10);
}

/* Far keys that are so long, in the direction of all queries, that they have a weight beyond the bias's own reach:
 * correct windows keep them, windows without the allowance lose them, and the comparison finds that. */
static void test_far_keys(void **state)
{
    (void)state;
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
            scene s = {"exp:c=16", 3, 16, 2000, (mep_dtype)is_bf16, 0, 0.5, 64};
            int64_t window[16];
            check_scene(&s, 1);
            run_of short_run = make_run(&s), whole = make_run(&s);
            windows_for(&s, 0, window);
            read_text(&s, &short_run, window);
            read_text(&s, &whole, keep_all);
            assert_false(same_bits(&short_run.out, &whole.out));
            free_run(&short_run);
            free_run(&whole);
        }
    }
}

/* An encoding without a reach keeps every key; so does an absent table. */
static void test_without_reach(void **state)
{
    (void)state;
    scene s = {"t5", 2, 16, 900, MEP_FLOAT32, 0, 1, 0};
    int64_t window[16];
    windows_for(&s, 0, window);
    assert_true(window[0] > (int64_t)1 << 31);
    check_scene(&s, 0);
    scene k = {"kerple_log", 2, 16, 900, MEP_FLOAT32, 0, 1, 0};
    check_scene(&k, 0);
}

/* The size of a cache stops growing at what its windows need. */
static void test_flat(void **state)
{
    (void)state;
    scene s = {"exp:c=16", 4, 16, 3000, MEP_BFLOAT16, 0, 1, 0}, longer = s;
    longer.tokens = 12000;
    int64_t window[16], blocks = 0, most = 0;
    run_of r = make_run(&s), l = make_run(&longer);
    windows_for(&s, 50, window);
    int64_t bytes = read_text(&s, &r, window);
    assert_int_equal(read_text(&longer, &l, window), bytes);
    for (int h = 0; h < 4; h++) {
        int64_t ring = (window[h] + CALL) / BLOCK_KEYS + 2;
        blocks += ring;
        most = ring > most ? ring : most;
    }
    assert_true(bytes <= blocks * BLOCK_KEYS * (2 * 16 * 2) + blocks * 4 + 2 * 4 * 4 * most * BLOCK_KEYS);
    free_run(&r);
    free_run(&l);
}

/* The number of threads changes no bit, with few heads and many keys. */
static void test_threads(void **state)
{
    (void)state;
    int before = omp_get_max_threads();
    scene s = {"kerple_log", 1, 64, 12000, MEP_FLOAT32, 0, 1, 0};
    run_of one = make_run(&s), many = make_run(&s);
    run_of *runs[] = {&one, &many};
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i == 0 ? 1 : 3);
        mep_cache *cache = open_cache(&s, keep_all);
        int64_t covered = 0;
        for (int64_t t = 0, count; t < s.tokens; t += count) {
            count = s.tokens - t > 150 ? CALL : 1;
            assert_int_equal(mep_cache_reserve(cache, count), MEP_OK);
            extend_bias(&s, cache, &covered);
            assert_int_equal(attend(cache, count, runs[i], t), MEP_OK);
            mep_cache_advance(cache, count);
        }
        mep_cache_destroy(&cache);
    }
    omp_set_num_threads(before);
    assert_true(same_bits(&one.out, &many.out));
    free_run(&one);
    free_run(&many);
}

/* Calls of few queries on tensors compute the bits of the cache. */
static void test_plain(void **state)
{
    (void)state;
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        scene s = {"mep", 3, 20, 700, (mep_dtype)is_bf16, 0, 1, 0};
        run_of r = make_run(&s);
        read_text(&s, &r, keep_all);
        mep_attention_settings settings;
        mep_attention *plan;
        mep_attention_defaults(&settings);
        settings.heads = s.heads, settings.head_dim = s.head_dim, settings.max_length = s.tokens;
        settings.dtype = s.dtype;
        assert_int_equal(mep_attention_create(&plan, &settings), MEP_OK);
        mep_bias *bias = bias_of(&s);
        float *table = calloc((size_t)(s.heads * s.tokens), sizeof *table);
        assert_int_equal(mep_bias_table(bias, s.tokens, table), MEP_OK);
        const mep_attention_terms terms = {.table = table, .table_length = s.tokens};
        assert_int_equal(mep_attention_set_terms(plan, &terms), MEP_OK);
        tensor out = make_tensor(s.dtype, 1, s.heads, 1, s.head_dim, NULL);
        const mep_attention_call call = {.batch = 1,
                                         .queries = 1,
                                         .keys = s.tokens,
                                         .q = view_from(&r.q, s.tokens - 1),
                                         .k = r.k.view,
                                         .v = r.v.view,
                                         .out = out.view};
        assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t c = 0; c < s.head_dim; c++)
                assert_true(tensor_at(&out, h * s.head_dim + c) ==
                            tensor_at(&r.out, ((h + 1) * s.tokens - 1) * s.head_dim + c));
        check_canaries(&out);
        free(out.memory);
        free(table);
        mep_bias_destroy(&bias);
        mep_attention_destroy(&plan);
        free_run(&r);
    }
}

/* With a tolerance t the cache keeps fewer keys, and the output is off by at most 2 t max|v|. */
static void test_tolerance(void **state)
{
    (void)state;
    const double tolerance = 1e-3;
    scene s = {"exp:c=8", 4, 16, 2500, MEP_FLOAT32, 0, 1, 0}, loose = s;
    loose.tolerance = tolerance;
    int64_t window[16];
    run_of exact = make_run(&s), off = make_run(&loose);
    windows_for(&s, safe_allowance(&s, &exact), window);
    int64_t bytes = read_text(&s, &exact, window);
    windows_for(&loose, safe_allowance(&loose, &off), window);
    assert_true(read_text(&loose, &off, window) < bytes);
    double bound = 2 * tolerance * largest(exact.p.v, key_values(&exact.p)) + 1e-5;
    for (int64_t i = 0; i < key_values(&exact.p); i++)
        if (!(fabs(tensor_at(&exact.out, i) - tensor_at(&off.out, i)) <= bound)) fail_msg("value %lld", (long long)i);
    free_run(&exact);
    free_run(&off);
}

/* Where memory for more tokens is refused, the cache is unchanged, and continues when there is memory. */
static void test_no_memory(void **state)
{
    (void)state;
    scene s = {"mep", 2, 16, 400, MEP_FLOAT32, 0, 1, 0};
    run_of r = make_run(&s), refused = make_run(&s);
    read_text(&s, &r, keep_all);
    mep_cache *cache = open_cache(&s, keep_all);
    int64_t covered = 0, failures = 0;
    for (int64_t t = 0, number = 0, count; t < s.tokens; t += count, number++) {
        count = call_size(number) < s.tokens - 1 - t ? call_size(number) : s.tokens - 1 - t;
        if (count < 1) count = 1;
        for (int64_t n = 1; n < 4; n++) {
            mep_fail_allocation(n);
            mep_status status = mep_cache_reserve(cache, count);
            mep_fail_allocation(0);
            failures += status == MEP_ERROR_MEMORY;
            assert_true(status == MEP_OK || status == MEP_ERROR_MEMORY);
        }
        assert_int_equal(mep_cache_reserve(cache, count), MEP_OK);
        extend_bias(&s, cache, &covered);
        assert_int_equal(attend(cache, count, &refused, t), MEP_OK);
        mep_cache_advance(cache, count);
    }
    assert_true(failures > 3);
    assert_true(same_bits(&r.out, &refused.out));
    mep_cache_destroy(&cache);
    free_run(&r);
    free_run(&refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_far_keys),  cmocka_unit_test(test_without_reach),
        cmocka_unit_test(test_flat),      cmocka_unit_test(test_threads),   cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tolerance), cmocka_unit_test(test_no_memory),
    };
    for (int i = 0; i < 16; i++) keep_all[i] = MEP_CACHE_ALL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
