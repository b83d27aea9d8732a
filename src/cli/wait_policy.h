/* SPDX-License-Identifier: MIT */
/*
 * How OpenMP's threads wait for each other.
 */
#ifndef MEP_CLI_WAIT_POLICY_H
#define MEP_CLI_WAIT_POLICY_H

/* Let waiting threads give up their core after some 20 microseconds rather than milliseconds: as fast on an idle
 * machine, and several times faster on a shared one, where spinning threads keep each other from working. GNU OpenMP
 * reads the setting when the program is loaded, so the program starts itself again, once. A user's own OMP_WAIT_POLICY
 * or GOMP_SPINCOUNT is left alone. */
void mep_cli_wait_policy(char **argv);

#endif
