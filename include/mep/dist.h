/* SPDX-License-Identifier: MIT */
/*
 * Several processes that work on one task. They communicate through a group, whose transport the program supplies: MPI,
 * sockets, threads. A group of one process needs no transport, and its calls do nothing.
 *
 * All processes of a group make the same calls in the same order, and a process makes one call at a time. A process
 * that fails does not leave the others waiting: it takes part in all calls until the next mep_dist_agree, in which all
 * of them fail.
 */
#ifndef MEP_DIST_H
#define MEP_DIST_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A block of bytes to or from the process `rank`. */
typedef struct mep_dist_block {
    int64_t rank;
    void *data;
    int64_t bytes; /* 0: nothing is sent */
} mep_dist_block;

/* How bytes are sent. The functions get the context of the group. They return 0, or another number after writing a
 * message of up to `size` bytes to `text`. */
typedef struct mep_dist_transport {
    /* Send and receive all blocks. Blocks between two processes arrive in the order in which they are sent. */
    int (*transfer)(void *context, const mep_dist_block *send, int64_t sends, const mep_dist_block *receive,
                    int64_t receives, char *text, int size);
    /* Send the process `rank` a notice, without waiting until it takes it. */
    int (*notify)(void *context, int64_t rank, char *text, int size);
    /* Take a notice: *count = 1 if one has arrived, otherwise 0. With `wait`, wait for one. */
    int (*notice)(void *context, int wait, int *count, char *text, int size);
} mep_dist_transport;

typedef struct mep_dist mep_dist;

typedef struct mep_dist_settings {
    int64_t rank, size;                  /* of this process and of the group: 0 <= rank < size */
    const mep_dist_transport *transport; /* must outlive the group; NULL is allowed if size is 1 */
    void *context;                       /* of the transport */
    int any_thread;                      /* 1: threads other than the main thread may call the transport, one at a time.
                                            Training then sends gradients during the backward pass */
    const char *host;                    /* name of this machine, for messages; NULL: not named. Copied */
} mep_dist_settings;

/* Make a group. MEP_ERROR_ARGUMENT if rank and size do not fit, or the transport is missing. The caller owns *group. */
MEP_API mep_status mep_dist_create(mep_dist **group, const mep_dist_settings *settings);
/* Free *group and set it to NULL; NULL is allowed. It sends nothing. */
MEP_API void mep_dist_destroy(mep_dist **group);

MEP_API int64_t mep_dist_rank(const mep_dist *group);
MEP_API int64_t mep_dist_size(const mep_dist *group);
MEP_API const char *mep_dist_host(const mep_dist *group);

/* Gather `bytes` bytes of every process in every process: process r's are at all + r * bytes. `mine` may be that
 * location. */
MEP_API mep_status mep_dist_gather(mep_dist *group, const void *mine, int64_t bytes, void *all);

/* Copy data[bytes] of process 0 to every process. */
MEP_API mep_status mep_dist_broadcast(mep_dist *group, void *data, int64_t bytes);

/* Set *flag in every process if it is set in one. */
MEP_API mep_status mep_dist_any(mep_dist *group, int *flag);

/* Return MEP_OK if `status` is MEP_OK in every process. Otherwise all processes fail alike, with the message of the
 * first one that failed, preceded by "process 2 of 4 on HOST: " unless all failed. They return MEP_INTERRUPTED only if
 * no process has a worse status. */
MEP_API mep_status mep_dist_agree(mep_dist *group, mep_status status);

/* Return MEP_OK if every process has the same data[bytes] as process 0; otherwise all fail alike. `name` is the name of
 * the file in the message: on several machines, a file may be an old copy. */
MEP_API mep_status mep_dist_check_same(mep_dist *group, const void *data, int64_t bytes, const char *name);

/* 1 if the last mep_dist_agree failed: all processes know of the failure and have the same message. */
MEP_API int mep_dist_is_settled(const mep_dist *group);

/* 1 if a transfer has failed: the other processes can no longer be reached, and the program should end them. */
MEP_API int mep_dist_is_broken(const mep_dist *group);

#ifdef __cplusplus
}
#endif

#endif
