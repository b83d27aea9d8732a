/* SPDX-License-Identifier: MIT */
/*
 * Several processes that work on one task. A group is what they talk through: blocks of bytes from process to process,
 * and what is made of them. One process alone is a group too, whose calls do nothing, so that callers have no other
 * case. How bytes travel is a table of three functions; mpi_module.c has the one for MPI.
 *
 * All processes of a group make the same calls in the same order, one call at a time in each. A process that fails does
 * not leave the others waiting: it goes on taking part until the next mep_dist_agree, where all of them fail.
 */
#ifndef MEP_DIST_DIST_H
#define MEP_DIST_DIST_H

#include <stdint.h>

#include "mep/status.h"

/* Bytes to or from the process `rank`. */
typedef struct mep_dist_block {
    int64_t rank;
    void *data;
    int64_t bytes; /* 0 is allowed: nothing travels */
} mep_dist_block;

typedef struct mep_dist mep_dist;

enum { MEP_DIST_HOST = 64 };

/* How bytes travel. Functions return 0, or another number with a message in text[size]. */
typedef struct mep_dist_transport {
    /* Send and receive all pieces. Those between two processes arrive in the order of their sending. */
    int (*transfer)(const mep_dist *group, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                    int64_t receives, char *text, int size);
    /* Tell the process `rank` something that is not waited for. */
    int (*notify)(const mep_dist *group, int64_t rank, char *text, int size);
    /* *count = 1 and take a notice where one has come, else 0; with `wait`, wait for one. */
    int (*notice)(const mep_dist *group, int wait, int *count, char *text, int size);
} mep_dist_transport;

struct mep_dist {
    int64_t rank, size;
    const mep_dist_transport *transport; /* NULL where size is 1 */
    int threads;                         /* another thread than the main one may communicate, one at a time */
    int64_t sent;                        /* bytes that this process has sent */
    int settled;              /* the last mep_dist_agree failed: all processes know, and have the same message */
    int broken;               /* a transfer failed: the others cannot be reached any more */
    int notified;             /* this process has sent notices, .. */
    int64_t notices;          /* .. and so many have come, since the last mep_dist_agree */
    char host[MEP_DIST_HOST]; /* name of this process's machine, for messages; "" where it does not matter */
};

/* A group of one. */
extern mep_dist mep_dist_alone;

/* Send and receive pieces, all at once; pieces between two processes arrive in the order in which they are listed. A
 * failure is the others' failure too: the group is broken. */
mep_status mep_dist_transfer(mep_dist *group, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                             int64_t receives);

/* all[rank * bytes ..] = what each process has in mine[bytes], in every process. `mine` may be its place in `all`. */
mep_status mep_dist_gather(mep_dist *group, const void *mine, int64_t bytes, void *all);

/* data[bytes] of process 0 in every process. */
mep_status mep_dist_broadcast(mep_dist *group, void *data, int64_t bytes);

/* Whether `flag` is set in any process, in every process. */
mep_status mep_dist_any(mep_dist *group, int *flag);

/* MEP_OK where `status` is that in every process. Else all fail alike, with the message of the first process that
 * failed, "process 2 of 4 on HOST: " before it unless all did; MEP_INTERRUPTED only where nothing worse happened. */
mep_status mep_dist_agree(mep_dist *group, mep_status status);

/* MEP_OK where every process has the same data[bytes] as process 0; else all fail alike. `name` is of the file, for the
 * message: on several machines one may be a copy that is old. */
mep_status mep_dist_check_same(mep_dist *group, const void *data, int64_t bytes, const char *name);

/* Tell all others to come to the next mep_dist_agree; and whether one of them has. For work between two agreements in
 * which processes do not meet. */
mep_status mep_dist_notify(mep_dist *group);
mep_status mep_dist_notified(mep_dist *group, int *notified);

/* First of the items 0 .. count - 1 that are `rank`'s where they are divided evenly; those of rank + 1 follow. */
static inline int64_t mep_dist_first(const mep_dist *group, int64_t count, int64_t rank)
{
    int64_t each = count / group->size, rest = count % group->size;
    return rank * each + (rank < rest ? rank : rest);
}

#endif
