/* SPDX-License-Identifier: MIT */
/*
 * A polite stop: the first SIGINT, SIGTERM, SIGHUP or SIGUSR1 (which batch systems send before the time is up, and
 * mpirun hands on) sets a flag that long runs look at; a second one ends the process at once.
 */
#ifndef MEP_CLI_INTERRUPT_H
#define MEP_CLI_INTERRUPT_H

#include <signal.h>

/* Not 0 once the user has asked to stop. */
extern volatile sig_atomic_t mep_interrupt_flag;

/* Install the handlers. A SIGHUP that is ignored (nohup) stays so. */
void mep_interrupt_install(void);

/* For the first of several processes, while it works: say a word about SIGTERM, which mpirun sends also when another
 * has died. */
void mep_interrupt_speak(int on);

/* For commands that save their work: neither a reader of the output that is gone nor a limit on the size of files ends
 * the process; both are then errors of a write. */
void mep_interrupt_outlive(void);

/* While on, a signal ends the process at once with MEP_EXIT_INTERRUPTED: there is nothing to save or to print yet, and
 * what is under way does not look at the flag. */
void mep_interrupt_leave(int on);

#endif
