/* SPDX-License-Identifier: MIT */
/*
 * Files and folders with POSIX calls (and Linux's renameat2 to exchange two folders). An atomic write is: create a
 * temporary file in the same folder, write, fsync, rename, fsync the folder.
 */
#define _GNU_SOURCE
#include "io/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"

/* ---- Reading ---- */

/* O_NONBLOCK: a pipe is refused immediately instead of waiting for its writer. */
mep_status mep_file_open(const char *path, int *fd, int64_t *size)
{
    *size = 0;
    *fd = mep_fd_open(path, O_RDONLY | O_NONBLOCK);
    if (*fd < 0) return mep_fail_errno("open", path);
    struct stat info;
    mep_status status = MEP_OK;
    if (fstat(*fd, &info) != 0) {
        status = mep_fail_errno("examine", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = mep_fail(MEP_ERROR_IO, "cannot read %s: it is not a regular file; name a file", path);
    } else {
        *size = (int64_t)info.st_size;
        return MEP_OK;
    }
    close(*fd);
    *fd = -1;
    return status;
}

/* Read up to `size` bytes; *got is smaller only at the end of the file. */
static mep_status read_all(int fd, const char *path, char *data, int64_t size, int64_t *got)
{
    int64_t found = mep_fd_read_all(fd, data, size, -1);
    *got = found > 0 ? found : 0;
    return found >= 0 ? MEP_OK : mep_fail_errno("read", path);
}

mep_status mep_file_read(const char *path, int64_t max_size, char **data, int64_t *size)
{
    *data = NULL;
    *size = 0;
    int fd;
    int64_t length;
    MEP_TRY(mep_file_open(path, &fd, &length));
    mep_status status = MEP_OK;
    if (length > max_size)
        status = mep_fail(MEP_ERROR_FORMAT, "%s has %lld bytes; the limit for such a file is %lld", path,
                          (long long)length, (long long)max_size);
    if (status != MEP_OK) goto done;
    MEP_TRY_OR(status, MEP_ALLOC(data, length + 1), done);
    status = read_all(fd, path, *data, length, size);
done:
    close(fd);
    if (status != MEP_OK) mep_free(data);
    return status;
}

int mep_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

int mep_folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* ---- Paths ---- */

mep_status mep_path_join(char **path, const char *folder, const char *name)
{
    size_t length = strlen(folder);
    int slash = length > 0 && folder[length - 1] != '/';
    return mep_format(path, "%s%s%s", folder, slash ? "/" : "", name);
}

/* The folder of `path`: "a/b" gives "a", "a" gives ".", "/a" gives "/". Free it with mep_free. */
static mep_status parent_of(char **parent, const char *path)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') end--;
    while (end > 0 && path[end - 1] != '/') end--;
    if (end == 0) return mep_copy_string(parent, path[0] == '/' ? "/" : ".");
    while (end > 1 && path[end - 1] == '/') end--;
    return mep_format(parent, "%.*s", (int)end, path);
}

/* ---- Syncing ---- */

/* fsync a file or a folder. EINVAL is ignored: a file system that cannot sync a folder returns it. */
mep_status mep_sync_path(const char *path)
{
    int fd = mep_fd_open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return mep_fail_errno("open", path);
    mep_status status = MEP_OK;
    if (mep_fd_sync(fd) != 0 && errno != EINVAL) status = mep_fail_errno("sync", path);
    close(fd);
    return status;
}

static mep_status sync_parent(const char *path)
{
    char *parent = NULL;
    MEP_TRY(parent_of(&parent, path));
    mep_status status = mep_sync_path(parent);
    mep_free(&parent);
    return status;
}

mep_status mep_sync_folder(const char *path)
{
    struct dirent **entries = NULL;
    int found = scandir(path, &entries, NULL, NULL);
    if (found < 0) return mep_fail_errno("list", path);
    mep_status status = MEP_OK;
    for (int i = 0; i < found; i++) {
        char *file = NULL;
        if (status == MEP_OK) status = mep_path_join(&file, path, entries[i]->d_name);
        if (status == MEP_OK && mep_file_exists(file)) status = mep_sync_path(file);
        mep_free(&file);
        free(entries[i]);
    }
    free(entries);
    return status == MEP_OK ? mep_sync_path(path) : status;
}

/* ---- Writing ---- */

static mep_status write_all(int fd, const char *path, const char *data, int64_t size)
{
    return mep_fd_write_all(fd, data, size) == 0 ? MEP_OK : mep_fail_errno("write", path);
}

/* Free the names; the file is already closed. */
static void release(mep_atomic_file *file)
{
    mep_free(&file->temporary);
    mep_free(&file->path);
    file->fd = -1;
}

