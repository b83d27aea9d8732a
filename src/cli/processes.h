/* SPDX-License-Identifier: MIT */
/*
 * The program as one of several processes, started by mpirun or srun. The first one alone prints; a failure of any of
 * them is printed once, and ends all with its exit code.
 */
#ifndef MEP_CLI_PROCESSES_H
#define MEP_CLI_PROCESSES_H

#include "dist/dist.h"

/* The group; a group of one where the program was started by itself. */
mep_dist *mep_cli_group(void);

/* How many machines its processes are on. */
int64_t mep_cli_machines(void);

/* Join the others for a command that divides its work, or refuse one that does not (`divides` 0) where there are
 * others. Returns 0, or the exit code after a line on stderr. */
int mep_cli_join(const char *command, int divides);

/* Print a line (printf form) on stderr; where the others do not know yet, keep it for mep_cli_leave. */
void mep_cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bring all processes to their end; `code` is this one's exit code. Returns that of all. */
int mep_cli_leave(int code);

#endif
