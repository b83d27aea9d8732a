/* SPDX-License-Identifier: MIT */
/*
 * The program as one of several processes, started by mpirun or srun. Only the first one prints. A failure of one is
 * printed once, and ends all of them with its exit code.
 */
#ifndef MEP_CLI_PROCESSES_H
#define MEP_CLI_PROCESSES_H

#include "mep/dist.h"

/* The group, after mep_cli_join; a group of one if the program was started alone. */
mep_dist *mep_cli_group(void);

/* The number of processes of the group, and of the machines that they are on. */
int64_t mep_cli_processes(void);
int64_t mep_cli_machines(void);

/* 1 in the process that prints: the first one. */
int mep_cli_is_first(void);

/* Join the other processes for a command that divides its work. If there are others, refuse a command that does not
 * (`divides` 0). Returns 0, or the exit code after a line on stderr. */
int mep_cli_join(const char *command, int divides);

/* End all processes; `code` is the exit code of this one. Returns the exit code of all. */
int mep_cli_leave(int code);

#endif
