/* SPDX-License-Identifier: MIT */
/*
 * Score terms in fused attention against the float64 reference, under every CPU level: each term and all together, both
 * types, grouped heads, few queries, skipping; and identities: terms with neutral parameters, rows alone and together,
 * numbers of threads.
 */
#include "terms_problem.h"

#include <omp.h>

#include "attention/cache.h"
#include "base/integer.h"
#include "base/memory.h"

static int64_t checks;

/* The largest error relative to the largest value that is expected, or to 1 for gradients that cancel. */
static double worst(const terms_problem *p, double *found[RESULTS], int i)
{
    double error = 0, largest = 1e-3;
    for (int64_t n = 0; n < result_size(&p->call, i); n++) {
        double e = fabs(found[i][n] - p->expected[i][n]);
        if (!(e <= error)) error = e;
        largest = fmax(largest, fabs(p->expected[i][n]));
    }
    return error / largest;
}

/* float32: rounding of scores and sums. bfloat16: results have 8 bits, and weights and dS enter products with 8. */
static void check(const terms_problem *p, const terms_run *how, const char *what)
{
    double *found[RESULTS];
    run_terms(p, how, found, NULL);
    for (int i = 0; i < RESULTS; i++) {
        if (found[i] == NULL) continue;
        double bound = how->dtype == MEP_FLOAT32 ? 4e-6 * (3 + sqrt((double)p->call.keys) / 4) : 0.03;
        double error = worst(p, found, i);
        if (!(error <= bound))
            fail_msg("%s, %s, CPU level %d: %s is off by %.3g of its largest value (bound %.3g)", what,
                     mep_dtype_name(how->dtype), (int)mep_cpu_level_get(), result_names[i], error, bound);
        checks++;
    }
    free_results(found);
}

static void check_everywhere(const terms_shape *shape, const char *what)
{
    for (int type = 0; type < 2; type++) {
        const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
        terms_problem p = random_terms(shape, how.dtype);
        solve_terms(&p);
        for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
            assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
            check(&p, &how, what);
        }
        free_terms_problem(&p);
    }
}

typedef struct named_shape {
    const char *name;
    terms_shape shape;
} named_shape;

/* One term each, then all. */
static const named_shape shapes[] = {
    {"gate", {.gate = 1}},
    {"a gate that falls", {.gate = 2}},
    {"a gate that falls, with others", {.gate = 2, .rank = 3, .extent = 50, .kernels = 3, .table = 1, .kv_heads = 2}},
    {"sink", {.sink = 1}},
    {"window", {.window = 70}},
    {"profiles", {.rank = 5, .extent = 40}},
    {"profiles beyond a block", {.rank = 3, .extent = 150}},
    {"mixture", {.kernels = 4}},
    {"grouped heads", {.kv_heads = 2, .table = 1}},
    {"one head of k", {.kv_heads = 1}},
    {"table and gate", {.table = 1, .gate = 1}},
    {"segments", {.segments = 1}},
    {"segments and all",
     {.kv_heads = 2,
      .window = 90,
      .rank = 3,
      .extent = 50,
      .kernels = 3,
      .table = 1,
      .gate = 1,
      .sink = 1,
      .segments = 1}},
    {"bidirectional", {.bidirectional = 1}},
    {"bidirectional table", {.bidirectional = 1, .table = 1, .kv_heads = 2}},
    {"bidirectional window", {.bidirectional = 1, .window = 70, .table = 1}},
    {"two tables", {.bidirectional = 2, .table = 1, .sink = 1}},
    {"a table that ends behind", {.bidirectional = 3, .table = 1}},
    {"bidirectional segments", {.bidirectional = 2, .table = 1, .segments = 1, .kv_heads = 2}},
    {"all", {.kv_heads = 2, .window = 90, .rank = 3, .extent = 50, .kernels = 3, .table = 1, .gate = 1, .sink = 1}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static terms_shape sized(const named_shape *s, int64_t queries, int64_t keys)
{
    terms_shape shape = s->shape;
    shape.batch = 2, shape.heads = 4, shape.queries = queries, shape.keys = keys, shape.head_dim = 20;
    shape.slope = 0.05;
    if (shape.bidirectional) shape.queries = keys;
    return shape;
}

static void test_against_reference(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{150, 150}, {64, 64}, {37, 201}, {9, 9}};
    for (int i = 0; i < SHAPES; i++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
            terms_shape shape = sized(&shapes[i], sizes[n][0], sizes[n][1]);
            check_everywhere(&shape, shapes[i].name);
        }
    printf("%lld results\n", (long long)checks);
}

/* Long enough that blocks are skipped, whose bits must be those of computing them. */
static void test_skipping(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        terms_shape shape = sized(&shapes[i], 700, 1100);
        shape.batch = 1, shape.slope = 2;
        int skips = shape.window > 0 || shape.gate || shape.table || shape.segments;
        for (int type = 0; type < 2; type++) {
            terms_run skip = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16}, keep = skip;
            keep.keep_far = 1;
            terms_problem p = random_terms(&shape, skip.dtype);
            for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
                double *a[RESULTS], *b[RESULTS], fraction, complete;
                assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
                run_terms(&p, &skip, a, &fraction);
                run_terms(&p, &keep, b, &complete);
                assert_true(shape.segments ? complete < 0.8 : complete == 1);
                if (skips) assert_true(fraction < 0.8);
                assert_same_results(&p, a, b, RESULTS);
                free_results(a), free_results(b);
            }
            free_terms_problem(&p);
        }
    }
}

