/* SPDX-License-Identifier: MIT */
/*
 * The group of processes that mpirun or srun has started, connected by MPI. For the program, not for the library. MPI
 * is in a separate shared object, libmep-mpi.so, so that a program started without a launcher neither loads nor needs
 * MPI.
 */
#ifndef MEP_DIST_MPI_H
#define MEP_DIST_MPI_H

#include "dist/dist.h"

/* The table that libmep-mpi.so exports as mep_mpi_entry. */
typedef struct mep_mpi_module {
    int (*join)(mep_dist *group, char *text, int size); /* returns a code like mep_dist_transport */
    void (*leave)(int code, int at_once);
    const char *(*name)(void);
} mep_mpi_module;
extern const mep_mpi_module mep_mpi_entry;

/* The number of processes that were started together, from the environment only: 1 without a launcher, 0 if the
 * launcher does not tell it. */
int64_t mep_mpi_started(void);

/* Join the group; without a launcher it is a group of one. MEP_ERROR_UNSUPPORTED if the build has no MPI, or MPI cannot
 * be loaded or started. End it with mep_mpi_close. */
mep_status mep_mpi_open(mep_dist *group);

/* Leave the group; all processes must call it, and wait for each other. With `at_once` all other processes are ended
 * with `code` instead, and the call does not return. */
void mep_mpi_close(mep_dist *group, int code, int at_once);

/* "Open MPI v4.1.4", or "none" with the reason. Loads MPI. */
const char *mep_mpi_name(void);

#endif
