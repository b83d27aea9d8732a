/* SPDX-License-Identifier: MIT */
/*
 * Instruction set levels. Kernel tables are filled with plain C first, then replaced by one level after the other.
 */
#ifndef MEP_BASE_CPU_H
#define MEP_BASE_CPU_H

#ifdef __cplusplus
extern "C" {
#endif

/* The levels of the architecture that this is compiled for come first, in ascending order: 0 .. MEP_CPU_LEVELS - 1.
 * Levels of other architectures follow; no machine has them. */
typedef enum mep_cpu_level {
    MEP_CPU_C = 0,
#if defined(__aarch64__)
    MEP_CPU_NEON, /* every 64-bit Arm has it, with FMA */
    MEP_CPU_LEVELS,
    MEP_CPU_AVX2 = MEP_CPU_LEVELS,
    MEP_CPU_AVX512,
    MEP_CPU_AVX512_BF16,
    MEP_CPU_AMX_BF16,
#elif defined(__x86_64__)
    MEP_CPU_AVX2,        /* AVX2, FMA */
    MEP_CPU_AVX512,      /* AVX-512 F, VL, BW, DQ */
    MEP_CPU_AVX512_BF16, /* the same and AVX512_BF16 */
    MEP_CPU_AMX_BF16,    /* the same and AMX-BF16 */
    MEP_CPU_LEVELS,
    MEP_CPU_NEON = MEP_CPU_LEVELS,
#else
    MEP_CPU_LEVELS,
    MEP_CPU_NEON = MEP_CPU_LEVELS,
    MEP_CPU_AVX2,
    MEP_CPU_AVX512,
    MEP_CPU_AVX512_BF16,
    MEP_CPU_AMX_BF16,
#endif
} mep_cpu_level;

/* The level in force: the machine's (mep_cpu_level_detected), or that which the environment variable MEP_CPU names, if
 * the machine has it. Both are read once. */
mep_cpu_level mep_cpu_level_get(void);

/* Set a level, for tests and benchmarks; one that the machine does not have is lowered to the machine's. Returns the
 * level now in force. Not thread-safe. */
mep_cpu_level mep_cpu_level_set(mep_cpu_level level);

/* The machine's highest level, which is in force without MEP_CPU. MEP_CPU and mep_cpu_level_set do not change it. On a
 * CPU with AMX this requests the kernel's permission to use tile registers, for the process. */
mep_cpu_level mep_cpu_level_detected(void);

/* What this machine lacks for the level, as a sentence without its end; NULL where the machine has the level. For
 * amx_bf16 this requests that permission; for the others it does not. */
const char *mep_cpu_level_missing(mep_cpu_level level);

/* "c", "avx2", "avx512", "avx512_bf16", "amx_bf16", "neon". */
const char *mep_cpu_level_text(mep_cpu_level level);

#ifdef __cplusplus
}
#endif

#endif