/* Each of the last queries alone, and two of them, has the bits that it has among all. */
static void test_few_queries(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        terms_shape shape = sized(&shapes[i], 130, 330);
        if (shape.bidirectional) continue; /* it has as many queries as keys */
        for (int type = 0; type < 2; type++) {
            const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
            terms_problem p = random_terms(&shape, how.dtype);
            mep_attention_reference_call *c = &p.call;
            double *all[RESULTS];
            run_terms(&p, &how, all, NULL);
            for (int64_t count = 1; count <= 2; count++) {
                /* The last `count` queries of each head. */
                terms_problem few = p;
                int64_t rows = c->batch * c->heads, D = c->head_dim, skip = c->queries - count;
                double *q = new_doubles(rows * count * D), *dout = new_doubles(rows * count * D);
                double *r = new_doubles(rows * count * c->rank), *a = new_doubles(rows * count * c->kernels);
                int64_t *starts = calloc((size_t)(c->batch * count), sizeof *starts);
                assert_non_null(starts);
                for (int64_t n = 0; c->starts != NULL && n < c->batch * count; n++)
                    starts[n] = c->starts[n / count * c->queries + skip + n % count];
                for (int64_t n = 0; n < rows; n++) {
                    size_t one = (size_t)count * sizeof(double);
                    memcpy(q + n * count * D, c->q + (n * c->queries + skip) * D, one * (size_t)D);
                    memcpy(dout + n * count * D, p.dout + (n * c->queries + skip) * D, one * (size_t)D);
                    if (c->rank > 0)
                        memcpy(r + n * count * c->rank, c->profiles + (n * c->queries + skip) * c->rank,
                               one * (size_t)c->rank);
                    if (c->kernels > 0)
                        memcpy(a + n * count * c->kernels, c->mixture + (n * c->queries + skip) * c->kernels,
                               one * (size_t)c->kernels);
                }
                few.call.queries = count, few.call.q = q, few.dout = dout, few.call.profiles = r, few.call.mixture = a;
                few.call.starts = c->starts != NULL ? starts : NULL;
                double *found[RESULTS];
                run_terms(&few, &how, found, NULL);
                for (int64_t n = 0; n < rows; n++) {
                    assert_memory_equal(found[OUT] + n * count * D, all[OUT] + (n * c->queries + skip) * D,
                                        (size_t)(count * D) * sizeof(double));
                    assert_memory_equal(found[LSE] + n * count, all[LSE] + n * c->queries + skip,
                                        (size_t)count * sizeof(double));
                }
                free_results(found);
                free(q), free(dout), free(r), free(a), free(starts);
            }
            free_results(all);
            free_terms_problem(&p);
        }
    }
}

