/* SPDX-License-Identifier: MIT */
/*
 * What the system reports about the CPU and the memory of this process.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "bench/conditions.h"

/* Find the first line "KEY...: TEXT" of a file. Returns 0 if there is none. */
static int find_line(const char *path, const char *key, char *text, size_t size)
{
    char line[512];
    int found = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon == NULL || strncmp(line, key, strlen(key)) != 0) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(text, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = 1;
    }
    fclose(file);
    return found;
}

/* The bytes of a line of /proc/self/status, for example "VmHWM:  1234 kB". */
static double status_bytes(const char *key)
{
    char text[64];
    return find_line("/proc/self/status", key, text, sizeof text) ? 1024 * strtod(text, NULL) : (double)NAN;
}

double mep_bench_memory_begin(void)
{
#if defined(__GLIBC__)
    malloc_trim(0); /* free memory that malloc keeps would hide later allocations */
#endif
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return (double)NAN;
    int written = fputs("5", file) >= 0; /* 5 resets the peak */
    if (fclose(file) != 0 || !written) return (double)NAN;
    return status_bytes("VmRSS");
}

double mep_bench_memory_growth(double begin)
{
    double growth = status_bytes("VmHWM") - begin;
    return growth < 0 ? 0 : growth;
}

void mep_bench_processor(char text[128])
{
    if (!find_line("/proc/cpuinfo", "model name", text, 128)) snprintf(text, 128, "unknown");
}

const char *mep_bench_compiler(void)
{
#if defined(__clang__)
    return __VERSION__;
#else
    return "gcc " __VERSION__;
#endif
}

const char *mep_bench_build(void)
{
    return MEP_BUILD;
}
