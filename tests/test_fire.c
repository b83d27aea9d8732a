/* SPDX-License-Identifier: MIT */
/*
 * Attention with fire: against the float64 reference, query by query with the table of its position, under every CPU
 * level; and equal bits for skipping, few queries, numbers of threads, and a cache.
 */
#include "terms_problem.h"

#include <omp.h>

#include "attention/cache.h"
#include "attention/fire.h"
#include "base/integer.h"

enum { PIECES = 4, ROW = 6, HEADS = 4, DIM = 20 };

static const double knots[PIECES - 1] = {0.2, 0.55, 0.8};
static double slopes[HEADS * ROW], offsets[HEADS * ROW];

/* Continuous functions that fall by about `fall` nats, a different one for each head. */
static mep_fire make_fire(int64_t threshold, double fall)
{
    for (int h = 0; h < HEADS; h++) {
        double value = 0.3 * h, at = 0;
        for (int g = 0; g < PIECES; g++) {
            slopes[h * ROW + g] = (double)(float)(-fall * (0.4 + 0.5 * ((h + g) % 3)) + (g == 1 ? fall / 2 : 0));
            offsets[h * ROW + g] = value - slopes[h * ROW + g] * at;
            if (g == PIECES - 1) break;
            value += slopes[h * ROW + g] * (knots[g] - at);
            at = knots[g];
        }
    }
    return (mep_fire){.c = 0.15,
                      .threshold = threshold,
                      .pieces = PIECES,
                      .row = ROW,
                      .knots = knots,
                      .slope = slopes,
                      .offset = offsets};
}

static double x_of(const mep_fire *f, int64_t position, int64_t d)
{
    return log1p(f->c * (double)d) / log1p(f->c * (double)max_i64(position, f->threshold));
}

static int piece_of(double x)
{
    int g = 0;
    while (g < PIECES - 1 && knots[g] < x) g++;
    return g;
}

static double value_of(const mep_fire *f, int64_t h, int64_t position, int64_t d)
{
    double x = x_of(f, position, d);
    int64_t at = h * ROW + piece_of(x);
    return f->slope[at] * x + f->offset[at];
}

/* [heads, keys] for queries at a position of at least `least`. */
static double *table_of(const mep_fire *f, int64_t keys, int64_t position)
{
    double *table = new_doubles(HEADS * keys);
    for (int64_t i = 0; i < HEADS * keys; i++) table[i] = value_of(f, i / keys, max_i64(position, i % keys), i % keys);
    return table;
}

/* ---- The reference ---- */

/* Rows 0 .. count - 1 of each of `heads` blocks of `rows` rows of `width` values. */
static double *first_rows(const double *from, int64_t heads, int64_t rows, int64_t count, int64_t width)
{
    double *to = new_doubles(heads * count * width);
    for (int64_t h = 0; from != NULL && h < heads; h++)
        memcpy(to + h * count * width, from + h * rows * width, (size_t)(count * width) * sizeof *to);
    return to;
}

static double *one_row(const double *from, int64_t rows, int64_t i, int64_t width)
{
    double *to = new_doubles(HEADS * width);
    for (int64_t h = 0; from != NULL && h < HEADS; h++)
        memcpy(to + h * width, from + (h * rows + i) * width, (size_t)width * sizeof *to);
    return to;
}

static void add_rows(double *to, const double *from, int64_t heads, int64_t rows, int64_t count, int64_t width)
{
    for (int64_t i = 0; i < heads * count * width; i++)
        to[i / (count * width) * rows * width + i % (count * width)] += from[i];
}

