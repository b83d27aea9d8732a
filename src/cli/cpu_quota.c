/* SPDX-License-Identifier: MIT */
/*
 * Quotas of control groups.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/cpu_quota.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mep/types.h"

enum { PATH = 2048, LINE = 1024 };

/* Read `count` numbers of a file, "150000 100000"; returns 0 if it has fewer ("max 100000"). */
static int read_numbers(const char *folder, const char *name, int count, double numbers[2])
{
    char path[PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    int found = file == NULL ? 0 : fscanf(file, count == 2 ? "%lf %lf" : "%lf", &numbers[0], &numbers[1]);
    if (file != NULL) fclose(file);
    return found == count;
}

/* The quota of one group; INFINITY if it has none. */
static double group_quota(const char *folder)
{
    double two[2] = {0}, quota[2] = {0}, period[2] = {0};
    if (read_numbers(folder, "cpu.max", 2, two) && two[0] > 0 && two[1] > 0) return two[0] / two[1];
    if (read_numbers(folder, "cpu.cfs_quota_us", 1, quota) && quota[0] > 0 &&
        read_numbers(folder, "cpu.cfs_period_us", 1, period) && period[0] > 0)
        return quota[0] / period[0];
    return INFINITY;
}

/* The smallest quota of a group and the groups above it, up to the mount. Groups that do not exist are skipped: in a
 * container the path may be that of the host. */
static double path_quota(const char *root, const char *mount, const char *group)
{
    char path[PATH];
    double least = INFINITY;
    int written = snprintf(path, sizeof path, "%s%s%s", root, mount, group);
    size_t top = strlen(root) + strlen(mount);
    if (written < 0 || (size_t)written >= sizeof path) return INFINITY;
    for (;;) {
        least = fmin(least, group_quota(path));
        char *slash = strrchr(path, '/');
        if (strlen(path) <= top || slash == NULL) return least;
        *slash = '\0';
    }
}

/* A line "NUMBER:CONTROLLERS:GROUP"; in version 2 the number is 0 and there are no controllers. */
static double line_quota(const char *root, char *line)
{
    char *controllers = strchr(line, ':'), *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (group == NULL) return INFINITY;
    line[strcspn(line, "\n")] = '\0';
    *controllers++ = *group++ = '\0';
    if (*controllers == '\0')
        return fmin(path_quota(root, "/sys/fs/cgroup", group), path_quota(root, "/sys/fs/cgroup/unified", group));
    for (char *name = strtok(controllers, ","); name != NULL; name = strtok(NULL, ","))
        if (strcmp(name, "cpu") == 0) return path_quota(root, "/sys/fs/cgroup/cpu", group);
    return INFINITY;
}

double mep_cpu_quota(const char *root)
{
    char path[PATH], line[LINE];
    double least = INFINITY;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) least = fmin(least, line_quota(root, line));
    if (file != NULL) fclose(file);
    return least;
}

void mep_cli_limit_threads(void)
{
    double quota = ceil(mep_cpu_quota(""));
    if (getenv("OMP_NUM_THREADS") == NULL && quota < mep_set_threads(0)) mep_set_threads((int)quota);
}
