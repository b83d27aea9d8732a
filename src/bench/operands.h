/* SPDX-License-Identifier: MIT */
/*
 * What several measurements compute with: random operands, an execution context, and the two ceilings (a square matrix
 * product for arithmetic, a vector addition for memory).
 */
#ifndef MEP_BENCH_OPERANDS_H
#define MEP_BENCH_OPERANDS_H

#include "bench/timer.h"
#include "mep/device.h"
#include "nn/network.h"

/* Allocate `count` random normal values of `dtype` (float32 or bfloat16) in device memory into the pointer at `data`.
 * The caller frees them with mep_device_release. The values repeat with a period of 1,000,003, a prime. */
mep_status mep_bench_random(mep_device device, void **data, mep_dtype dtype, int64_t count);

/* Open the execution context of a device, for calls of up to `rows` rows of up to `width` columns (nn/network.h). */
mep_status mep_bench_context_open(mep_context *context, mep_device device, int64_t rows, int64_t width);
void mep_bench_context_close(mep_context *context);

/* The arithmetic ceiling: a square matrix product, computed on the device as the network computes its products. For
 * bfloat16 on a CPU below AVX-512, where such products are computed in float32, it is the float32 product. */
typedef struct mep_bench_ceiling {
    mep_context context;
    mep_gemm product;
} mep_bench_ceiling;

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, mep_device device, int64_t size, mep_dtype dtype);
void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling);

/* Set `task` to the computation of the ceiling. */
void mep_bench_ceiling_task(mep_bench_ceiling *ceiling, mep_bench_task *task);

/* The memory ceiling: the rate, in 1e9 bytes per second, at which the device adds one vector of `count` float32 values
 * to another (12 bytes per value). It is the best of a few samples. */
mep_status mep_bench_memory_rate(mep_device device, int64_t count, double *rate);

#endif