/* Query i alone, with the keys up to its own. */
static void solve_query(terms_problem *p, const mep_fire *f, int64_t i, double *sums)
{
    const mep_attention_reference_call *c = &p->call;
    int64_t position = c->keys - c->queries + i, keys = position + 1, kv = kv_heads_of(c);
    double *q = one_row(c->q, c->queries, i, DIM), *k = first_rows(c->k, kv, c->keys, keys, DIM),
           *v = first_rows(c->v, kv, c->keys, keys, DIM), *gate = first_rows(c->gate, HEADS, c->keys, keys, 1),
           *profiles = one_row(c->profiles, c->queries, i, c->rank), *dout = one_row(p->dout, c->queries, i, DIM),
           *table = table_of(f, keys, position), *dtable = new_doubles(HEADS * keys), *out = new_doubles(HEADS * DIM),
           *dq = new_doubles(HEADS * DIM), *dk = new_doubles(kv * keys * DIM), *dv = new_doubles(kv * keys * DIM),
           lse[4];
    mep_attention_reference_call one = *c;
    one.queries = 1, one.keys = keys, one.q = q, one.k = k, one.v = v, one.table = table, one.out = out, one.lse = lse;
    one.gate = c->gate != NULL ? gate : NULL, one.profiles = c->rank > 0 ? profiles : NULL;
    assert_int_equal(mep_attention_reference_forward(&one), MEP_OK);
    const mep_attention_reference_gradient g = {.dout = dout, .dq = dq, .dk = dk, .dv = dv, .dtable = dtable};
    assert_int_equal(mep_attention_reference_backward(&one, &g), MEP_OK);
    for (int64_t h = 0; h < HEADS; h++) {
        p->expected[LSE][h * c->queries + i] = lse[h];
        memcpy(p->expected[OUT] + (h * c->queries + i) * DIM, out + h * DIM, DIM * sizeof *out);
        memcpy(p->expected[DQ] + (h * c->queries + i) * DIM, dq + h * DIM, DIM * sizeof *out);
        for (int64_t d = 0; d < keys; d++) {
            double x = x_of(f, position, d), ds = dtable[h * keys + d], *s = sums + (h * ROW + piece_of(x)) * 3,
                   bound = (double)max_i64(position, f->threshold), scale = 1 / log1p(f->c * bound);
            if ((position | 63) <= f->threshold) {
                p->expected[DTABLE][h * c->keys + d] += ds;
                continue;
            }
            s[0] += ds, s[1] += ds * x;
            s[2] += ds * scale * ((double)d / (1 + f->c * (double)d) - x * bound / (1 + f->c * bound));
        }
    }
    add_rows(p->expected[DK], dk, kv, c->keys, keys, DIM);
    add_rows(p->expected[DV], dv, kv, c->keys, keys, DIM);
    double *all[] = {q, k, v, gate, profiles, dout, table, dtable, out, dq, dk, dv};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) free(all[n]);
}

/* ---- Problems ---- */

static terms_problem fire_problem(const terms_shape *shape, const mep_fire *f, mep_dtype dtype)
{
    terms_problem p = random_terms(shape, dtype);
    free((void *)(uintptr_t)p.call.table);
    p.call.table = table_of(f, shape->keys, 0);
    return p;
}

/* run_terms with fire; sums [HEADS, ROW, 3]. */
static void run_fire(const terms_problem *p, const mep_fire *f, const terms_run *how, double *found[RESULTS],
                     double *sums, double *fraction)
{
    memset(sums, 0, HEADS * ROW * 3 * sizeof *sums);
    run_terms_with(p, how, f, sums, found, fraction);
}

static double worst_of(const double *found, const double *expected, int64_t n)
{
    double error = 0, largest = 1e-3;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(found[i] - expected[i]) <= error)) error = fabs(found[i] - expected[i]);
        largest = fmax(largest, fabs(expected[i]));
    }
    return error / largest;
}

static void check(const terms_problem *p, const mep_fire *f, mep_dtype dtype, const double *expected_sums)
{
    static const int results[] = {OUT, LSE, DQ, DK, DV, DTABLE};
    const terms_run how = {.dtype = dtype};
    double *found[RESULTS], sums[HEADS * ROW * 3], bound = dtype == MEP_FLOAT32 ? 4e-5 : 0.03;
    run_fire(p, f, &how, found, sums, NULL);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        int r = results[i];
        double error = worst_of(found[r], p->expected[r], result_size(&p->call, r));
        if (!(error <= bound))
            fail_msg("%s, threshold %d, level %d: %s is off by %.3g of its largest value", mep_dtype_name(dtype),
                     (int)f->threshold, (int)mep_cpu_level_get(), result_names[r], error);
    }
    for (int k = 0; k < 3; k++) { /* their sizes differ */
        double a[HEADS * ROW], b[HEADS * ROW];
        for (int n = 0; n < HEADS * ROW; n++) a[n] = sums[n * 3 + k], b[n] = expected_sums[n * 3 + k];
        double error = worst_of(a, b, HEADS * ROW);
        if (!(error <= bound))
            fail_msg("%s, threshold %d, level %d: sum %d is off by %.3g", mep_dtype_name(dtype), (int)f->threshold,
                     (int)mep_cpu_level_get(), k, error);
    }
    free_results(found);
}

