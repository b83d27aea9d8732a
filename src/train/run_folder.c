/* SPDX-License-Identifier: MIT */
/*
 * A locked folder. Its descriptor refers to it under any name, and /proc reports the present name.
 */
#define _GNU_SOURCE
#include "train/run_folder.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"

static const char LOCK[] = ".lock";

mep_status mep_run_folder_open(mep_run_folder *folder, const char *path, int locks)
{
    char *lock = NULL;
    *folder = (mep_run_folder){.fd = -1};
    mep_status status = mep_copy_string(&folder->path, path);
    if (status == MEP_OK) {
        folder->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder->fd < 0) status = mep_fail_errno("open", path);
    }
    if (status == MEP_OK && locks) status = mep_path_join(&lock, path, LOCK);
    if (status == MEP_OK && locks) status = mep_lock_take(&folder->lock, lock, path);
    mep_free(&lock);
    if (status != MEP_OK) mep_run_folder_close(folder);
    return status;
}

/* 1 if `path` is the open folder. */
static int is_at(const mep_run_folder *folder, const char *path)
{
    struct stat ours, there;
    return fstat(folder->fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

mep_status mep_run_folder_follow(mep_run_folder *folder, int *moved)
{
    char link[64], path[PATH_MAX];
    *moved = 0;
    if (is_at(folder, folder->path)) return MEP_OK;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder->fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    if (!is_at(folder, path))
        return mep_fail(MEP_ERROR_IO,
                        "%s: was removed, or moved to another file system, while it was written; bring it back and "
                        "resume from its last checkpoint",
                        folder->path);
    char *now = NULL;
    MEP_TRY(mep_copy_string(&now, path));
    mep_free(&folder->path);
    folder->path = now;
    *moved = 1;
    return MEP_OK;
}

void mep_run_folder_close(mep_run_folder *folder)
{
    if (folder->path == NULL) return;
    mep_lock_release(&folder->lock);
    if (folder->fd >= 0) close(folder->fd);
    mep_free(&folder->path);
}
