/* SPDX-License-Identifier: MIT */
/*
 * Sets GOMP_SPINCOUNT for this program.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/wait_policy.h"

#include <stdlib.h>
#include <unistd.h>

void mep_cli_wait_policy(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL) return;
    if (setenv("GOMP_SPINCOUNT", "20000", 1) != 0) return;
    execv("/proc/self/exe", argv); /* where that cannot be, go on as we are */
}