/* ---- The cache ---- */

/* Head h of b, tokens first .. of a [batch, heads, length, width] array in a view [length, heads, width] of its own. */
static mep_tensor_view part(mep_dtype type, int64_t heads, int64_t length, int64_t width, const double *from,
                            int64_t first, int64_t count)
{
    double *x = new_doubles(heads * count * width);
    for (int64_t h = 0; h < heads; h++)
        memcpy(x + h * count * width, from + (h * length + first) * width, (size_t)(count * width) * sizeof *x);
    mep_tensor_view view = new_view(type, 1, heads, count, width, x);
    free(x);
    return view;
}

static void cache_call(const terms_problem *p, mep_dtype type, mep_cache *cache, int64_t t, int64_t count,
                       const double *expected)
{
    const mep_attention_reference_call *c = &p->call;
    int64_t H = c->heads, K = kv_heads_of(c), L = c->keys, D = c->head_dim;
    double *gate = c->gate != NULL ? new_doubles(H * count) : NULL;
    for (int64_t h = 0; h < H && gate != NULL; h++)
        memcpy(gate + h * count, c->gate + h * L + t, (size_t)count * sizeof *gate);
    mep_attention_call call = {.batch = 1,
                               .queries = count,
                               .q = part(type, H, L, D, c->q, t, count),
                               .k = part(type, K, L, D, c->k, t, count),
                               .v = part(type, K, L, D, c->v, t, count),
                               .out = new_view(type, 1, H, count, D, NULL),
                               .gate = gate};
    if (c->rank > 0) call.profiles = part(MEP_FLOAT32, H, L, c->rank, c->profiles, t, count);
    if (c->kernels > 0) call.mixture = part(MEP_FLOAT32, H, L, c->kernels, c->mixture, t, count);
    assert_int_equal(mep_cache_attend(cache, 0, &call), MEP_OK);
    double *out = read_view(type, &call.out, 1, H, count, D);
    for (int64_t h = 0; h < H; h++)
        assert_memory_equal(out + h * count * D, expected + (h * L + t) * D, (size_t)(count * D) * sizeof *out);
    free(call.q.data), free(call.k.data), free(call.v.data), free(call.out.data), free(call.profiles.data);
    free(call.mixture.data), free(gate), free(out);
}

static void set_cache_terms(const terms_problem *p, mep_cache *cache)
{
    const mep_attention_reference_call *c = &p->call;
    float *table = floats_of(c->table, c->heads * c->keys), *sink = floats_of(c->sink, c->heads),
          *bank = floats_of(c->bank, c->rank * c->extent),
          *log_kernels = floats_of(c->log_kernels, c->heads * c->kernels * c->keys);
    const mep_attention_terms terms = {.table = c->table != NULL ? table : NULL,
                                       .table_length = c->keys,
                                       .window = c->window,
                                       .sink = c->sink != NULL ? sink : NULL,
                                       .bank = bank,
                                       .rank = c->rank,
                                       .extent = c->extent,
                                       .log_kernels = log_kernels,
                                       .kernels = c->kernels,
                                       .log_kernels_length = c->keys};
    assert_int_equal(mep_cache_set_terms(cache, 0, &terms, NULL, max_i64(c->keys, mep_cache_distances(cache))), MEP_OK);
    free(table), free(sink), free(bank), free(log_kernels);
}

