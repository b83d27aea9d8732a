/* SPDX-License-Identifier: MIT */
/*
 * Parts that several measurements share: random operands, the square product that is the ceiling of arithmetic, the
 * memory that the process has taken, and the conditions under which all of it was measured.
 */
#ifndef MEP_BENCH_PARTS_H
#define MEP_BENCH_PARTS_H

#include "bench/timer.h"
#include "mep/device.h"
#include "nn/device.h"

/* Allocate `count` random normal values of `dtype` (float32 or bfloat16) in the device's memory into the pointer at
 * `data`; freed with mep_device_release. They repeat after a million, a prime number of them. */
mep_status mep_bench_random(mep_device device, void **data, mep_dtype dtype, int64_t count);

/* The functions of a device, for calls of up to `rows` rows of up to `width` columns (nn/device.h). */
mep_status mep_bench_context_open(mep_context *place, mep_device device, int64_t rows, int64_t width);
void mep_bench_context_close(mep_context *place);

/* The ceiling: a square matrix product as the network's are made on the device, in a dtype. bfloat16 below AVX-512,
 * where such products are computed in float32, has float32's. */
typedef struct mep_bench_ceiling {
    mep_context place;
    mep_gemm product;
} mep_bench_ceiling;

mep_status mep_bench_ceiling_create(mep_bench_ceiling *ceiling, mep_device device, int64_t size, mep_dtype dtype);
void mep_bench_ceiling_destroy(mep_bench_ceiling *ceiling);

/* Make `lane` the ceiling's. */
void mep_bench_ceiling_lane(mep_bench_ceiling *ceiling, mep_bench_lane *lane);

/* 1e9 bytes a second that the device's memory gives and takes while one vector of `count` float32 is added to another
 * (12 bytes a number): the best of a few samples. */
mep_status mep_bench_memory_rate(mep_device device, int64_t count, double *rate);

/* How far the memory of the process (resident pages) rises: begin gives what there is now and forgets the peak,
 * growth the bytes by which the peak since then is above that. NaN where the system does not tell (Linux does). */
double mep_bench_memory_begin(void);
double mep_bench_memory_growth(double begin);

/* "AMD EPYC 9554", from /proc/cpuinfo; "unknown" elsewhere. `text` holds 128 characters. */
void mep_bench_processor(char text[128]);

/* "gcc 12.2.0"; "Release -O3 -g1". */
const char *mep_bench_compiler(void);
const char *mep_bench_build(void);

#endif
