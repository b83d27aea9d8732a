/* SPDX-License-Identifier: MIT */
/*
 * Joining and leaving the group of processes.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/processes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/mpi.h"
#include "mep/types.h"

enum { HOST = 64 };

/* What a process tells the others about itself. */
typedef struct process_info {
    char host[HOST], version[32], level[96]; /* level: of the CPU, which chooses the kernels */
} process_info;

static mep_dist *group; /* NULL before mep_cli_join */
static int64_t machines = 1;
static const char *name; /* of the command */

mep_dist *mep_cli_group(void)
{
    return group;
}

int64_t mep_cli_processes(void)
{
    return group != NULL ? mep_dist_size(group) : 1;
}

int mep_cli_is_first(void)
{
    return mep_dist_rank(group) == 0;
}

int64_t mep_cli_machines(void)
{
    return machines;
}

/* ---- Joining ---- */

/* Count the machines, require the version of process 0, and note a process with another CPU level. */
static mep_status compare_processes(const process_info *all)
{
    const process_info *first = &all[0], *mine = &all[mep_dist_rank(group)];
    machines = 0;
    for (int64_t r = 0; r < mep_cli_processes(); r++) {
        int64_t before = 0;
        while (strcmp(all[before].host, all[r].host) != 0) before++;
        machines += before == r;
    }
    if (strcmp(mine->version, first->version) != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "is mep %s, process 0 is mep %s; install the same one on all machines",
                        mine->version, first->version);
    for (int64_t r = 1; r < mep_cli_processes() && mep_cli_is_first(); r++) {
        if (strcmp(all[r].level, first->level) == 0) continue;
        mep_cli_print(
            stderr,
            "mep %s: note: process %lld on %s computes with %s, process 0 with %s: results differ in the last "
            "bits from those of equal machines; mpirun -x MEP_CPU=LEVEL gives all processes the same level\n",
            name, (long long)r, all[r].host, all[r].level, first->level);
        break;
    }
    return MEP_OK;
}

/* Check that all processes have the same version. A different CPU level is only a note. */
static mep_status meet(void)
{
    process_info *all, mine = {0};
    snprintf(mine.host, sizeof mine.host, "%s", mep_dist_host(group));
    snprintf(mine.version, sizeof mine.version, "%s", mep_version());
    snprintf(mine.level, sizeof mine.level, "%s", mep_cpu_level_name());
    mep_status status = mep_dist_agree(group, MEP_ALLOC(&all, mep_cli_processes()));
    if (status == MEP_OK) status = mep_dist_gather(group, &mine, sizeof mine, all);
    if (status == MEP_OK) status = mep_dist_agree(group, compare_processes(all));
    mep_free(&all);
    return status;
}

int mep_cli_join(const char *command, int divides)
{
    int64_t started = mep_mpi_started();
    name = command;
    if (started == 1 || (started == 0 && !divides)) {
        const mep_dist_settings alone = {.size = 1};
        return mep_dist_create(&group, &alone) == MEP_OK ? MEP_EXIT_OK : mep_cli_fail(command);
    }
    if (!divides) return mep_cli_usage(command, "it works in one process; start it without mpirun");
    if (mep_mpi_open(&group) != MEP_OK) return mep_cli_fail(command);
    mep_cli_complain_in(group);
    if (meet() != MEP_OK) return mep_cli_fail(command);
    setenv("NO_COLOR", "1", 0); /* mpirun gives us a terminal, whether its own output goes to one or not */
    if (mep_cli_is_first()) mep_interrupt_print_sigterm(1);
    if (!mep_cli_is_first() && freopen("/dev/null", "w", stdout) == NULL)
        return mep_cli_usage(command, "/dev/null cannot be opened");
    return MEP_EXIT_OK;
}

/* Report a failure that the other processes do not know of: they wait at their next agreement, or come to it. */
static int settle(int code)
{
    mep_status mine = code == MEP_EXIT_INTERRUPTED ? MEP_INTERRUPTED
                      : code == MEP_EXIT_USAGE     ? MEP_ERROR_ARGUMENT
                                                   : MEP_ERROR_IO;
    const char *kept = mep_cli_complaint();
    size_t start = strncmp(kept, "mep ", 4) == 0 ? 4 + strlen(name) + 2 : 0; /* after "mep NAME: " */
    mep_status status = mep_dist_agree(group, code == MEP_EXIT_OK ? MEP_OK : mep_fail(mine, "%s", kept + start));
    if (mep_cli_is_first() && status != MEP_OK && !mep_dist_is_broken(group))
        fprintf(stderr, "mep %s: %s\n", name, mep_error_message());
    return code == MEP_EXIT_OK && status != MEP_OK ? MEP_EXIT_FAILED : code;
}

int mep_cli_leave(int code)
{
    mep_interrupt_print_sigterm(0); /* mpirun may end us while the others leave */
    int is_broken = mep_dist_is_broken(group);
    if (mep_cli_processes() > 1 && !mep_dist_is_settled(group) && !is_broken) code = settle(code);
    is_broken = mep_dist_is_broken(group);
    if (is_broken)
        fprintf(stderr, "mep: process %lld on %s: %s\n", (long long)mep_dist_rank(group), mep_dist_host(group),
                mep_cli_complaint());
    fflush(stdout);
    mep_cli_complain_in(NULL);
    mep_mpi_close(&group, code, is_broken);
    return code;
}
