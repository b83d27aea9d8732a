/* SPDX-License-Identifier: MIT */
/*
 * The internal interface of a group of processes (mep/dist.h): its state, and the calls that only the library makes.
 */
#ifndef MEP_DIST_DIST_GROUP_H
#define MEP_DIST_DIST_GROUP_H

#include <stdint.h>

#include "base/integer.h"
#include "mep/dist.h"

enum { MEP_DIST_HOST = 64 };

struct mep_dist {
    int64_t rank, size;
    const mep_dist_transport *transport; /* NULL if size is 1 */
    void *context;                       /* of the transport */
    int any_thread;                      /* threads other than the main thread may call the transport, one at a time */
    int64_t sent;                        /* bytes that this process has sent */
    int settled;              /* the last mep_dist_agree failed: all processes have the same status and message */
    int broken;               /* a transfer failed: the other processes can no longer be reached */
    int notified;             /* this process has sent notices since the last mep_dist_agree */
    int64_t notices;          /* notices that have arrived since the last mep_dist_agree */
    char host[MEP_DIST_HOST]; /* name of this process's machine, for messages; "": not named */
};

/* A group of one process. */
extern mep_dist mep_dist_alone;

/* Send and receive blocks, all at the same time. Blocks between two processes arrive in the order in which they are
 * listed. After a failure the group is broken for all processes. */
mep_status mep_dist_transfer(mep_dist *group, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                             int64_t receives);

/* Notify all other processes to go to the next mep_dist_agree, and ask whether one of them has sent such a notice. For
 * work between two agreements during which processes do not communicate. */
mep_status mep_dist_notify(mep_dist *group);
mep_status mep_dist_notified(mep_dist *group, int *notified);

/* The items 0 .. count - 1 are divided evenly over the processes: the first item of process `rank`, whose items end
 * where those of rank + 1 begin. */
static inline int64_t mep_dist_first(const mep_dist *group, int64_t count, int64_t rank)
{
    int64_t each = count / group->size, rest = count % group->size;
    return rank * each + min_i64(rank, rest);
}

#endif
