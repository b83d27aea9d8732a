/* SPDX-License-Identifier: MIT */
/*
 * The group of processes that mpirun or srun has started, by MPI. For the program, not for the library, which is linked
 * without MPI.
 */
#ifndef MEP_DIST_MPI_H
#define MEP_DIST_MPI_H

#include "dist/dist.h"

/* Processes that this one was started with, from the environment alone: 1 where it was started by itself, 0 where the
 * launcher does not say. */
int64_t mep_mpi_started(void);

/* Join the group. A process that was started by itself is alone, and MPI is not touched. MEP_ERROR_UNSUPPORTED where
 * the build has no MPI. To be ended by mep_mpi_close. */
mep_status mep_mpi_open(mep_dist *group);

/* Leave the group; all processes have to. With `code` other than 0 and a broken group, or where `at_once` is set, all
 * others are ended with that code, and the call does not return. */
void mep_mpi_close(mep_dist *group, int code, int at_once);

/* "Open MPI 4.1.4", or "none" where the build has no MPI. */
const char *mep_mpi_name(void);

#endif
