/* SPDX-License-Identifier: MIT */
/*
 * Linked into every test program: where MEP_CPU names a CPU level that this machine does not have, the test is skipped
 * instead of passing under another level. A test of MEP_TEST_OTHER_LEVEL is also skipped where MEP_CPU names the level
 * that the machine has without it, under which the test runs by its own name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "mep/types.h"

__attribute__((constructor)) static void skip_without_level(void)
{
    const char *level = getenv("MEP_CPU");
    if (level == NULL || *level == '\0') return;
    if (strcmp(level, mep_cpu_level_name()) != 0) {
        const char *missing = strcmp(level, "amx_bf16") == 0 ? mep_cpu_level_missing(MEP_CPU_AMX_BF16) : NULL;
        printf("skipped: this machine has no CPU level %s%s%s\n", level, missing == NULL ? "" : ": ",
               missing == NULL ? "" : missing);
        exit(77);
    }
    if (getenv("MEP_TEST_OTHER_LEVEL") != NULL && mep_cpu_level_get() == mep_cpu_level_detected()) {
        printf("skipped: %s is the CPU level of this machine without MEP_CPU\n", level);
        exit(77);
    }
}
