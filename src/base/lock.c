/* SPDX-License-Identifier: MIT */
/*
 * The lock file and flock. The folder is opened once and the file is named relative to it, so that a release is correct
 * also after the folder has been renamed or replaced by another one.
 */
#define _GNU_SOURCE
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"

/* The content of a lock file: this, then the owner. A file with other content is not a lock file. */
static const char INTRODUCTION[] = "locked by ";
enum { OWNER_SIZE = 160 };

/* Open the folder of `path`; returns the file name in it. */
static mep_status open_folder(mep_lock *lock, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = NULL;
    MEP_TRY(mep_format(&folder, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1, slash != NULL ? path : "."));
    mep_status status;
    MEP_TRY_OR(status, mep_copy_string(&lock->name, slash != NULL ? slash + 1 : path), end);
    lock->folder = mep_fd_open(folder, O_PATH | O_DIRECTORY);
    if (lock->folder < 0) {
        status = mep_fail_errno("open", folder);
        mep_free(&lock->name);
    }
end:
    mep_free(&folder);
    return status;
}

/* ---- Forks ---- */

/* The open lock files of this process. A child of fork() closes its copies: otherwise a child that outlives its parent
 * would keep the lock. */
static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static int *held;
static int64_t held_count, held_capacity;

static void before_fork(void)
{
    pthread_mutex_lock(&held_mutex);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&held_mutex);
}

static void begin_child(void)
{
    for (int64_t i = 0; i < held_count; i++) close(held[i]);
    held_count = 0;
    pthread_mutex_unlock(&held_mutex);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, begin_child);
}

/* Make room for one more file. The caller has the mutex, here and in add_held. */
static mep_status reserve_held(void)
{
    if (held_count < held_capacity) return MEP_OK;
    MEP_TRY(MEP_GROW(&held, held_capacity, held_capacity + 8));
    held_capacity += 8;
    return MEP_OK;
}

static void add_held(int file)
{
    held[held_count++] = file;
}

static void remove_held(int file)
{
    pthread_mutex_lock(&held_mutex);
    for (int64_t i = 0; i < held_count; i++)
        if (held[i] == file) held[i] = held[--held_count];
    if (held_count == 0) {
        mep_free(&held);
        held_capacity = 0;
    }
    pthread_mutex_unlock(&held_mutex);
}

/* ---- The lock ---- */

static void close_all(mep_lock *lock)
{
    if (lock->file >= 0) close(lock->file);
    close(lock->folder);
    mep_free(&lock->name);
}

/* 1 where the name still refers to the open file. */
static int is_current(const mep_lock *lock)
{
    struct stat ours, there;
    return fstat(lock->file, &ours) == 0 && fstatat(lock->folder, lock->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* The content of the file, "" where it cannot be read. */
static void read_owner(const mep_lock *lock, char text[OWNER_SIZE])
{
    ssize_t size = pread(lock->file, text, OWNER_SIZE - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static mep_status fail_held(const mep_lock *lock, const char *what)
{
    char text[OWNER_SIZE];
    read_owner(lock, text);
    size_t skip = strlen(INTRODUCTION);
    int is_known = strncmp(text, INTRODUCTION, skip) == 0;
    return mep_fail(MEP_ERROR_IO, "%s is being written by %s: wait until it ends, or choose another name", what,
                    is_known ? text + skip : "another process");
}

/* Write the owner into the locked file. A failure, such as a full disk, only makes a message less precise. */
static void write_owner(const mep_lock *lock)
{
    char host[64] = "", text[OWNER_SIZE];
    if (gethostname(host, sizeof host - 1) != 0 || *host == '\0') snprintf(host, sizeof host, "an unknown host");
    int size = snprintf(text, sizeof text, "%sprocess %ld on %s\n", INTRODUCTION, (long)getpid(), host);
    if (ftruncate(lock->file, 0) != 0 || pwrite(lock->file, text, (size_t)size, 0) != size)
        if (ftruncate(lock->file, 0) != 0) return;
}

/* 1 where flock fails because the file system has no locks (NFS without its lock service, some FUSE file systems). */
static int has_no_locks(int error)
{
    return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL || error == EBADF;
}

/* Open and lock the file. *retry is set where its last owner removed it in between. */
static mep_status try_once(mep_lock *lock, const char *path, const char *what, int *retry)
{
    char text[OWNER_SIZE];
    *retry = 0;
    do {
        lock->file = openat(lock->folder, lock->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    } while (lock->file < 0 && errno == EINTR);
    if (lock->file < 0) return mep_fail_errno("create", path);
    read_owner(lock, text);
    if (*text != '\0' && strncmp(text, INTRODUCTION, strlen(INTRODUCTION)) != 0)
        return mep_fail(MEP_ERROR_IO, "%s is not a lock file of mep, whose name it has: move it away", path);
    int result;
    do {
        result = flock(lock->file, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EWOULDBLOCK) return fail_held(lock, what);
    if (result != 0 && !has_no_locks(errno)) return mep_fail_errno("lock", path);
    if (result == 0) {
        *retry = !is_current(lock);
        return MEP_OK;
    }
    unlinkat(lock->folder, lock->name, 0);
    close_all(lock);
    return MEP_OK;
}

mep_status mep_lock_take(mep_lock *lock, const char *path, const char *what)
{
    int retry = 0;
    *lock = (mep_lock){.file = -1, .process = (long)getpid()};
    MEP_TRY(open_folder(lock, path));
    pthread_mutex_lock(&held_mutex); /* a fork before the file is in the list would leave it open in the child */
    mep_status status = reserve_held();
    for (retry = 1; status == MEP_OK && retry;) {
        if (lock->file >= 0) close(lock->file);
        status = try_once(lock, path, what, &retry);
    }
    if (status == MEP_OK && lock->name != NULL) add_held(lock->file);
    pthread_mutex_unlock(&held_mutex);
    if (status != MEP_OK)
        close_all(lock);
    else if (lock->name != NULL)
        write_owner(lock);
    return status;
}

void mep_lock_release(mep_lock *lock)
{
    if (lock->name == NULL) return;
    if (lock->process != (long)getpid()) {
        lock->file = -1; /* closed by begin_child */
    } else {
        if (is_current(lock)) unlinkat(lock->folder, lock->name, 0);
        flock(lock->file, LOCK_UN); /* a process made by vfork() or clone() may have the file open too */
        remove_held(lock->file);
    }
    close_all(lock);
}
