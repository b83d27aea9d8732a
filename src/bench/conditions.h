/* SPDX-License-Identifier: MIT */
/*
 * The conditions of a measurement: the CPU, the compiler, and the memory of this process.
 */
#ifndef MEP_BENCH_CONDITIONS_H
#define MEP_BENCH_CONDITIONS_H

/* Measure the growth of the process's resident memory in bytes. mep_bench_memory_begin resets the peak and returns the
 * present size; mep_bench_memory_growth returns how far the peak since then is above that size. NaN if the system does
 * not report it (Linux does). */
double mep_bench_memory_begin(void);
double mep_bench_memory_growth(double begin);

/* The name of the CPU from /proc/cpuinfo, for example "AMD EPYC 9554"; "unknown" elsewhere. */
void mep_bench_processor(char text[128]);

/* The compiler and the flags of this build, for example "gcc 12.2.0" and "Release -O3 -g1". */
const char *mep_bench_compiler(void);
const char *mep_bench_build(void);

#endif
