/* SPDX-License-Identifier: MIT */
/*
 * The matrix products of a model: each linear map's forward product, the gradient of its input and that of its weight,
 * in the forms in which the model asks for them, in every type in turn.
 */
#include <stdio.h>

#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"
#include "bench/bench.h"
#include "bench/parts.h"
#include "model/layout.h"

enum { MAPS = 5, PASSES = 3, DTYPES = 2, OUTPUT_ROWS = 1024 };
static const char *const PASS_NAMES[PASSES] = {"forward", "input gradient", "weight gradient"};

/* y[rows, out] = x[rows, in] W^T, W [out, in]. */
typedef struct linear_map {
    const char *name;
    int64_t rows, in, out;
} linear_map;

typedef struct operation {
    mep_context place;
    mep_gemm product;
} operation;

typedef struct bench {
    const mep_bench_gemm_settings *settings;
    mep_bench_common *common;
    mep_context place;
    mep_bench_ceiling ceilings[DTYPES];
    linear_map maps[MAPS];
    operation operations[DTYPES];
    mep_bench_lane *lanes; /* operations, then a ceiling a type */
} bench;

static mep_status run(void *context)
{
    const operation *o = context;
    return o->place.nn->gemm(o->place.state, &o->product);
}

static void list(bench *b)
{
    static const struct {
        const char *name;
        mep_tensor_kind matrix;
    } maps[MAPS] = {{"qkv", QKV_WEIGHT}, {"dense", DENSE_WEIGHT}, {"up", UP_WEIGHT}, {"down", DOWN_WEIGHT},
                    {"output", EMBED_OUT}};
    const mep_model_config *c = &b->settings->config;
    int64_t rows = b->settings->rows;
    int64_t output = rows < OUTPUT_ROWS ? rows : OUTPUT_ROWS; /* the model's output layer works in chunks of rows */
    for (int i = 0; i < MAPS; i++)
        b->maps[i] = (linear_map){.name = maps[i].name,
                                  .rows = maps[i].matrix == EMBED_OUT ? output : rows,
                                  .in = mep_kind_columns(c, maps[i].matrix),
                                  .out = mep_kind_rows(c, maps[i].matrix)};
}

/* A pass of a map: forward y = x W^T, dx = dy W, dW += dy^T x. */
static mep_gemm shape_of(const linear_map *map, int pass, mep_dtype dtype)
{
    mep_matrix x = {NULL, dtype, map->in, 0, 0}, y = {NULL, dtype, map->out, 0, 0}, w = {NULL, dtype, map->in, 0, 0};
    mep_matrix turned_w = w, turned_y = y, dw = w;
    turned_w.transposed = turned_y.transposed = 1;
    dw.dtype = MEP_FLOAT32;
    const mep_gemm passes[PASSES] = {
        {.m = map->rows, .n = map->out, .k = map->in, .a = x, .b = turned_w, .c = y},
        {.m = map->rows, .n = map->in, .k = map->out, .a = y, .b = w, .c = x},
        {.m = map->out, .n = map->in, .k = map->rows, .a = turned_y, .b = x, .c = dw, .accumulate = 1}};
    return passes[pass];
}

static mep_status allocate_operands(mep_device device, mep_gemm *g)
{
    MEP_TRY(mep_bench_random(device, &g->a.data, g->a.dtype, g->m * g->k));
    MEP_TRY(mep_bench_random(device, &g->b.data, g->b.dtype, g->k * g->n));
    return mep_device_array(device, &g->c.data, g->m * g->n, mep_dtype_size(g->c.dtype));
}

/* The operations of all types. */
static mep_status fill(bench *b, const linear_map *map, int pass)
{
    mep_device device = b->common->device;
    for (int64_t d = 0; d < b->common->dtype_count; d++) {
        mep_gemm g = shape_of(map, pass, b->common->dtypes[d]);
        mep_status status = allocate_operands(device, &g);
        b->operations[d] = (operation){b->place, g};
        mep_bench_lane *lane = &b->lanes[d];
        *lane = (mep_bench_lane){.run = run,
                                 .context = &b->operations[d],
                                 .device = device,
                                 .work = 2.0 * (double)g.m * (double)g.n * (double)g.k};
        snprintf(lane->name, sizeof lane->name, "%s %s, %s", map->name, PASS_NAMES[pass], mep_dtype_name(g.a.dtype));
        if (status != MEP_OK) return status;
        mep_bench_ceiling_lane(&b->ceilings[d], &b->lanes[b->common->dtype_count + d]);
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
                                 .figures = mep_bench_figures_of(&b->lanes[i], &b->lanes[count + i])};
        MEP_TRY(b->common->add(b->common->context, &c));
    }
    return MEP_OK;
}

static mep_status measure_pass(bench *b, const linear_map *map, int pass)
{
    int64_t dtypes = b->common->dtype_count;
    mep_status status = fill(b, map, pass);
    if (status == MEP_OK) status = mep_bench_measure(b->lanes, 2 * dtypes, &b->common->control);
    if (status == MEP_OK) b->common->control.done += dtypes;
    if (status == MEP_OK) status = report(b, map, pass);
    for (int64_t d = 0; d < dtypes; d++) {
        mep_gemm *g = &b->operations[d].product;
        mep_device_release(b->common->device, &g->a.data);
        mep_device_release(b->common->device, &g->b.data);
        mep_device_release(b->common->device, &g->c.data);
    }
    return status;
}

static mep_status measure_all(bench *b)
{
    int64_t largest = b->settings->rows;
    for (int i = 0; i < MAPS; i++) {
        if (b->maps[i].in > largest) largest = b->maps[i].in;
        if (b->maps[i].out > largest) largest = b->maps[i].out;
    }
    MEP_TRY(mep_bench_context_open(&b->place, b->common->device, largest, largest));
    MEP_TRY(mep_alloc(&b->lanes, DTYPES * 2, sizeof *b->lanes));
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
    mep_status status = measure_all(&b);
    for (int d = 0; d < DTYPES; d++) mep_bench_ceiling_destroy(&b.ceilings[d]);
    mep_bench_context_close(&b.place);
    mep_free(&b.lanes);
    return status;
}
