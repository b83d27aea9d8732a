/* SPDX-License-Identifier: MIT */
/*
 * The matrix product benchmark: for each linear map of a model its forward product, the gradient of its input and the
 * gradient of its weight, with the layouts that the model uses. The dtypes run in turn.
 */
#include <stdio.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "bench/operands.h"
#include "model/layout.h"

enum { MAPS = 5, PASSES = 3, DTYPES = 2, OUTPUT_ROWS = 1024 };
static const char *const PASS_NAMES[PASSES] = {"forward", "input gradient", "weight gradient"};

/* y[rows, out] = x[rows, in] W^T, W [out, in]. */
typedef struct linear_map {
    const char *name;
    int64_t rows, in, out;
} linear_map;

typedef struct operation {
    mep_context context;
    mep_gemm product;
} operation;

typedef struct bench {
    const mep_bench_gemm_settings *settings;
    mep_bench_common *common;
    mep_context context;
    mep_bench_ceiling ceilings[DTYPES];
    linear_map maps[MAPS];
    operation operations[DTYPES];
    mep_bench_task *tasks; /* one operation per dtype, then one ceiling per dtype */
} bench;

static mep_status run(void *context)
{
    const operation *o = context;
    return o->context.nn->gemm(o->context.state, &o->product);
}

/* The products of a layer, and that of the output layer. */
static void list(bench *b)
{
    static const struct {
        const char *name;
        mep_tensor_kind matrix;
    } maps[MAPS] = {
        {"qkv", QKV_WEIGHT}, {"dense", DENSE_WEIGHT}, {"up", UP_WEIGHT}, {"down", DOWN_WEIGHT}, {"output", EMBED_OUT}};
    const mep_model_config *c = &b->settings->config;
    int64_t rows = b->settings->rows;
    int64_t output = min_i64(rows, OUTPUT_ROWS); /* the model's output layer processes chunks of rows */
    for (int i = 0; i < MAPS; i++)
        b->maps[i] = (linear_map){.name = maps[i].name,
                                  .rows = maps[i].matrix == EMBED_OUT ? output : rows,
                                  .in = mep_kind_columns(c, maps[i].matrix),
                                  .out = mep_kind_rows(c, maps[i].matrix)};
}

/* The product of a pass: forward y = x W^T, input gradient dx = dy W, weight gradient dW += dy^T x. */
static mep_gemm shape_of(const linear_map *map, int pass, mep_dtype dtype)
{
    mep_matrix x = {.dtype = dtype, .stride = map->in}, y = {.dtype = dtype, .stride = map->out}, w = x;
    mep_matrix w_transposed = w, y_transposed = y, dw = w;
    w_transposed.transposed = y_transposed.transposed = 1;
    dw.dtype = MEP_FLOAT32;
    const mep_gemm passes[PASSES] = {
        {.m = map->rows, .n = map->out, .k = map->in, .a = x, .b = w_transposed, .c = y},
        {.m = map->rows, .n = map->in, .k = map->out, .a = y, .b = w, .c = x},
        {.m = map->out, .n = map->in, .k = map->rows, .a = y_transposed, .b = x, .c = dw, .accumulate = 1}};
    return passes[pass];
}

static mep_status allocate_operands(mep_device device, mep_gemm *g)
{
    MEP_TRY(mep_bench_random(device, &g->a.data, g->a.dtype, g->m * g->k));
    MEP_TRY(mep_bench_random(device, &g->b.data, g->b.dtype, g->k * g->n));
    return mep_device_array(device, &g->c.data, g->m * g->n, mep_dtype_size(g->c.dtype));
}

/* Set up the tasks of all dtypes. */
static mep_status fill(bench *b, const linear_map *map, int pass)
{
    mep_device device = b->common->device;
    for (int64_t d = 0; d < b->common->dtype_count; d++) {
        mep_gemm g = shape_of(map, pass, b->common->dtypes[d]);
        mep_status status = allocate_operands(device, &g);
        b->operations[d] = (operation){b->context, g};
        mep_bench_task *task = &b->tasks[d];
        *task = (mep_bench_task){.run = run,
                                 .context = &b->operations[d],
                                 .device = device,
                                 .work = 2.0 * (double)g.m * (double)g.n * (double)g.k};
        snprintf(task->name, sizeof task->name, "%s %s, %s", map->name, PASS_NAMES[pass], mep_dtype_name(g.a.dtype));
        if (status != MEP_OK) return status;
        mep_bench_ceiling_task(&b->ceilings[d], &b->tasks[b->common->dtype_count + d]);
    }
    return MEP_OK;
}

static mep_status report(const bench *b, const linear_map *map, int pass)
{
    int64_t count = b->common->dtype_count;
    for (int64_t i = 0; i < count; i++) {
        const mep_gemm *g = &b->operations[i].product;
        mep_bench_gemm_case c = {.product = map->name,
                                 .pass = PASS_NAMES[pass],
                                 .dtype = mep_dtype_name(g->a.dtype),
                                 .m = g->m,
                                 .n = g->n,
                                 .k = g->k,
                                 .figures = mep_bench_figures_of(&b->tasks[i], &b->tasks[count + i])};
        MEP_TRY(b->common->add(b->common->context, &c));
    }
    return MEP_OK;
}

static mep_status measure_pass(bench *b, const linear_map *map, int pass)
{
    int64_t dtypes = b->common->dtype_count;
    mep_status status;
    MEP_TRY_OR(status, fill(b, map, pass), end);
    MEP_TRY_OR(status, mep_bench_measure(b->tasks, 2 * dtypes, &b->common->control), end);
    b->common->control.done += dtypes;
    status = report(b, map, pass);
end:
    for (int64_t d = 0; d < dtypes; d++) {
        mep_gemm *g = &b->operations[d].product;
        mep_device_release(b->common->device, &g->a.data);
        mep_device_release(b->common->device, &g->b.data);
        mep_device_release(b->common->device, &g->c.data);
    }
    return status;
}

static mep_status take_measurement(bench *b)
{
    int64_t largest = b->settings->rows;
    for (int i = 0; i < MAPS; i++) {
        largest = max_i64(largest, max_i64(b->maps[i].in, b->maps[i].out));
    }
    MEP_TRY(mep_bench_context_open(&b->context, b->common->device, largest, largest));
    MEP_TRY(MEP_ALLOC(&b->tasks, 2 * DTYPES));
    for (int64_t d = 0; d < b->common->dtype_count; d++)
        MEP_TRY(mep_bench_ceiling_create(&b->ceilings[d], b->common->device, b->common->ceiling, b->common->dtypes[d]));
    for (int i = 0; i < MAPS; i++)
        for (int pass = 0; pass < PASSES; pass++) MEP_TRY(measure_pass(b, &b->maps[i], pass));
    return MEP_OK;
}

mep_status mep_bench_gemm(const mep_bench_gemm_settings *settings, mep_bench_common *common)
{
    bench b = {.settings = settings, .common = common};
    MEP_TRY(mep_model_config_check(&settings->config));
    list(&b);
    common->control.total = MAPS * PASSES * common->dtype_count;
    mep_status status = take_measurement(&b);
    for (int d = 0; d < DTYPES; d++) mep_bench_ceiling_destroy(&b.ceilings[d]);
    mep_bench_context_close(&b.context);
    mep_free(&b.tasks);
    return status;
}
