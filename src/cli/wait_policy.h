/* SPDX-License-Identifier: MIT */
/*
 * The way in which OpenMP's threads wait for each other.
 */
#ifndef MEP_CLI_WAIT_POLICY_H
#define MEP_CLI_WAIT_POLICY_H

/* Choose how long waiting threads spin before they release their core: long if the cores are free, which is fastest,
 * and very briefly if other processes use them, since spinning threads would keep others from working. GNU OpenMP reads
 * the setting when the program is loaded, so the program executes itself again, once. OMP_WAIT_POLICY and
 * GOMP_SPINCOUNT of the user are respected. */
void mep_cli_wait_policy(char **argv);

/* The value of GOMP_SPINCOUNT for `threads` threads on `cores` cores while `others` threads run. */
const char *mep_cli_spin_count(long others, long threads, long cores);

/* The number of running threads, from the text of /proc/loadavg; 1 (the caller) if it has no number. */
long mep_cli_running_threads(const char *loadavg);

#endif
