/* SPDX-License-Identifier: MIT */
/*
 * MPI for the program: whether mpirun or srun has started several processes, and the transport of their group
 * (mep/dist.h). MPI is in a shared object of its own, libmep-mpi.so, so that a program started alone neither loads MPI
 * nor needs it.
 */
#ifndef MEP_CLI_MPI_H
#define MEP_CLI_MPI_H

#include "mep/dist.h"

/* The entry of libmep-mpi.so, under the name mep_mpi_entry. */
typedef struct mep_mpi_module {
    /* Start MPI and describe this process. Returns as a function of a transport does; settings->host points to memory
     * of the module. */
    int (*join)(mep_dist_settings *settings, char *text, int size);
    void (*leave)(int code, int at_once);
    const char *(*name)(void);
} mep_mpi_module;
extern const mep_mpi_module mep_mpi_entry;

/* The number of processes with which this one was started, from the environment alone: 1 if it was started alone, 0 if
 * the launcher does not say. */
int64_t mep_mpi_started(void);

/* Make the group of the processes that were started together. MEP_ERROR_UNSUPPORTED if the build has no MPI, or MPI
 * cannot be loaded or started. The caller ends it with mep_mpi_close. */
mep_status mep_mpi_open(mep_dist **group);

/* Leave the group and free it; a group of one, or NULL, is allowed. All processes leave, and wait for each other. With
 * `at_once` all others are ended with `code` instead, and the call does not return. */
void mep_mpi_close(mep_dist **group, int code, int at_once);

/* "Open MPI v4.1.4", or "none" and the reason. Loads MPI. */
const char *mep_mpi_name(void);

#endif
