/* SPDX-License-Identifier: MIT */
/*
 * The transport by MPI: the only file that calls MPI, and the complete source of libmep-mpi.so, which the program loads
 * when mpirun has started it (mpi.c). It uses nothing of the library. It asks MPI for MPI_THREAD_SERIALIZED, so that a
 * separate thread can send gradients. MPI computes no sums, since it would choose their order.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/mpi.h"

enum { DATA, NOTICE };   /* tags */
enum { MOST = 1 << 30 }; /* bytes per message */

static int explain(int code, char *text, int size)
{
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return 0;
    MPI_Error_string(code, reason, &length);
    snprintf(text, (size_t)size, "%.*s", length, reason);
    return 1;
}

static int64_t messages(const mep_dist_block *blocks, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (blocks[i].bytes + MOST - 1) / MOST;
    return sum;
}

/* Start the messages of all blocks. */
static int start(const mep_dist_block *blocks, int64_t count, int receive, MPI_Request *requests)
{
    int code = MPI_SUCCESS;
    for (int64_t i = 0; i < count; i++) {
        int rank = (int)blocks[i].rank;
        for (int64_t at = 0; at < blocks[i].bytes && code == MPI_SUCCESS; at += MOST) {
            char *data = (char *)blocks[i].data + at;
            int bytes = (int)(blocks[i].bytes - at < MOST ? blocks[i].bytes - at : MOST);
            code = receive ? MPI_Irecv(data, bytes, MPI_BYTE, rank, DATA, MPI_COMM_WORLD, requests++)
                           : MPI_Isend(data, bytes, MPI_BYTE, rank, DATA, MPI_COMM_WORLD, requests++);
        }
    }
    return code;
}

static int transfer(void *context, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                    int64_t receives, char *text, int size)
{
    (void)context;
    enum { FEW = 64 };
    MPI_Request few[FEW], *requests = few;
    int64_t in = messages(receive, receives), out = messages(send, sends);
    if (in + out > FEW && (requests = malloc((size_t)(in + out) * sizeof *requests)) == NULL) {
        snprintf(text, (size_t)size, "out of memory");
        return 1;
    }
    int code = start(receive, receives, 1, requests);
    if (code == MPI_SUCCESS) code = start(send, sends, 0, requests + in);
    if (code == MPI_SUCCESS) code = MPI_Waitall((int)(in + out), requests, MPI_STATUSES_IGNORE);
    if (requests != few) free(requests);
    return explain(code, text, size);
}

static int notify(void *context, int64_t rank, char *text, int size)
{
    (void)context;
    return explain(MPI_Send(NULL, 0, MPI_BYTE, (int)rank, NOTICE, MPI_COMM_WORLD), text, size);
}

static int notice(void *context, int wait, int *count, char *text, int size)
{
    (void)context;
    int code = wait ? MPI_SUCCESS : MPI_Iprobe(MPI_ANY_SOURCE, NOTICE, MPI_COMM_WORLD, count, MPI_STATUS_IGNORE);
    if (wait) *count = 1;
    if (code == MPI_SUCCESS && *count)
        code = MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, NOTICE, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return explain(code, text, size);
}

static const mep_dist_transport TRANSPORT = {transfer, notify, notice};

static int join(mep_dist_settings *settings, char *text, int size)
{
    static char host[MPI_MAX_PROCESSOR_NAME];
    int provided = 0, rank = 0, processes = 1, length = 0;
    if (explain(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), text, size)) return 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);
    MPI_Get_processor_name(host, &length);
    *settings = (mep_dist_settings){.rank = rank,
                                    .size = processes,
                                    .transport = &TRANSPORT,
                                    .any_thread = provided >= MPI_THREAD_SERIALIZED,
                                    .host = host};
    return 0;
}

static void leave(int code, int at_once)
{
    if (at_once) MPI_Abort(MPI_COMM_WORLD, code);
    MPI_Finalize();
}

/* "Open MPI v4.1.4, package: ..." */
static const char *name(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    return text;
}

const mep_mpi_module mep_mpi_entry = {join, leave, name};
