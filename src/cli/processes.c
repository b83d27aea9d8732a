/* SPDX-License-Identifier: MIT */
/*
 * Joining and leaving the group of processes.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/processes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "dist/mpi.h"

enum { LINE = 2048 };

static mep_dist group = {.size = 1};
static char kept[LINE]; /* the last complaint */

mep_dist *mep_cli_group(void)
{
    return &group;
}

int mep_cli_join(const char *command, int divides)
{
    int64_t started = mep_mpi_started();
    if (started == 1 || (started == 0 && !divides)) return MEP_EXIT_OK;
    if (!divides) return mep_cli_usage(command, "it works in one process; start it without mpirun");
    if (mep_mpi_open(&group) != MEP_OK) return mep_cli_fail(command);
    setenv("NO_COLOR", "1", 0); /* mpirun gives us a terminal wherever its own output goes */
    if (group.rank == 0) mep_interrupt_speak();
    if (group.rank > 0 && freopen("/dev/null", "w", stdout) == NULL)
        return mep_cli_usage(command, "/dev/null cannot be opened");
    return MEP_EXIT_OK;
}

void mep_cli_complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(kept, sizeof kept, format, args);
    va_end(args);
    if (group.size == 1 || (group.settled && group.rank == 0)) fprintf(stderr, "%s\n", kept);
}

/* The failure of a process that the others do not know of: they are at their next agreement, or come to it. */
static int settle(int code)
{
    mep_status mine = code == MEP_EXIT_INTERRUPTED ? MEP_INTERRUPTED
                      : code == MEP_EXIT_USAGE     ? MEP_ERROR_ARGUMENT
                                                   : MEP_ERROR_IO;
    mep_status status = mep_dist_agree(&group, code == MEP_EXIT_OK ? MEP_OK : mep_fail(mine, "%s", kept));
    if (group.rank == 0 && status != MEP_OK && !group.broken) fprintf(stderr, "%s\n", mep_error_message());
    return code == MEP_EXIT_OK && status != MEP_OK ? MEP_EXIT_FAILED : code;
}

int mep_cli_leave(int code)
{
    if (group.size > 1 && !group.settled && !group.broken) code = settle(code);
    if (group.broken) fprintf(stderr, "mep: process %lld: %s\n", (long long)group.rank, kept);
    fflush(stdout);
    mep_mpi_close(&group, code, group.broken);
    return code;
}
