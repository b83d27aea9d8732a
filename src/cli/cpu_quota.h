/* SPDX-License-Identifier: MIT */
/*
 * The CPU time that a control group (a container, a batch job) grants, in CPUs. OpenMP's number of threads respects the
 * affinity mask, but not this quota.
 */
#ifndef MEP_CLI_CPU_QUOTA_H
#define MEP_CLI_CPU_QUOTA_H

/* The smallest quota of the groups of /proc/self/cgroup and of the groups above them, of version 1 or 2; INFINITY if
 * there is none. `root` is a prefix of every path; "" in the program. */
double mep_cpu_quota(const char *root);

/* Limit the number of threads to the CPUs of the quota, rounded up, unless OMP_NUM_THREADS is set. More threads would
 * only be stopped more often. */
void mep_cli_limit_threads(void);

#endif
