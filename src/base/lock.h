/* SPDX-License-Identifier: MIT */
/*
 * A lock between processes: a file that its owner holds with flock while it works, and that names the owner. The kernel
 * releases it when the owner ends, whatever ended it; the file is removed by a release, and what a crash leaves is
 * taken over by the next owner. The lock holds when the folder of the file is renamed.
 */
#ifndef MEP_BASE_LOCK_H
#define MEP_BASE_LOCK_H

#include "mep/status.h"

/* All zero: not held. */
typedef struct mep_lock {
    char *name; /* of the file in its folder */
    int folder, file;
    long process; /* that took it: a child of fork() does not have it */
} mep_lock;

/* Take the lock file at `path`, whose folder exists. `what` names what it protects, for the message: where another
 * process (or another thread of this one) holds the lock, MEP_ERROR_IO says that `what` is being written, and by which
 * process of which host where that is known. A file system that has no locks is no failure: the lock is then not held,
 * and nothing is protected. */
mep_status mep_lock_take(mep_lock *lock, const char *path, const char *what);

/* Remove the file and release the lock. What is not held needs no release. In a child of fork() this frees memory only:
 * the lock stays with the parent, and ends with it. */
void mep_lock_release(mep_lock *lock);

#endif