/* A text through the cache, in calls of many sizes, has the bits of one call; with a window the cache does not grow. */
static void test_cache(void **state)
{
    (void)state;
    static const int64_t sizes[] = {70, 1, 1, 3, 130, 1, 4, 5, 64, 1};
    for (int i = 0; i < SHAPES; i++)
        for (int type = 0; type < 2; type++)
            for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
                /* a cache holds one sequence from its first token */
                if (shapes[i].shape.segments || shapes[i].shape.bidirectional) continue;
                const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
                terms_shape shape = sized(&shapes[i], 700, 700);
                shape.batch = 1, shape.slope = 0.5;
                terms_problem p = random_terms(&shape, how.dtype);
                int64_t window[8], bytes = 0;
                for (int h = 0; h < 8; h++) window[h] = shape.window > 0 ? shape.window : MEP_CACHE_ALL;
                const mep_cache_settings settings = {.layers = 1,
                                                     .heads = shape.heads,
                                                     .kv_heads = shape.kv_heads,
                                                     .head_dim = shape.head_dim,
                                                     .call = 130,
                                                     .dtype = how.dtype,
                                                     .has_gate = shape.gate,
                                                     .window = window};
                mep_cache *cache;
                double *all[RESULTS];
                assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
                run_terms(&p, &how, all, NULL);
                assert_int_equal(mep_cache_create(&cache, &settings), MEP_OK);
                for (int64_t t = 0, n = 0, count; t < 700; t += count, n++) {
                    count = min_i64(sizes[n % 10], 700 - t);
                    assert_int_equal(mep_cache_reserve(cache, count), MEP_OK);
                    set_cache_terms(&p, cache);
                    cache_call(&p, how.dtype, cache, t, count, all[OUT]);
                    mep_cache_advance(cache, count);
                    if (t < 350) bytes = mep_cache_bytes(cache);
                }
                if (shape.window > 0) assert_int_equal(mep_cache_bytes(cache), bytes);
                mep_cache_destroy(&cache);
                free_results(all);
                free_terms_problem(&p);
            }
}

static void check_threads(const named_shape *named)
{
    int threads = omp_get_max_threads();
    terms_shape shape = sized(named, 700, 1100);
    for (int type = 0; type < 2; type++) {
        const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
        terms_problem p = random_terms(&shape, how.dtype);
        double *one[RESULTS], *several[RESULTS];
        omp_set_num_threads(1);
        run_terms(&p, &how, one, NULL);
        for (int n = 2; n <= 5; n++) {
            omp_set_num_threads(n);
            run_terms(&p, &how, several, NULL);
            assert_same_results(&p, one, several, RESULTS);
            free_results(several);
        }
        free_results(one);
        free_terms_problem(&p);
    }
    omp_set_num_threads(threads);
}

static void test_threads(void **state)
{
    (void)state;
    check_threads(&shapes[SHAPES - 1]);
    check_threads(&shapes[SHAPES - 2]);
}

/* ---- Neutral parameters ---- */

typedef void (*change_fn)(terms_problem *p);

static void zero_gate(terms_problem *p)
{
    p->call.gate = new_doubles(p->call.batch * p->call.heads * p->call.keys);
}

static void constant_gate(terms_problem *p)
{
    double *gate = new_doubles(p->call.batch * p->call.heads * p->call.keys);
    for (int64_t i = 0; i < p->call.batch * p->call.heads * p->call.keys; i++) gate[i] = -123456.789;
    p->call.gate = gate;
}

static void zero_bank(terms_problem *p)
{
    p->call.rank = 3, p->call.extent = 100;
    p->call.bank = new_doubles(300);
    p->call.profiles = random_doubles(p->call.batch * p->call.heads * p->call.queries * 3, 1, "profiles");
}

static void no_sink(terms_problem *p)
{
    double *sink = new_doubles(p->call.heads);
    for (int64_t h = 0; h < p->call.heads; h++) sink[h] = -INFINITY;
    p->call.sink = sink;
}

static void wide_window(terms_problem *p)
{
    p->call.window = p->call.keys;
}

static void one_segment(terms_problem *p)
{
    int64_t *starts = calloc((size_t)(p->call.batch * p->call.queries), sizeof *starts);
    assert_non_null(starts);
    p->call.starts = starts;
}

static void all_heads(terms_problem *p)
{
    p->call.kv_heads = p->call.heads;
}