mep_status mep_atomic_begin(mep_atomic_file *file, const char *path)
{
    *file = (mep_atomic_file){.fd = -1};
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return mep_fail(MEP_ERROR_IO, "cannot write %s: it exists and is not a regular file; choose another name",
                        path);
    mep_status status;
    MEP_TRY_OR(status, mep_copy_string(&file->path, path), failed);
    MEP_TRY_OR(status, mep_format(&file->temporary, "%s.tmp-%ld", path, (long)getpid()), failed);
    file->fd = mep_fd_open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (file->fd >= 0) return MEP_OK;
    status = mep_fail_errno("create", file->temporary);
failed:
    release(file);
    return status;
}

mep_status mep_atomic_write(mep_atomic_file *file, const void *data, int64_t size)
{
    return write_all(file->fd, file->path, data, size);
}

void mep_atomic_abandon(mep_atomic_file *file)
{
    if (file->fd >= 0) close(file->fd);
    unlink(file->temporary);
    release(file);
}

mep_status mep_atomic_commit(mep_atomic_file *file)
{
    mep_status status = MEP_OK;
    if (mep_fd_sync(file->fd) != 0) status = mep_fail_errno("sync", file->path);
    int closed = mep_fd_close(file->fd);
    file->fd = -1;
    if (status == MEP_OK && closed != 0) status = mep_fail_errno("close", file->path);
    if (status == MEP_OK && rename(file->temporary, file->path) != 0) status = mep_fail_errno("replace", file->path);
    if (status != MEP_OK) {
        mep_atomic_abandon(file);
        return status;
    }
    status = sync_parent(file->path);
    release(file);
    return status;
}

mep_status mep_file_write_atomic(const char *path, const void *data, int64_t size)
{
    mep_atomic_file file;
    MEP_TRY(mep_atomic_begin(&file, path));
    mep_status status = mep_atomic_write(&file, data, size);
    if (status == MEP_OK) return mep_atomic_commit(&file);
    mep_atomic_abandon(&file);
    return status;
}

mep_status mep_lines_open(mep_lines *lines, const char *path)
{
    *lines = (mep_lines){.fd = -1};
    MEP_TRY(mep_copy_string(&lines->path, path));
    lines->fd = mep_fd_open(path, O_WRONLY | O_CREAT | O_APPEND);
    if (lines->fd >= 0) return MEP_OK;
    mep_status status = mep_fail_errno("open", path);
    mep_free(&lines->path);
    return status;
}

mep_status mep_lines_append(mep_lines *lines, const char *line)
{
    char *text = NULL;
    MEP_TRY(mep_format(&text, "%s\n", line));
    mep_status status = write_all(lines->fd, lines->path, text, (int64_t)strlen(text));
    mep_free(&text);
    return status;
}

mep_status mep_lines_close(mep_lines *lines)
{
    if (lines->path == NULL) return MEP_OK;
    mep_status status = mep_fd_close(lines->fd) == 0 ? MEP_OK : mep_fail_errno("write", lines->path);
    mep_free(&lines->path);
    return status;
}

mep_status mep_file_truncate(const char *path, int64_t size)
{
    int fd = mep_fd_open(path, O_WRONLY);
    if (fd < 0) return mep_fail_errno("open", path);
    mep_status status = MEP_OK;
    if (mep_fd_truncate(fd, size) != 0 || mep_fd_sync(fd) != 0) status = mep_fail_errno("shorten", path);
    close(fd);
    return status;
}

/* ---- Folders ---- */

mep_status mep_make_folder(const char *path, int recursive)
{
    if (mkdir(path, 0777) == 0) return MEP_OK;
    if (errno == EEXIST && mep_folder_exists(path)) return MEP_OK;
    if (errno != ENOENT || !recursive || *path == '\0') return mep_fail_errno("make the folder", path);
    char *parent = NULL;
    MEP_TRY(parent_of(&parent, path));
    mep_status status = mep_make_folder(parent, 1);
    mep_free(&parent);
    return status == MEP_OK ? mep_make_folder(path, 0) : status;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

mep_status mep_remove_tree(const char *path)
{
    enum { OPEN_FOLDERS = 16 };
    if (nftw(path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 || errno == ENOENT) return MEP_OK;
    return mep_fail_errno("remove", path);
}

mep_status mep_rename_folder_atomic(const char *from, const char *to)
{
    if (mep_folder_exists(to)) {
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) != 0)
            return mep_fail(MEP_ERROR_IO, "cannot replace %s by %s: %s; move the old folder away manually", to, from,
                            strerror(errno));
    } else if (rename(from, to) != 0) {
        return mep_fail_errno("rename a folder to", to);
    }
    return sync_parent(to);
}
