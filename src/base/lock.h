/* SPDX-License-Identifier: MIT */
/*
 * A lock between processes: a file that its owner locks with flock while it works, and that names the owner. The kernel
 * releases the lock when the owner ends for any reason. A release removes the file; the next owner takes over a file
 * that a crash has left. The lock stays valid when the folder of the file is renamed.
 */
#ifndef MEP_BASE_LOCK_H
#define MEP_BASE_LOCK_H

#include "mep/status.h"

/* Zero-initialized: not locked. */
typedef struct mep_lock {
    char *name; /* file name in the folder */
    int folder, file;
    long process; /* id of the process that took the lock */
} mep_lock;

/* Lock the file at `path`, whose folder exists. `what` names what the lock protects, for the message: where another
 * process, or another thread of this one, holds the lock, MEP_ERROR_IO says that `what` is being written, and by which
 * process of which host where that is known. Where the file system has no locks, the call succeeds without a lock. */
mep_status mep_lock_take(mep_lock *lock, const char *path, const char *what);

/* Remove the file and release the lock. Does nothing without a lock. In a child of fork() it only frees memory: the
 * lock belongs to the parent and ends with it. */
void mep_lock_release(mep_lock *lock);

#endif