/* A mixture of one kernel that is a constant. */
static void one_kernel(terms_problem *p)
{
    p->call.kernels = 1;
    p->call.log_kernels = new_doubles(p->call.heads * p->call.keys);
    p->call.mixture = random_doubles(p->call.batch * p->call.heads * p->call.queries, 1, "mixture");
}

static void test_neutral(void **state)
{
    (void)state;
    static const change_fn changes[] = {zero_gate,   constant_gate, zero_bank,  no_sink,
                                        wide_window, all_heads,     one_kernel, one_segment};
    static const int64_t sizes[][2] = {{150, 150}, {2, 333}, {90, 700}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
            for (int type = 0; type < 2; type++)
                for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
                    const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
                    named_shape plain = {"plain", {.table = 1}};
                    terms_shape shape = sized(&plain, sizes[n][0], sizes[n][1]);
                    double *without[RESULTS], *with[RESULTS];
                    terms_problem p = random_terms(&shape, how.dtype);
                    assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
                    run_terms(&p, &how, without, NULL);
                    changes[i](&p);
                    run_terms(&p, &how, with, NULL);
                    assert_same_results(&p, without, with, DTABLE + 1);
                    free_results(without), free_results(with);
                    free_terms_problem(&p);
                }
}

/* Weights per query that are the same for all queries: the mixture's table. */
static void test_constant_mixture(void **state)
{
    (void)state;
    named_shape mixture = {"mixture", {.kernels = 3}};
    terms_shape shape = sized(&mixture, 150, 400);
    terms_problem p = random_terms(&shape, MEP_FLOAT32), plain;
    mep_attention_reference_call *c = &p.call;
    double *a = new_doubles(c->batch * c->heads * c->queries * 3), *table = new_doubles(c->heads * c->keys);
    const double w[3] = {0.5, 0.3, 0.2};
    for (int64_t i = 0; i < c->batch * c->heads * c->queries * 3; i++) a[i] = log(w[i % 3]) + 7;
    for (int64_t h = 0; h < c->heads; h++)
        for (int64_t d = 0; d < c->keys; d++) {
            double sum = 0;
            for (int m = 0; m < 3; m++) sum += w[m] * exp(c->log_kernels[(h * 3 + m) * c->keys + d]);
            table[h * c->keys + d] = log(sum);
        }
    free((void *)(uintptr_t)c->mixture);
    c->mixture = a;
    plain = p;
    plain.call.kernels = 0, plain.call.mixture = plain.call.log_kernels = NULL, plain.call.table = table;
    double *with[RESULTS], *without[RESULTS];
    const terms_run how = {.dtype = MEP_FLOAT32};
    run_terms(&p, &how, with, NULL);
    run_terms(&plain, &how, without, NULL);
    for (int i = 0; i <= DV; i++)
        for (int64_t n = 0; n < result_size(c, i); n++)
            assert_true(fabs(with[i][n] - without[i][n]) <= 2e-5 * (1 + fabs(without[i][n])));
    free_results(with), free_results(without);
    free(table);
    free_terms_problem(&p);
}

/* The gate's sum runs to minus a million: differences of neighbours count as at the beginning. */
static void test_long_gate(void **state)
{
    (void)state;
    named_shape gate = {"gate", {.gate = 1}};
    terms_shape shape = sized(&gate, 150, 400);
    terms_problem p = random_terms(&shape, MEP_FLOAT32);
    double *gates = (double *)(uintptr_t)p.call.gate;
    for (int64_t i = 0; i < p.call.batch * p.call.heads * p.call.keys; i++) gates[i] -= 1e6;
    solve_terms(&p);
    check(&p, &(terms_run){.dtype = MEP_FLOAT32}, "a gate near minus a million");
    free_terms_problem(&p);
}

