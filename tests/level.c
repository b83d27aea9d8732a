/* SPDX-License-Identifier: MIT */
/*
 * Linked into every test program: where MEP_CPU names a CPU level that this machine does not have, the test is skipped
 * instead of passing under another level.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "mep/types.h"

__attribute__((constructor)) static void skip_without_level(void)
{
    const char *level = getenv("MEP_CPU");
    if (level == NULL || *level == '\0' || strcmp(level, mep_cpu_level_name()) == 0) return;
    printf("skipped: this machine has no CPU level %s\n", level);
    exit(77);
}
