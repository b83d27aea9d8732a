/* SPDX-License-Identifier: MIT */
/*
 * Joining and leaving the group of processes.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/processes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "dist/mpi.h"
#include "mep/types.h"

enum { LINE = 2048 };

/* What a process tells the others of itself. */
typedef struct card {
    char host[MEP_DIST_HOST], version[32], computes[96]; /* by which kernels */
} card;

static mep_dist group = {.size = 1};
static int64_t machines = 1;
static const char *name; /* of the command */
static char kept[LINE];  /* the last complaint */

mep_dist *mep_cli_group(void)
{
    return &group;
}

int64_t mep_cli_machines(void)
{
    return machines;
}

/* ---- Joining ---- */

static mep_status compare_cards(const card *all)
{
    const card *first = &all[0], *mine = &all[group.rank];
    machines = 0;
    for (int64_t r = 0; r < group.size; r++) {
        int64_t before = 0;
        while (strcmp(all[before].host, all[r].host) != 0) before++;
        machines += before == r;
    }
    if (strcmp(mine->version, first->version) != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "is mep %s, process 0 is mep %s; install the same one on all machines",
                        mine->version, first->version);
    for (int64_t r = 1; r < group.size && group.rank == 0; r++) {
        if (strcmp(all[r].computes, first->computes) == 0) continue;
        mep_cli_print(
            stderr,
            "mep %s: note: process %lld on %s computes with %s, process 0 with %s: results differ in the last "
            "bits from those of machines that are alike; mpirun -x MEP_CPU=LEVEL gives all the same level\n",
            name, (long long)r, all[r].host, all[r].computes, first->computes);
        break;
    }
    return MEP_OK;
}

/* All are of one version; whether they compute alike is only said. */
static mep_status meet(void)
{
    card *all, mine = {0};
    memcpy(mine.host, group.host, sizeof mine.host);
    snprintf(mine.version, sizeof mine.version, "%s", mep_version());
    snprintf(mine.computes, sizeof mine.computes, "%s", mep_cpu_level_name());
    mep_status status = mep_dist_agree(&group, mep_alloc(&all, group.size, sizeof *all));
    if (status == MEP_OK) status = mep_dist_gather(&group, &mine, sizeof mine, all);
    if (status == MEP_OK) status = mep_dist_agree(&group, compare_cards(all));
    mep_free(&all);
    return status;
}

int mep_cli_join(const char *command, int divides)
{
    int64_t started = mep_mpi_started();
    name = command;
    if (started == 1 || (started == 0 && !divides)) return MEP_EXIT_OK;
    if (!divides) return mep_cli_usage(command, "it works in one process; start it without mpirun");
    if (mep_mpi_open(&group) != MEP_OK || meet() != MEP_OK) return mep_cli_fail(command);
    setenv("NO_COLOR", "1", 0); /* mpirun gives us a terminal wherever its own output goes */
    if (group.rank == 0) mep_interrupt_speak(1);
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
    mep_one_line(kept);
    if (group.size == 1 || (group.settled && group.rank == 0)) fprintf(stderr, "%s\n", kept);
}

/* The failure of a process that the others do not know of: they are at their next agreement, or come to it. */
static int settle(int code)
{
    mep_status mine = code == MEP_EXIT_INTERRUPTED ? MEP_INTERRUPTED
                      : code == MEP_EXIT_USAGE     ? MEP_ERROR_ARGUMENT
                                                   : MEP_ERROR_IO;
    size_t start = strncmp(kept, "mep ", 4) == 0 ? 4 + strlen(name) + 2 : 0; /* behind "mep NAME: " */
    mep_status status = mep_dist_agree(&group, code == MEP_EXIT_OK ? MEP_OK : mep_fail(mine, "%s", kept + start));
    if (group.rank == 0 && status != MEP_OK && !group.broken)
        fprintf(stderr, "mep %s: %s\n", name, mep_error_message());
    return code == MEP_EXIT_OK && status != MEP_OK ? MEP_EXIT_FAILED : code;
}

int mep_cli_leave(int code)
{
    mep_interrupt_speak(0); /* mpirun may end us while the others leave */
    if (group.size > 1 && !group.settled && !group.broken) code = settle(code);
    if (group.broken) fprintf(stderr, "mep: process %lld on %s: %s\n", (long long)group.rank, group.host, kept);
    fflush(stdout);
    mep_mpi_close(&group, code, group.broken);
    return code;
}