/* Where memory is short, terms that are set fail, and the plan keeps those that it has. */
static void test_short_memory(void **state)
{
    (void)state;
    named_shape both = {"both", {.rank = 3, .extent = 40, .kernels = 3}};
    terms_shape shape = sized(&both, 70, 70);
    terms_problem p = random_terms(&shape, MEP_FLOAT32);
    const mep_attention_reference_call *c = &p.call;
    mep_attention *plan = terms_plan(c, &(terms_run){.dtype = MEP_FLOAT32});
    float *zeros = calloc((size_t)(c->heads * 5 * c->keys), sizeof *zeros);
    assert_non_null(zeros);
    const mep_attention_terms other = {
        .bank = zeros, .rank = 2, .extent = 9, .log_kernels = zeros, .kernels = 5, .log_kernels_length = c->keys};
    int64_t B = c->batch, H = c->heads, Q = c->queries, D = c->head_dim;
    mep_attention_call call = {.batch = B,
                               .queries = Q,
                               .keys = c->keys,
                               .q = new_view(MEP_FLOAT32, B, H, Q, D, c->q),
                               .k = new_view(MEP_FLOAT32, B, H, c->keys, D, c->k),
                               .v = new_view(MEP_FLOAT32, B, H, c->keys, D, c->v),
                               .out = new_view(MEP_FLOAT32, B, H, Q, D, NULL),
                               .profiles = new_view(MEP_FLOAT32, B, H, Q, c->rank, c->profiles),
                               .mixture = new_view(MEP_FLOAT32, B, H, Q, c->kernels, c->mixture)};
    mep_status status = MEP_ERROR_MEMORY;
    int64_t n = 1;
    double *wanted = NULL;
    for (; status != MEP_OK; n++) {
        assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
        double *out = read_view(MEP_FLOAT32, &call.out, B, H, Q, D);
        if (wanted == NULL)
            wanted = out;
        else
            assert_memory_equal(out, wanted, (size_t)(B * H * Q * D) * sizeof *out);
        if (out != wanted) free(out);
        mep_fail_allocation(n);
        status = mep_attention_set_terms(plan, &other);
        mep_fail_allocation(0);
        assert_true(status == MEP_OK || status == MEP_ERROR_MEMORY);
    }
    assert_true(n > 4);
    free(wanted), free(zeros);
    free(call.q.data), free(call.k.data), free(call.v.data), free(call.out.data);
    free(call.profiles.data), free(call.mixture.data);
    mep_attention_destroy(&plan);
    free_terms_problem(&p);
}

/* A document that is packed after others has the bits of a call of its own where both begin on the grid of tiles. */
static void test_packed_documents(void **state)
{
    (void)state;
    enum { FIRST = 128, COUNT = 150 };
    named_shape plain = {"plain", {.table = 1, .sink = 1}};
    for (int type = 0; type < 2; type++) {
        const terms_run how = {.dtype = type == 0 ? MEP_FLOAT32 : MEP_BFLOAT16};
        terms_shape shape = sized(&plain, FIRST + COUNT, FIRST + COUNT), own = sized(&plain, COUNT, COUNT);
        terms_problem p = random_terms(&shape, how.dtype), alone = random_terms(&own, how.dtype);
        int64_t H = shape.heads, D = shape.head_dim, *starts = calloc((size_t)(2 * (FIRST + COUNT)), sizeof *starts);
        assert_non_null(starts);
        for (int64_t i = 0; i < 2 * (FIRST + COUNT); i++) starts[i] = i % (FIRST + COUNT) < FIRST ? 0 : FIRST;
        p.call.starts = starts;
        const double *from[] = {p.call.q, p.call.k, p.call.v, p.dout},
                     *to[] = {alone.call.q, alone.call.k, alone.call.v, alone.dout};
        for (int x = 0; x < 4; x++)
            for (int64_t n = 0; n < 2 * H; n++)
                memcpy((double *)(uintptr_t)to[x] + n * COUNT * D, from[x] + (n * (FIRST + COUNT) + FIRST) * D,
                       (size_t)(COUNT * D) * sizeof(double));
        for (int64_t h = 0; h < H; h++)
            memcpy((double *)(uintptr_t)alone.call.table + h * COUNT, p.call.table + h * (FIRST + COUNT),
                   COUNT * sizeof(double));
        double *packed[RESULTS], *single[RESULTS];
        run_terms(&p, &how, packed, NULL);
        run_terms(&alone, &how, single, NULL);
        static const int results[] = {OUT, DK, DV}; /* dq is summed in chunks, which begin elsewhere */
        for (int x = 0; x < 3; x++)
            for (int64_t n = 0; n < 2 * H; n++)
                assert_memory_equal(packed[results[x]] + (n * (FIRST + COUNT) + FIRST) * D,
                                    single[results[x]] + n * COUNT * D, (size_t)(COUNT * D) * sizeof(double));
        free_results(packed), free_results(single);
        free_terms_problem(&p), free_terms_problem(&alone);
    }
}

