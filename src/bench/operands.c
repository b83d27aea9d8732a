/* SPDX-License-Identifier: MIT */
/*
 * Operands in a device's memory, and the ceilings that are made of them.
 */
#include <stdio.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/backend.h"
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
    if (device == MEP_DEVICE_CPU) return make_random(data, dtype, count);
    mep_status status = make_random(&values, dtype, count);
    if (status == MEP_OK) status = mep_device_array(device, data, count, mep_dtype_size(dtype));
    if (status == MEP_OK) status = mep_device_write(device, *data, values, count * mep_dtype_size(dtype));
    mep_free(&values);
    return status;
}

mep_status mep_bench_context_open(mep_context *place, mep_device device, int64_t rows, int64_t width)
{
    *place = (mep_context){.device = device};
    MEP_TRY(mep_device_check(device));
    place->nn = mep_backend_of(device)->network;
    return place->nn->create(&place->state, rows, width);
}

void mep_bench_context_close(mep_context *place)
{
    if (place->state != NULL) place->nn->destroy(&place->state);
}

/* ---- Ceilings ---- */

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, mep_device device, int64_t size, mep_dtype dtype)
{
    if (device == MEP_DEVICE_CPU && mep_cpu_level_get() < MEP_CPU_AVX512) dtype = MEP_FLOAT32;
    mep_matrix m = {NULL, dtype, size, 0, 0};
    *ceiling = (mep_bench_ceiling){.product = {.m = size, .n = size, .k = size, .a = m, .b = m, .c = m}};
    MEP_TRY(mep_bench_context_open(&ceiling->place, device, size, size));
    MEP_TRY(mep_bench_random(device, &ceiling->product.a.data, dtype, size * size));
    MEP_TRY(mep_bench_random(device, &ceiling->product.b.data, dtype, size * size));
    return mep_device_array(device, &ceiling->product.c.data, size * size, mep_dtype_size(dtype));
}

void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling)
{
    mep_device device = ceiling->place.device;
    mep_bench_context_close(&ceiling->place);
    mep_device_release(device, &ceiling->product.a.data);
    mep_device_release(device, &ceiling->product.b.data);
    mep_device_release(device, &ceiling->product.c.data);
}

static mep_status multiply(void *context)
{
    const mep_bench_ceiling *ceiling = context;
    return ceiling->place.nn->gemm(ceiling->place.state, &ceiling->product);
}

void mep_bench_ceiling_lane(mep_bench_ceiling *ceiling, mep_bench_lane *lane)
{
    const mep_gemm *g = &ceiling->product;
    *lane = (mep_bench_lane){.run = multiply,
                             .context = ceiling,
                             .is_ceiling = 1,
                             .device = ceiling->place.device,
                             .work = 2.0 * (double)g->m * (double)g->n * (double)g->k};
    snprintf(lane->name, sizeof lane->name, "ceiling %s", mep_dtype_name(g->a.dtype));
}

typedef struct addition {
    mep_context place;
    int64_t count;
    void *x, *y;
} addition;

static mep_status add(void *context)
{
    const addition *a = context;
    a->place.nn->add(a->place.state, a->count, a->x, a->y);
    return MEP_OK;
}

static mep_status time_addition(mep_device device, addition *a, mep_bench_lane *lane)
{
    const mep_bench_control few = {.repeats = 5, .seconds = 1};
    MEP_TRY(mep_bench_context_open(&a->place, device, 1, 1));
    MEP_TRY(mep_device_array(device, &a->x, a->count, sizeof(float)));
    MEP_TRY(mep_device_array(device, &a->y, a->count, sizeof(float)));
    *lane = (mep_bench_lane){.run = add, .context = a, .device = device, .work = 12 * (double)a->count};
    return mep_bench_measure(lane, 1, &few);
}

mep_status mep_bench_memory_rate(mep_device device, int64_t count, double *rate)
{
    addition a = {.count = count};
    mep_bench_lane *lane = NULL;
    MEP_TRY(mep_alloc(&lane, 1, sizeof *lane));
    mep_status status = time_addition(device, &a, lane);
    if (status == MEP_OK) *rate = mep_bench_figures_of(lane, lane).rate.best;
    mep_bench_context_close(&a.place);
    mep_device_release(device, &a.x);
    mep_device_release(device, &a.y);
    mep_free(&lane);
    return status;
}
