/* SPDX-License-Identifier: MIT */
/*
 * Operands in device memory, and the ceilings.
 */
#include <stdio.h>

#include "base/bf16.h"
#include "base/backend.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/operands.h"

/* Allocate random values in host memory. */
static mep_status make_random(void **data, mep_dtype dtype, int64_t count)
{
    enum { PERIOD = 1000003 };
    float *pool = NULL;
    int64_t size = min_i64(count, PERIOD);
    mep_status status;
    MEP_TRY(MEP_ALLOC(&pool, size));
    MEP_TRY_OR(status, mep_alloc(data, count, (size_t)mep_dtype_size(dtype)), end);
    void *out = *data;
#pragma omp parallel for
    for (int64_t i = 0; i < size; i++) pool[i] = (float)mep_random_normal(1, 0, (uint64_t)i);
    if (dtype == MEP_BFLOAT16) {
#pragma omp parallel for
        for (int64_t i = 0; i < count; i++) ((mep_bf16 *)out)[i] = mep_bf16_from_float(pool[i % size]);
    } else {
#pragma omp parallel for
        for (int64_t i = 0; i < count; i++) ((float *)out)[i] = pool[i % size];
    }
end:
    mep_free(&pool);
    return status;
}

mep_status mep_bench_random(mep_device device, void **data, mep_dtype dtype, int64_t count)
{
    void *values = NULL;
    mep_status status;
    if (mep_device_is_host(device)) return make_random(data, dtype, count);
    MEP_TRY_OR(status, make_random(&values, dtype, count), end);
    MEP_TRY_OR(status, mep_device_array(device, data, count, mep_dtype_size(dtype)), end);
    status = mep_device_write(device, *data, values, count * mep_dtype_size(dtype));
end:
    mep_free(&values);
    return status;
}

mep_status mep_bench_context_open(mep_context *context, mep_device device, int64_t rows, int64_t width)
{
    *context = (mep_context){.device = device};
    MEP_TRY(mep_device_check(device));
    context->nn = mep_backend_of(device)->network;
    return context->nn->create(&context->state, rows, width);
}

void mep_bench_context_close(mep_context *context)
{
    if (context->state != NULL) context->nn->destroy(&context->state);
}

/* ---- Ceilings ---- */

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, mep_device device, int64_t size, mep_dtype dtype)
{
    if (mep_device_is_host(device) && mep_cpu_level_get() < MEP_CPU_AVX512) dtype = MEP_FLOAT32;
    mep_matrix m = {.dtype = dtype, .stride = size};
    *ceiling = (mep_bench_ceiling){.product = {.m = size, .n = size, .k = size, .a = m, .b = m, .c = m}};
    MEP_TRY(mep_bench_context_open(&ceiling->context, device, size, size));
    MEP_TRY(mep_bench_random(device, &ceiling->product.a.data, dtype, size * size));
    MEP_TRY(mep_bench_random(device, &ceiling->product.b.data, dtype, size * size));
    return mep_device_array(device, &ceiling->product.c.data, size * size, mep_dtype_size(dtype));
}

void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling)
{
    mep_device device = ceiling->context.device;
    mep_bench_context_close(&ceiling->context);
    mep_device_release(device, &ceiling->product.a.data);
    mep_device_release(device, &ceiling->product.b.data);
    mep_device_release(device, &ceiling->product.c.data);
}

static mep_status multiply(void *context)
{
    const mep_bench_ceiling *ceiling = context;
    return ceiling->context.nn->gemm(ceiling->context.state, &ceiling->product);
}

void mep_bench_ceiling_task(mep_bench_ceiling *ceiling, mep_bench_task *task)
{
    const mep_gemm *g = &ceiling->product;
    *task = (mep_bench_task){.run = multiply,
                             .context = ceiling,
                             .is_ceiling = 1,
                             .device = ceiling->context.device,
                             .work = 2.0 * (double)g->m * (double)g->n * (double)g->k};
    snprintf(task->name, sizeof task->name, "ceiling %s", mep_dtype_name(g->a.dtype));
}

typedef struct addition {
    mep_context context;
    int64_t count;
    void *x, *y;
} addition;

static mep_status add(void *context)
{
    const addition *a = context;
    a->context.nn->add(a->context.state, a->count, a->x, a->y);
    return MEP_OK;
}

static mep_status time_addition(mep_device device, addition *a, mep_bench_task *task)
{
    const mep_bench_control few = {.repeats = 5, .seconds = 1};
    MEP_TRY(mep_bench_context_open(&a->context, device, 1, 1));
    MEP_TRY(mep_device_array(device, &a->x, a->count, sizeof(float)));
    MEP_TRY(mep_device_array(device, &a->y, a->count, sizeof(float)));
    *task = (mep_bench_task){.run = add, .context = a, .device = device, .work = 12 * (double)a->count};
    return mep_bench_measure(task, 1, &few);
}

mep_status mep_bench_memory_rate(mep_device device, int64_t count, double *rate)
{
    addition a = {.count = count};
    mep_bench_task *task = NULL;
    mep_status status;
    MEP_TRY(MEP_ALLOC(&task, 1));
    MEP_TRY_OR(status, time_addition(device, &a, task), end);
    *rate = mep_bench_figures_of(task, task).rate.best;
end:
    mep_bench_context_close(&a.context);
    mep_device_release(device, &a.x);
    mep_device_release(device, &a.y);
    mep_free(&task);
    return status;
}
