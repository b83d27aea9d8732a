/* SPDX-License-Identifier: MIT */
/*
 * Random operands, and the ceiling that is made of them.
 */
#include <stdio.h>

#include "base/bf16.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bench/parts.h"

mep_status mep_bench_random(void **data, mep_dtype dtype, int64_t count)
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

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, int64_t size, mep_dtype dtype)
{
    if (mep_cpu_level_get() < MEP_CPU_AVX512) dtype = MEP_FLOAT32;
    mep_matrix m = {NULL, dtype, size, 0, 0};
    ceiling->product = (mep_gemm){.m = size, .n = size, .k = size, .a = m, .b = m, .c = m};
    MEP_TRY(mep_bench_random(&ceiling->product.a.data, dtype, size * size));
    MEP_TRY(mep_bench_random(&ceiling->product.b.data, dtype, size * size));
    return mep_alloc(&ceiling->product.c.data, size * size, (size_t)mep_dtype_size(dtype));
}

void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling)
{
    mep_free(&ceiling->product.a.data);
    mep_free(&ceiling->product.b.data);
    mep_free(&ceiling->product.c.data);
}

static mep_status multiply(void *context)
{
    return mep_gemm_run(&((mep_bench_ceiling *)context)->product);
}

void mep_bench_ceiling_lane(mep_bench_ceiling *ceiling, mep_bench_lane *lane)
{
    const mep_gemm *g = &ceiling->product;
    *lane = (mep_bench_lane){
        .run = multiply, .context = ceiling, .is_ceiling = 1, .work = 2.0 * (double)g->m * (double)g->n * (double)g->k};
    snprintf(lane->name, sizeof lane->name, "ceiling %s", mep_dtype_name(g->a.dtype));
}
