/* SPDX-License-Identifier: MIT */
/*
 * Stopping by a signal. The first SIGINT, SIGTERM, SIGHUP or SIGUSR1 (which batch systems send before a time limit, and
 * mpirun forwards) sets a flag that long commands check. The second one ends the process immediately.
 */
#ifndef MEP_CLI_INTERRUPT_H
#define MEP_CLI_INTERRUPT_H

#include <signal.h>

/* Not 0 after the first signal. */
extern volatile sig_atomic_t mep_interrupt_flag;

/* Install the handlers. A SIGHUP that is ignored (nohup) stays ignored. */
void mep_interrupt_install(void);

/* For the first of several processes, while it works: print a line at SIGTERM, which mpirun also sends when another
 * process has died. */
void mep_interrupt_print_sigterm(int on);

/* For commands that save their work: a closed pipe and a limit on the size of files do not end the process, but become
 * errors of a write. */
void mep_interrupt_keep_running(void);

/* While on, a signal ends the process immediately with MEP_EXIT_INTERRUPTED: there is nothing to save or to print yet,
 * and the running code does not check the flag. */
void mep_interrupt_exit_at_once(int on);

#endif