/* A symmetric table gives the same as the same values ahead. */
static void test_symmetric_table(void **state)
{
    (void)state;
    named_shape both = {"both", {.table = 1, .bidirectional = 1}};
    terms_shape shape = sized(&both, 200, 200);
    terms_problem p = random_terms(&shape, MEP_FLOAT32);
    double *one[RESULTS], *two[RESULTS], *ahead = new_doubles(shape.heads * shape.keys);
    run_terms(&p, &(terms_run){.dtype = MEP_FLOAT32}, one, NULL);
    memcpy(ahead, p.call.table, (size_t)(shape.heads * shape.keys) * sizeof *ahead);
    p.call.table_ahead = ahead;
    run_terms(&p, &(terms_run){.dtype = MEP_FLOAT32}, two, NULL);
    for (int i = OUT; i <= DV; i++)
        assert_memory_equal(one[i], two[i], (size_t)result_size(&p.call, i) * sizeof(double));
    for (int64_t i = 0; i < shape.heads * shape.keys; i++) {
        double sum = two[DTABLE][i] + two[DTABLE_AHEAD][i];
        assert_true(fabs(one[DTABLE][i] - sum) <= 1e-12 * (1 + fabs(sum)));
    }
    free_results(one), free_results(two);
    free_terms_problem(&p);
}

static void refuse_call(const mep_attention_settings *settings, const mep_attention_terms *terms,
                        const mep_attention_call *call, const char *text)
{
    mep_attention *plan;
    assert_int_equal(mep_attention_create(&plan, settings), MEP_OK);
    mep_status status = mep_attention_set_terms(plan, terms);
    if (status == MEP_OK) status = mep_attention_forward(plan, call);
    assert_int_equal(status, MEP_ERROR_ARGUMENT);
    if (strstr(mep_error_message(), text) == NULL) fail_msg("%s", mep_error_message());
    mep_attention_destroy(&plan);
}

