/* SPDX-License-Identifier: MIT */
/*
 * Transfers by MPI: the only file that calls it. MPI is asked for one thread at a time (MPI_THREAD_SERIALIZED), so that
 * gradients can travel on a thread of their own. No sums are left to it: their order would be its own business.
 */
#include "dist/mpi.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int64_t mep_mpi_started(void)
{
    /* mpirun of Open MPI; of MPICH and its relatives, and srun --mpi=pmi2; srun --mpi=pmix says it for each step */
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL};
    for (int i = 0; names[i] != NULL; i++)
        if (getenv(names[i]) != NULL) return strtoll(getenv(names[i]), NULL, 10);
    if (getenv("PMIX_RANK") == NULL) return 1;
    return getenv("SLURM_STEP_NUM_TASKS") != NULL ? strtoll(getenv("SLURM_STEP_NUM_TASKS"), NULL, 10) : 0;
}

#if MEP_HAVE_MPI

#include <mpi.h>
#include <stdio.h>

#include "base/memory.h"

enum { DATA, NOTICE, MOST = 1 << 30 }; /* tags; bytes a message */

static int explain(int code, char *text, int size)
{
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return 0;
    MPI_Error_string(code, reason, &length);
    snprintf(text, (size_t)size, "%.*s", length, reason);
    return 1;
}

static int64_t messages(const mep_dist_piece *pieces, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (pieces[i].bytes + MOST - 1) / MOST;
    return sum;
}

/* Start the messages of all pieces. */
static int start(const mep_dist_piece *pieces, int64_t count, int receive, MPI_Request *requests)
{
    int code = MPI_SUCCESS;
    for (int64_t i = 0; i < count; i++) {
        int rank = (int)pieces[i].rank;
        for (int64_t at = 0; at < pieces[i].bytes && code == MPI_SUCCESS; at += MOST) {
            char *data = (char *)pieces[i].data + at;
            int bytes = (int)(pieces[i].bytes - at < MOST ? pieces[i].bytes - at : MOST);
            code = receive ? MPI_Irecv(data, bytes, MPI_BYTE, rank, DATA, MPI_COMM_WORLD, requests++)
                           : MPI_Isend(data, bytes, MPI_BYTE, rank, DATA, MPI_COMM_WORLD, requests++);
        }
    }
    return code;
}

static int transfer(const mep_dist *group, const mep_dist_piece *send, int64_t sends, const mep_dist_piece *receive,
                    int64_t receives, char *text, int size)
{
    (void)group;
    enum { FEW = 64 };
    MPI_Request few[FEW], *requests = few;
    int64_t in = messages(receive, receives), out = messages(send, sends);
    if (in + out > FEW && mep_alloc(&requests, in + out, sizeof *requests) != MEP_OK) {
        snprintf(text, (size_t)size, "%s", mep_error_message());
        return 1;
    }
    int code = start(receive, receives, 1, requests);
    if (code == MPI_SUCCESS) code = start(send, sends, 0, requests + in);
    if (code == MPI_SUCCESS) code = MPI_Waitall((int)(in + out), requests, MPI_STATUSES_IGNORE);
    if (requests != few) mep_free(&requests);
    return explain(code, text, size);
}

static int notify(const mep_dist *group, int64_t rank, char *text, int size)
{
    (void)group;
    return explain(MPI_Send(NULL, 0, MPI_BYTE, (int)rank, NOTICE, MPI_COMM_WORLD), text, size);
}

static int notice(const mep_dist *group, int wait, int *count, char *text, int size)
{
    (void)group;
    int code = wait ? MPI_SUCCESS : MPI_Iprobe(MPI_ANY_SOURCE, NOTICE, MPI_COMM_WORLD, count, MPI_STATUS_IGNORE);
    if (wait) *count = 1;
    if (code == MPI_SUCCESS && *count)
        code = MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, NOTICE, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return explain(code, text, size);
}

static const mep_dist_calls CALLS = {transfer, notify, notice};

mep_status mep_mpi_open(mep_dist *group)
{
    int provided = 0, rank = 0, size = 1;
    *group = mep_dist_alone;
    if (mep_mpi_started() == 1) return MEP_OK;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "MPI cannot be started; try mpirun -np 2 hostname");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    *group = (mep_dist){.rank = rank, .size = size, .calls = &CALLS, .threads = provided >= MPI_THREAD_SERIALIZED};
    return MEP_OK;
}

void mep_mpi_close(mep_dist *group, int code, int at_once)
{
    int open = 0;
    MPI_Initialized(&open);
    if (!open) return;
    if (at_once) MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Finalize();
    *group = mep_dist_alone;
}

/* "Open MPI v4.1.4, package: ..." */
const char *mep_mpi_name(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

#else

mep_status mep_mpi_open(mep_dist *group)
{
    *group = mep_dist_alone;
    if (mep_mpi_started() == 1) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "started as one of several processes, but this build has no MPI; install libopenmpi-dev and "
                    "configure with MEP_MPI=ON, or start it without mpirun");
}

void mep_mpi_close(mep_dist *group, int code, int at_once)
{
    (void)group, (void)code, (void)at_once;
}

const char *mep_mpi_name(void)
{
    return "none";
}

#endif
