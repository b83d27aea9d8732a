/* SPDX-License-Identifier: MIT */
/*
 * How OpenMP's threads wait for each other.
 */
#ifndef MEP_CLI_WAIT_POLICY_H
#define MEP_CLI_WAIT_POLICY_H

/* Let waiting threads give up their core after a short spin rather than a long one: as fast on an idle
 * machine, and more than twice as fast on a shared one, where spinning threads keep each other from working. GNU OpenMP
 * reads the setting when the program is loaded, so the program starts itself again, once. A user's own OMP_WAIT_POLICY
 * or GOMP_SPINCOUNT is left alone. */
void mep_cli_wait_policy(char **argv);

#endif
