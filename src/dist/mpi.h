/* SPDX-License-Identifier: MIT */
/*
 * The group of processes that mpirun or srun has started, by MPI. For the program, not for the library. MPI is in a
 * shared object of its own, libmep-mpi.so, so that a program started by itself neither loads MPI nor needs it.
 */
#ifndef MEP_DIST_MPI_H
#define MEP_DIST_MPI_H

#include "dist/dist.h"

/* What libmep-mpi.so has under the name mep_mpi_entry. */
typedef struct mep_mpi_module {
    int (*join)(mep_dist *group, char *text, int size); /* returns as mep_dist_transport do */
    void (*leave)(int code, int at_once);
    const char *(*name)(void);
} mep_mpi_module;
extern const mep_mpi_module mep_mpi_entry;

/* Processes that this one was started with, from the environment alone: 1 where it was started by itself, 0 where the
 * launcher does not say. */
int64_t mep_mpi_started(void);

/* Join the group. A process that was started by itself is alone. MEP_ERROR_UNSUPPORTED where the build has no MPI, or
 * MPI cannot be loaded or started. To be ended by mep_mpi_close. */
mep_status mep_mpi_open(mep_dist *group);

/* Leave the group; all processes have to, and wait for each other. With `at_once` all others are ended with `code`
 * instead, and the call does not return. */
void mep_mpi_close(mep_dist *group, int code, int at_once);

/* "Open MPI v4.1.4", or "none" and why. Loads MPI. */
const char *mep_mpi_name(void);

#endif
