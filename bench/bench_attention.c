/* SPDX-License-Identifier: MIT */
/*
 * Fused attention, forward and backward, 12 heads of 64, causal: useful GFLOP/s by length and encoding beside the
 * matrix product of this build in the same run (the ceiling). Best and median of the repeats. Where far blocks are
 * skipped, the work counted is that of the dense product, so that the figure says how much sooner the result is there.
 *
 *     bench_attention [REPEATS]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "mep/attention.h"
#include "mep/bias.h"
#include "nn/gemm.h"

enum { HEADS = 12, HEAD_DIM = 64, MOST_REPEATS = 100 };

typedef struct timing {
    double best, median;
} timing;

static void stop(mep_status status)
{
    if (status == MEP_OK) return;
    fprintf(stderr, "bench_attention: %s\n", mep_error_message());
    exit(1);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing time_of(void (*run)(void *), void *context, int repeats)
{
    double seconds[MOST_REPEATS];
    run(context);
    for (int i = 0; i < repeats; i++) {
        double start = mep_now();
        run(context);
        seconds[i] = mep_now() - start;
    }
    qsort(seconds, (size_t)repeats, sizeof *seconds, ascending);
    return (timing){seconds[0], seconds[repeats / 2]};
}

typedef struct problem {
    mep_attention *plan;
    int64_t length;
    mep_tensor_view q, k, v, out, dout, dq, dk, dv;
    float *lse;
    double *dbias;
} problem;

static void forward(void *context)
{
    problem *p = context;
    stop(mep_attention_forward(p->plan, 1, p->length, p->length, p->q, p->k, p->v, p->out, p->lse));
}

static void backward(void *context)
{
    problem *p = context;
    stop(mep_attention_backward(p->plan, 1, p->length, p->length, p->q, p->k, p->v, p->out, p->lse, p->dout, p->dq,
                                p->dk, p->dv, p->dbias));
}

static mep_tensor_view tensor(int64_t length, const char *name)
{
    int64_t size = HEADS * length * HEAD_DIM;
    float *data = NULL;
    stop(mep_alloc(&data, size, sizeof *data));
    for (int64_t i = 0; i < size; i++) data[i] = (float)mep_random_normal(1, mep_random_stream(name), (uint64_t)i);
    return (mep_tensor_view){data, 0, length * HEAD_DIM, HEAD_DIM};
}

static problem make(const char *spec, int64_t length, int skip)
{
    problem p = {.length = length};
    mep_attention_settings s;
    mep_attention_defaults(&s);
    s.heads = HEADS, s.head_dim = HEAD_DIM, s.max_length = length, s.skip_far = skip;
    stop(mep_attention_create(&p.plan, &s));
    if (spec != NULL) {
        mep_bias *bias = NULL;
        float *table = NULL;
        stop(mep_bias_create(&bias, spec, HEADS, HEAD_DIM));
        stop(mep_alloc(&table, HEADS * length, sizeof *table));
        stop(mep_bias_table(bias, length, table));
        stop(mep_attention_set_bias(p.plan, table, length));
        if (mep_bias_param_count(bias) > 0) stop(mep_alloc(&p.dbias, HEADS * length, sizeof *p.dbias));
        mep_free(&table);
        mep_bias_destroy(&bias);
    }
    mep_tensor_view *views[] = {&p.q, &p.k, &p.v, &p.out, &p.dout, &p.dq, &p.dk, &p.dv};
    const char *names[] = {"q", "k", "v", "out", "dout", "dq", "dk", "dv"};
    for (int i = 0; i < 8; i++) *views[i] = tensor(length, names[i]);
    stop(mep_alloc(&p.lse, HEADS * length, sizeof *p.lse));
    return p;
}

static void release(problem *p)
{
    mep_tensor_view *views[] = {&p->q, &p->k, &p->v, &p->out, &p->dout, &p->dq, &p->dk, &p->dv};
    for (int i = 0; i < 8; i++) mep_free(&views[i]->data);
    mep_free(&p->lse);
    mep_free(&p->dbias);
    mep_attention_destroy(&p->plan);
}

static void product(void *context)
{
    stop(mep_gemm_run(context));
}

/* GFLOP/s of a float32 product of 2048^3. */
static double ceiling(int repeats)
{
    const int64_t n = 2048;
    mep_tensor_view a = tensor(n * n / (HEADS * HEAD_DIM) + 1, "a"), b = tensor(n * n / (HEADS * HEAD_DIM) + 1, "b");
    mep_tensor_view c = tensor(n * n / (HEADS * HEAD_DIM) + 1, "c");
    mep_gemm g = {n,    n, n, {a.data, MEP_FLOAT32, n, 0}, {b.data, MEP_FLOAT32, n, 0}, {c.data, MEP_FLOAT32, n, 0},
                  NULL, 0};
    timing t = time_of(product, &g, repeats);
    printf("libmep %s, compiler %s\n", mep_version(), __VERSION__);
    printf("ceiling: %s, 2048^3 float32, %.0f GFLOP/s (median %.0f), %d threads, CPU level %s\n\n", mep_gemm_backend(),
           2e-9 * (double)(n * n * n) / t.best, 2e-9 * (double)(n * n * n) / t.median, mep_set_threads(0),
           mep_cpu_level_name());
    mep_free(&a.data);
    mep_free(&b.data);
    mep_free(&c.data);
    return 2e-9 * (double)(n * n * n) / t.best;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *spec;
        int skip;
    } cases[] = {
        {"none", NULL, 0}, {"mep, dense", "mep", 0}, {"mep, exact skipping", "mep", 1}, {"mep_param", "mep_param", 1}};
    int repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5;
    repeats = repeats < 1 ? 1 : repeats > MOST_REPEATS ? MOST_REPEATS : repeats;
    double top = ceiling(repeats);
    printf("%-20s %7s %28s %28s %9s\n", "encoding", "length", "forward GFLOP/s (median, of)", "backward GFLOP/s",
           "computed");
    for (int64_t length = 512; length <= 8192; length *= 4)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            problem p = make(cases[c].spec, length, cases[c].skip);
            double flops = 2e-9 * (double)(length * length) * HEAD_DIM * HEADS;
            timing f = time_of(forward, &p, repeats);
            double share = mep_attention_computed_share(p.plan);
            timing b = time_of(backward, &p, repeats);
            printf("%-20s %7lld %10.0f (%5.0f, %4.2f) %14.0f (%5.0f, %4.2f) %8.0f%%\n", cases[c].name,
                   (long long)length, flops / f.best, flops / f.median, flops / f.best / top, 2.5 * flops / b.best,
                   2.5 * flops / b.median, 2.5 * flops / b.best / top, 100 * share);
            release(&p);
        }
    return 0;
}
