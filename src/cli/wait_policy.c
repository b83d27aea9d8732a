/* SPDX-License-Identifier: MIT */
/*
 * Sets GOMP_SPINCOUNT for this program. The two values are measured: docs/performance.md.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/wait_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "mep/types.h"

enum { SAMPLES = 4 };

const char *mep_cli_spin_count(long others, long threads, long cores)
{
    return others + threads > cores ? "100" : "20000";
}

long mep_cli_running_threads(const char *loadavg)
{
    long running = 1;
    if (sscanf(loadavg, "%*f %*f %*f %ld/", &running) != 1 || running < 1) return 1;
    return running;
}

/* Running threads of other processes: the smallest of some samples, since many processes run only briefly. */
static long count_others(void)
{
    const struct timespec pause = {0, 2000000};
    long least = -1;
    for (int i = 0; i < SAMPLES; i++) {
        char text[128] = "";
        FILE *file = fopen("/proc/loadavg", "r");
        if (file == NULL) return 0;
        if (fgets(text, sizeof text, file) == NULL) text[0] = '\0';
        fclose(file);
        long others = mep_cli_running_threads(text) - 1; /* this one runs too */
        least = least < 0 || others < least ? others : least;
        if (least == 0) break;
        nanosleep(&pause, NULL);
    }
    return least;
}

void mep_cli_wait_policy(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL) return;
    const char *count = mep_cli_spin_count(count_others(), mep_set_threads(0), sysconf(_SC_NPROCESSORS_ONLN));
    if (setenv("GOMP_SPINCOUNT", count, 1) != 0) return;
    execv("/proc/self/exe", argv); /* if it fails, the program continues */
}