static void test_wrong_directions(void **state)
{
    (void)state;
    mep_attention_settings causal, both;
    mep_attention_defaults(&causal);
    causal.head_dim = 20, causal.max_length = 9;
    both = causal, both.bidirectional = 1;
    float table[9] = {0}, bad[9] = {[4] = NAN};
    double gate[9] = {0};
    int64_t ends[9] = {9};
    mep_tensor_view x = new_view(MEP_FLOAT32, 1, 1, 9, 20, NULL), out = new_view(MEP_FLOAT32, 1, 1, 9, 20, NULL);
    const mep_attention_call call = {.batch = 1, .queries = 9, .keys = 9, .q = x, .k = x, .v = x, .out = out};
    mep_attention_call other = call;
    const mep_attention_terms none = {.window = 0}, plain = {.table = table, .table_length = 9},
                              ahead = {.table = table, .table_length = 9, .table_ahead = table},
                              alone = {.table_length = 9, .table_ahead = table},
                              nan = {.table = table, .table_length = 9, .table_ahead = bad},
                              bank = {.bank = table, .rank = 1, .extent = 9};
    refuse_call(&causal, &ahead, &call, "table_ahead is of bidirectional plans");
    refuse_call(&both, &alone, &call, "table_ahead needs terms.table");
    refuse_call(&both, &bank, &call, "leave out the bank");
    other.ends = ends;
    refuse_call(&causal, &plain, &other, "call.ends is of bidirectional plans");
    other = call, other.queries = 8;
    refuse_call(&both, &none, &other, "queries = keys, found 8 and 9");
    other = call, other.gate = gate;
    refuse_call(&both, &none, &other, "leave out call.gate");
    mep_attention *plan;
    assert_int_equal(mep_attention_create(&plan, &causal), MEP_OK);
    gate[8] = -4e38; /* finite, but not in float32 */
    assert_int_equal(mep_attention_forward(plan, &other), MEP_ERROR_NUMERIC);
    assert_non_null(strstr(mep_error_message(), "gate[0, 8]"));
    mep_attention_destroy(&plan);
    assert_int_equal(mep_attention_create(&plan, &both), MEP_OK);
    assert_int_equal(mep_attention_set_terms(plan, &nan), MEP_ERROR_NUMERIC);
    assert_non_null(strstr(mep_error_message(), "distance -4 is nan"));
    const mep_attention_terms endless = {.table = (const float[]){0}, .table_length = INT64_C(1) << 62};
    assert_int_equal(mep_attention_set_terms(plan, &endless), MEP_ERROR_MEMORY);
    mep_attention_destroy(&plan);
    free(x.data), free(out.data);
}

static void test_wrong_starts(void **state)
{
    (void)state;
    named_shape plain = {"plain", {.segments = 1}};
    terms_shape shape = sized(&plain, 9, 9);
    terms_problem p = random_terms(&shape, MEP_FLOAT32);
    mep_attention *plan = terms_plan(&p.call, &(terms_run){.dtype = MEP_FLOAT32});
    int64_t starts[18] = {[13] = -1};
    mep_tensor_view x = new_view(MEP_FLOAT32, 2, 4, 9, 20, NULL), out = new_view(MEP_FLOAT32, 2, 4, 9, 20, NULL);
    mep_attention_call call = {
        .batch = 2, .queries = 9, .keys = 9, .q = x, .k = x, .v = x, .out = out, .starts = starts};
    assert_int_equal(mep_attention_forward(plan, &call), MEP_ERROR_ARGUMENT);
    assert_string_equal(mep_error_message(), "starts[1, 4] (sequence, query) is -1; it must be 0 or more");
    starts[13] = INT64_MAX; /* the query sees its own key */
    assert_int_equal(mep_attention_forward(plan, &call), MEP_OK);
    free(x.data), free(out.data);
    mep_attention_destroy(&plan);
    free_terms_problem(&p);
}

/* With a tolerance t the weights that are left out are at most t of a row's. */
static void test_tolerance(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        terms_shape shape = sized(&shapes[i], 300, 1100);
        shape.batch = 1, shape.slope = 0.3;
        terms_problem p = random_terms(&shape, MEP_FLOAT32);
        double *exact[RESULTS], *loose[RESULTS];
        run_terms(&p, &(terms_run){.dtype = MEP_FLOAT32}, exact, NULL);
        run_terms(&p, &(terms_run){.dtype = MEP_FLOAT32, .tolerance = 1e-3}, loose, NULL);
        for (int64_t n = 0; n < result_size(&p.call, LSE); n++) {
            double left_out = exact[LSE][n] - loose[LSE][n];
            assert_true(left_out > -1e-4 && left_out < 1.1e-3 + 1e-5);
        }
        free_results(exact), free_results(loose);
        free_terms_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_few_queries),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_skipping),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_neutral),
        cmocka_unit_test(test_constant_mixture),
        cmocka_unit_test(test_long_gate),
        cmocka_unit_test(test_tolerance),
        cmocka_unit_test(test_packed_documents),
        cmocka_unit_test(test_short_memory),
        cmocka_unit_test(test_wrong_starts),
        cmocka_unit_test(test_symmetric_table),
        cmocka_unit_test(test_wrong_directions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
