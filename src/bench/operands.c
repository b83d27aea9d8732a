/* SPDX-License-Identifier: MIT */
/*
 * Operands in a device's memory, and the ceilings that are made of them.
 */
#include <stdio.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/device.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/parts.h"

/* Random values in the program's memory. */
static mep_status make_random(void **data, mep_dtype dtype, int64_t count)
{
    enum { PERIOD = 1000003 };
    float *pool = NULL;
    int64_t size = count < PERIOD ? count : PERIOD;
    MEP_TRY(mep_alloc(&pool, size, sizeof *pool));
    mep_status status = mep_alloc(data, count, (size_t)mep_dtype_size(dtype));
    void *out = *data;
#pragma omp parallel for
    for (int64_t i = 0; i < size; i++) pool[i] = (float)mep_random_normal(1, 0, (uint64_t)i);
    if (status == MEP_OK && dtype == MEP_BFLOAT16) {
#pragma omp parallel for
        for (int64_t i = 0; i < count; i++) ((mep_bf16 *)out)[i] = mep_bf16_from_float(pool[i % size]);
    } else if (status == MEP_OK) {
#pragma omp parallel for
        for (int64_t i = 0; i < count; i++) ((float *)out)[i] = pool[i % size];
    }
    mep_free(&pool);
    return status;
}

mep_status mep_bench_random(mep_device device, void **data, mep_dtype dtype, int64_t count)
{
    void *values = NULL;
    int64_t bytes = 0;
    if (device == MEP_DEVICE_CPU) return make_random(data, dtype, count);
    MEP_TRY(mep_multiply(count, mep_dtype_size(dtype), 1, &bytes));
    mep_status status = make_random(&values, dtype, count);
    if (status == MEP_OK) status = mep_device_alloc(device, data, bytes);
    if (status == MEP_OK) status = mep_device_write(device, *data, values, bytes);
    mep_free(&values);
    return status;
}

mep_status mep_bench_zeros(mep_device device, void **data, mep_dtype dtype, int64_t count)
{
    int64_t bytes = 0;
    MEP_TRY(mep_multiply(count, mep_dtype_size(dtype), 1, &bytes));
    MEP_TRY(mep_device_alloc(device, data, bytes));
    return mep_device_clear(device, *data, bytes);
}

/* ---- Ceilings ---- */

/* The functions of a device, and what it needs to call them. */
static mep_status open_device(mep_device device, int64_t rows, int64_t width, mep_nn_state **state)
{
    MEP_TRY(mep_device_check(device));
    return mep_nn_on(device)->create(state, rows, width);
}

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, mep_device device, int64_t size, mep_dtype dtype)
{
    if (device == MEP_DEVICE_CPU && mep_cpu_level_get() < MEP_CPU_AVX512) dtype = MEP_FLOAT32;
    mep_matrix m = {NULL, dtype, size, 0, 0};
    *ceiling =
        (mep_bench_ceiling){.device = device, .product = {.m = size, .n = size, .k = size, .a = m, .b = m, .c = m}};
    MEP_TRY(open_device(device, size, size, &ceiling->state));
    MEP_TRY(mep_bench_random(device, &ceiling->product.a.data, dtype, size * size));
    MEP_TRY(mep_bench_random(device, &ceiling->product.b.data, dtype, size * size));
    return mep_bench_zeros(device, &ceiling->product.c.data, dtype, size * size);
}

void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling)
{
    if (ceiling->state != NULL) mep_nn_on(ceiling->device)->destroy(&ceiling->state);
    mep_device_free(ceiling->device, &ceiling->product.a.data);
    mep_device_free(ceiling->device, &ceiling->product.b.data);
    mep_device_free(ceiling->device, &ceiling->product.c.data);
}

static mep_status multiply(void *context)
{
    const mep_bench_ceiling *ceiling = context;
    return mep_nn_on(ceiling->device)->gemm(ceiling->state, &ceiling->product);
}

void mep_bench_ceiling_lane(mep_bench_ceiling *ceiling, mep_bench_lane *lane)
{
    const mep_gemm *g = &ceiling->product;
    *lane = (mep_bench_lane){.run = multiply,
                             .context = ceiling,
                             .is_ceiling = 1,
                             .device = ceiling->device,
                             .work = 2.0 * (double)g->m * (double)g->n * (double)g->k};
    snprintf(lane->name, sizeof lane->name, "ceiling %s", mep_dtype_name(g->a.dtype));
}

typedef struct addition {
    mep_device device;
    mep_nn_state *state;
    int64_t count;
    void *x, *y;
} addition;

static mep_status add(void *context)
{
    const addition *a = context;
    mep_nn_on(a->device)->add(a->state, a->count, a->x, a->y);
    return MEP_OK;
}

static mep_status time_addition(addition *a, mep_bench_lane *lane)
{
    const mep_bench_control few = {.repeats = 5, .seconds = 1};
    MEP_TRY(open_device(a->device, 1, a->count, &a->state));
    MEP_TRY(mep_bench_zeros(a->device, &a->x, MEP_FLOAT32, a->count));
    MEP_TRY(mep_bench_zeros(a->device, &a->y, MEP_FLOAT32, a->count));
    *lane = (mep_bench_lane){.run = add, .context = a, .device = a->device, .work = 12 * (double)a->count};
    return mep_bench_measure(lane, 1, &few);
}

mep_status mep_bench_memory_rate(mep_device device, int64_t count, double *rate)
{
    addition a = {.device = device, .count = count};
    mep_bench_lane *lane = NULL;
    MEP_TRY(mep_alloc(&lane, 1, sizeof *lane));
    mep_status status = time_addition(&a, lane);
    if (status == MEP_OK) *rate = mep_bench_figures_of(lane, lane).rate.best;
    if (a.state != NULL) mep_nn_on(device)->destroy(&a.state);
    mep_device_free(device, &a.x);
    mep_device_free(device, &a.y);
    mep_free(&lane);
    return status;
}
