/* SPDX-License-Identifier: MIT */
/*
 * Detection of the instruction set level, the thread count and the version.
 */
#include "base/cpu.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/amx.h"
#include "base/fork.h"
#include "mep/types.h"

static const char *const LEVEL_NAMES[] = {[MEP_CPU_C] = "c",
                                          [MEP_CPU_AVX2] = "avx2",
                                          [MEP_CPU_AVX512] = "avx512",
                                          [MEP_CPU_AVX512_BF16] = "avx512_bf16",
                                          [MEP_CPU_AMX_BF16] = "amx_bf16",
                                          [MEP_CPU_NEON] = "neon"};
static atomic_int current = -1;

enum { MOST_THREADS = 4096 }; /* as --threads of the program; OpenMP crashes where it cannot start its threads */

/* The highest level of vectors; the process needs no permission for it. */
static mep_cpu_level highest_of_vectors(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return MEP_CPU_C;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq"))
        return MEP_CPU_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? MEP_CPU_AVX512_BF16 : MEP_CPU_AVX512;
#else
    return (mep_cpu_level)(MEP_CPU_LEVELS - 1);
#endif
}

const char *mep_cpu_level_missing(mep_cpu_level level)
{
    mep_cpu_level highest = highest_of_vectors();
    if (level <= highest) return NULL;
#if defined(__x86_64__)
    if (level == MEP_CPU_AMX_BF16)
        return highest < MEP_CPU_AVX512_BF16 ? "the CPU has no AVX512_BF16" : mep_amx_missing();
#endif
    return "the CPU does not have it";
}

mep_cpu_level mep_cpu_level_detected(void)
{
#if defined(__x86_64__)
    if (mep_cpu_level_missing(MEP_CPU_AMX_BF16) == NULL) return MEP_CPU_AMX_BF16;
#endif
    return highest_of_vectors();
}

mep_cpu_level mep_cpu_level_set(mep_cpu_level level)
{
    current = (int)(mep_cpu_level_missing(level) == NULL ? level : mep_cpu_level_detected());
    return (mep_cpu_level)current;
}

mep_cpu_level mep_cpu_level_get(void)
{
    if (current < 0) {
        const char *text = getenv("MEP_CPU");
        int wanted = 0;
        while (wanted < MEP_CPU_LEVELS && (text == NULL || strcmp(text, LEVEL_NAMES[wanted]) != 0)) wanted++;
        int level = wanted < MEP_CPU_LEVELS && mep_cpu_level_missing((mep_cpu_level)wanted) == NULL
                        ? wanted
                        : (int)mep_cpu_level_detected(),
            unknown = -1;
        atomic_compare_exchange_strong(&current, &unknown, level); /* the first thread's, should two differ */
    }
    return (mep_cpu_level)current;
}

const char *mep_cpu_level_text(mep_cpu_level level)
{
    return LEVEL_NAMES[level];
}

const char *mep_cpu_level_name(void)
{
    return mep_cpu_level_text(mep_cpu_level_get());
}

int mep_set_threads(int n)
{
    if (mep_is_forked()) return 1;
    if (n > 0) omp_set_num_threads(n < MOST_THREADS ? n : MOST_THREADS);
    return omp_get_max_threads();
}

const char *mep_version(void)
{
    return MEP_VERSION;
}

int mep_abi_version(void)
{
    return MEP_ABI_VERSION;
}

int64_t mep_dtype_size(mep_dtype dtype)
{
    switch (dtype) {
    case MEP_FLOAT32:
        return 4;
    case MEP_BFLOAT16:
        return 2;
    case MEP_FLOAT64:
    case MEP_INT64:
        return 8;
    }
    return 0;
}

const char *mep_dtype_name(mep_dtype dtype)
{
    switch (dtype) {
    case MEP_FLOAT32:
        return "float32";
    case MEP_BFLOAT16:
        return "bfloat16";
    case MEP_FLOAT64:
        return "float64";
    case MEP_INT64:
        return "int64";
    }
    return "unknown";
}