static const terms_shape shapes[] = {
    {.table = 1},
    {.table = 1, .kv_heads = 2, .gate = 1, .sink = 1, .window = 150, .rank = 3, .extent = 90},
};

static terms_shape sized(int which, int64_t queries, int64_t keys)
{
    terms_shape s = shapes[which];
    s.batch = 1, s.heads = HEADS, s.queries = queries, s.keys = keys, s.head_dim = DIM, s.slope = 0.05;
    return s;
}

static void test_against_reference(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{200, 200, 63}, {200, 200, 100}, {61, 230, 40}, {90, 90, 5}, {3, 170, 100}};
    for (int which = 0; which < 2; which++)
        for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
            for (int type = 0; type < 2; type++) {
                const mep_fire f = make_fire(sizes[n][2], 6);
                terms_shape shape = sized(which, sizes[n][0], sizes[n][1]);
                terms_problem p = fire_problem(&shape, &f, (mep_dtype)type);
                double sums[HEADS * ROW * 3] = {0};
                for (int i = 0; i < RESULTS; i++)
                    p.expected[i] = result_size(&p.call, i) > 0 ? new_doubles(result_size(&p.call, i)) : NULL;
                for (int64_t i = 0; i < shape.queries; i++) solve_query(&p, &f, i, sums);
                for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
                    assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
                    check(&p, &f, (mep_dtype)type, sums);
                }
                free_terms_problem(&p);
            }
}

/* ---- Bits ---- */

/* Functions that fall far: blocks are skipped, and the bits are those of computing them. */
static void test_skipping(void **state)
{
    (void)state;
    const mep_fire f = make_fire(64, 700);
    for (int which = 0; which < 2; which++) {
        terms_shape shape = sized(which, 700, 1100);
        shape.window = 0;
        for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
            terms_run skip = {.dtype = MEP_FLOAT32}, keep = skip;
            double *a[RESULTS], *b[RESULTS], sums_a[HEADS * ROW * 3], sums_b[HEADS * ROW * 3], fraction, complete;
            terms_problem p = fire_problem(&shape, &f, MEP_FLOAT32);
            keep.keep_far = 1;
            assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
            run_fire(&p, &f, &skip, a, sums_a, &fraction);
            run_fire(&p, &f, &keep, b, sums_b, &complete);
            assert_true(complete == 1 && fraction < 0.8);
            assert_same_results(&p, a, b, RESULTS);
            assert_memory_equal(sums_a, sums_b, sizeof sums_a);
            free_results(a), free_results(b);
            free_terms_problem(&p);
        }
    }
}

static void test_threads(void **state)
{
    (void)state;
    const mep_fire f = make_fire(100, 6);
    int most = omp_get_max_threads();
    terms_shape shape = sized(1, 900, 1000);
    terms_problem p = fire_problem(&shape, &f, MEP_FLOAT32);
    const terms_run how = {.dtype = MEP_FLOAT32};
    double *one[RESULTS], *many[RESULTS], sums_one[HEADS * ROW * 3], sums_many[HEADS * ROW * 3];
    omp_set_num_threads(1);
    run_fire(&p, &f, &how, one, sums_one, NULL);
    for (int threads = 2; threads <= 5; threads += 3) {
        omp_set_num_threads(threads);
        run_fire(&p, &f, &how, many, sums_many, NULL);
        assert_same_results(&p, one, many, RESULTS);
        assert_memory_equal(sums_one, sums_many, sizeof sums_one);
        free_results(many);
    }
    omp_set_num_threads(most);
    free_results(one);
    free_terms_problem(&p);
}

/* Where no position is beyond the threshold on the grid, the call is that of the table. */
static void test_table(void **state)
{
    (void)state;
    const mep_fire f = make_fire(255, 6);
    terms_shape shape = sized(0, 256, 256);
    terms_problem p = fire_problem(&shape, &f, MEP_FLOAT32);
    const terms_run how = {.dtype = MEP_FLOAT32};
    double *with[RESULTS], *without[RESULTS], sums[HEADS * ROW * 3];
    run_fire(&p, &f, &how, with, sums, NULL);
    run_terms(&p, &how, without, NULL);
    assert_same_results(&p, with, without, RESULTS);
    for (int i = 0; i < HEADS * ROW * 3; i++) assert_true(sums[i] == 0);
    free_results(with), free_results(without);
    free_terms_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_reference), cmocka_unit_test(test_skipping),
                                       cmocka_unit_test(test_threads), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
