/* SPDX-License-Identifier: MIT */
/*
 * Groups of processes that work on one task. A group transfers blocks of bytes between processes, and implements
 * gathering, broadcasting and agreement with them. A single process is a group too, whose calls do nothing, so that
 * callers need no special case. The transport is a table of three functions; mpi_module.c has the one for MPI.
 *
 * All processes of a group make the same calls in the same order, one call at a time. A process that fails does not
 * leave the others waiting: it continues to take part until the next mep_dist_agree, where all processes fail.
 */
#ifndef MEP_DIST_DIST_H
#define MEP_DIST_DIST_H

#include <stdint.h>

#include "mep/status.h"

/* Bytes to or from the process `rank`. */
typedef struct mep_dist_block {
    int64_t rank;
    void *data;
    int64_t bytes; /* 0 is allowed: nothing is sent */
} mep_dist_block;

typedef struct mep_dist mep_dist;

enum { MEP_DIST_HOST = 64 };

/* Functions return 0, or another number with a message in text[size]. */
typedef struct mep_dist_transport {
    /* Send and receive all blocks. Blocks between two processes arrive in the order in which they are sent. */
    int (*transfer)(const mep_dist *group, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                    int64_t receives, char *text, int size);
    /* Send a notice to the process `rank`, which may not be waiting for it. */
    int (*notify)(const mep_dist *group, int64_t rank, char *text, int size);
    /* Take a notice and set *count = 1 if one has arrived, otherwise *count = 0; with `wait`, wait for one. */
    int (*notice)(const mep_dist *group, int wait, int *count, char *text, int size);
} mep_dist_transport;

struct mep_dist {
    int64_t rank, size;
    const mep_dist_transport *transport; /* NULL if size is 1 */
    int threads;                         /* a thread other than the main one may communicate, one thread at a time */
    int64_t sent;                        /* bytes that this process has sent */
    int settled;              /* the last mep_dist_agree failed: all processes have the same status and message */
    int broken;               /* a transfer failed: the other processes cannot be reached any more */
    int notified;             /* this process has sent notices since the last mep_dist_agree */
    int64_t notices;          /* number of notices received since the last mep_dist_agree */
    char host[MEP_DIST_HOST]; /* name of this process's machine for messages; "" if it does not matter */
};

/* A group of one. */
extern mep_dist mep_dist_alone;

/* Send and receive blocks, all at the same time; blocks between two processes arrive in the order in which they are
 * listed. After a failure the group is broken for all processes. */
mep_status mep_dist_transfer(mep_dist *group, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                             int64_t receives);

/* In every process, all[rank * bytes ..] becomes mine[bytes] of each process. `mine` may be its own range of `all`. */
mep_status mep_dist_gather(mep_dist *group, const void *mine, int64_t bytes, void *all);

/* In every process, data[bytes] becomes that of process 0. */
mep_status mep_dist_broadcast(mep_dist *group, void *data, int64_t bytes);

/* In every process, set *flag if it is set in any process. */
mep_status mep_dist_any(mep_dist *group, int *flag);

/* MEP_OK if `status` is MEP_OK in every process. Otherwise all processes fail with the status and message of the first
 * one that failed; "process 2 of 4 on HOST: " is put before the message unless all failed. The status is
 * MEP_INTERRUPTED only if no process has another failure. */
mep_status mep_dist_agree(mep_dist *group, mep_status status);

/* MEP_OK if every process has the same data[bytes] as process 0; otherwise all processes fail. `name` names the file in
 * the message: on several machines one copy may be outdated. */
mep_status mep_dist_check_same(mep_dist *group, const void *data, int64_t bytes, const char *name);

/* Notify all other processes to go to the next mep_dist_agree, and ask whether one of them has sent such a notice. For
 * work between two agreements during which processes do not communicate. */
mep_status mep_dist_notify(mep_dist *group);
mep_status mep_dist_notified(mep_dist *group, int *notified);

/* The items 0 .. count - 1 are divided evenly over the processes: the first item of process `rank`, whose items end
 * where those of rank + 1 begin. */
static inline int64_t mep_dist_first(const mep_dist *group, int64_t count, int64_t rank)
{
    int64_t each = count / group->size, rest = count % group->size;
    return rank * each + (rank < rest ? rank : rest);
}

#endif
