/* SPDX-License-Identifier: MIT */
/*
 * How OpenMP's threads wait for each other.
 */
#ifndef MEP_CLI_WAIT_POLICY_H
#define MEP_CLI_WAIT_POLICY_H

/* Choose how long waiting threads spin before they give up their core: a while where the cores are free, which is
 * fastest then, and hardly at all where other processes want them too, since spinning threads then keep each other from
 * working. GNU OpenMP reads the setting when the program is loaded, so the program starts itself again, once. A user's
 * own OMP_WAIT_POLICY or GOMP_SPINCOUNT is left alone. */
void mep_cli_wait_policy(char **argv);

/* Value of GOMP_SPINCOUNT for a program of `threads` threads on `cores` cores next to `others` threads that run. */
const char *mep_cli_spin_count(long others, long threads, long cores);

/* Threads that run or want to, from the text of /proc/loadavg; 1, the reader, where it says nothing. */
long mep_cli_running_threads(const char *loadavg);

#endif
