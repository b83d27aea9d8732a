/* SPDX-License-Identifier: MIT */
/*
 * CPU time that a control group (a container, a batch job) grants, in CPUs. OpenMP's own number of threads honours the
 * affinity mask, but not this.
 */
#ifndef MEP_CLI_CPU_QUOTA_H
#define MEP_CLI_CPU_QUOTA_H

/* The smallest quota of the groups that /proc/self/cgroup names and of those above them, of version 1 or 2; INFINITY
 * where there is none. `root` is put before every path: "" for this machine's. */
double mep_cpu_quota(const char *root);

/* Let the program use no more threads than the quota has CPUs, rounded up, unless OMP_NUM_THREADS is set: more would
 * only be stopped more often. */
void mep_cli_limit_threads(void);

#endif
