/* SPDX-License-Identifier: MIT */
/*
 * Detection of AMX, and the request for tile registers. A thread's tile registers are part of its state that the
 * operating system saves, 8 KB, so Linux (5.16 and later) leaves them disabled until the process asks for them.
 */
#define _GNU_SOURCE
#include "base/amx.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bits of CPUID leaf 7, EDX, and of leaf 1, ECX; bits 17 and 18 of XCR0; operation and argument of arch_prctl. */
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, OSXSAVE = 1 << 27 };
enum { TILE_STATE = 3 << 17, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

static int has_instructions(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_BF16) != 0 && (d & AMX_TILE) != 0;
}

/* Whether the operating system saves the configuration and the data of tiles. */
static int saves_tiles(void)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & OSXSAVE) == 0) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILE_STATE) == TILE_STATE;
}

const char *mep_amx_missing(void)
{
    if (!has_instructions()) return "the CPU has no AMX (AMX-TILE and AMX-BF16)";
    if (!saves_tiles()) return "the operating system does not save AMX's tile registers";
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0) return NULL;
    if (errno == ENOSPC) return "a thread's alternate signal stack is too small for AMX's tile registers";
    return "the operating system does not let this process use AMX's tile registers (Linux 5.16 or later does)";
}
#else
const char *mep_amx_missing(void)
{
    return "libmep uses AMX on Linux for x86-64 only";
}
#endif
