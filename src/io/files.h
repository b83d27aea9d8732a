/* SPDX-License-Identifier: MIT */
/*
 * Files and folders: whole reads, atomic writes, folders that appear and disappear in one step.
 * A written file is either the old one or the whole new one, whatever happens in between (a full disk, a kill, a power
 * cut). It knows nothing of what the files hold. Every failure is MEP_ERROR_IO with the path in the message unless
 * stated.
 */
#ifndef MEP_IO_FILES_H
#define MEP_IO_FILES_H

#include <stdint.h>

#include "mep/status.h"

/* Read a regular file of at most max_size bytes (MEP_ERROR_FORMAT when it is longer). *data is allocated, with a 0 byte
 * after the last one that *size does not count; free it with mep_free. On failure *data is NULL. */
mep_status mep_file_read(const char *path, int64_t max_size, char **data, int64_t *size);

/* Open a regular file for reading; *size in bytes. The caller closes *fd. */
mep_status mep_file_open(const char *path, int *fd, int64_t *size);

/* Replace or create `path` by `size` bytes, atomically. */
mep_status mep_file_write_atomic(const char *path, const void *data, int64_t size);

/* An atomic write in pieces: begin, write ..., then commit or abandon. The pieces go to a temporary file beside `path`,
 * which is removed when the writing fails. One thread of a process at a time may write the same path. */
typedef struct mep_atomic_file {
    char *path, *temporary;
    int fd;
} mep_atomic_file;

/* Fails, with nothing to abandon, when `path` is something else than a regular file (a folder, a device). */
mep_status mep_atomic_begin(mep_atomic_file *file, const char *path);
/* After a failure only abandon may follow. */
mep_status mep_atomic_write(mep_atomic_file *file, const void *data, int64_t size);
/* Sync the file, rename it to its path, sync the folder. Releases *file in either case. */
mep_status mep_atomic_commit(mep_atomic_file *file);
/* Remove the temporary file and release *file; `path` stays as it was. */
void mep_atomic_abandon(mep_atomic_file *file);

/* A file that lines are appended to; all zero where none is open. It is created where it does not exist, and open under
 * whatever name it has later. A line and its newline are one write, not synced. The caller closes what it has opened;
 * what is not open needs no closing. */
typedef struct mep_lines {
    char *path;
    int fd;
} mep_lines;

mep_status mep_lines_open(mep_lines *lines, const char *path);
mep_status mep_lines_append(mep_lines *lines, const char *line);
mep_status mep_lines_close(mep_lines *lines);

/* Cut a file off behind its first `size` bytes, and sync it. */
mep_status mep_file_truncate(const char *path, int64_t size);

/* 1 where `path` is a regular file, or a folder; links are followed. */
int mep_file_exists(const char *path);
int mep_folder_exists(const char *path);

/* "folder/name" (without a second slash where `folder` ends in one), to be freed with mep_free. */
mep_status mep_path_join(char **path, const char *folder, const char *name);

/* Make a folder, and with `recursive` those above it too. A folder that exists already is fine. */
mep_status mep_make_folder(const char *path, int recursive);

/* Remove a folder and everything in it; links are removed, not followed, and a path that does not exist is fine. For
 * temporary folders and retired checkpoints only. */
mep_status mep_remove_tree(const char *path);

/* Sync a file or a folder to the disk. */
mep_status mep_sync_path(const char *path);

/* Sync every regular file of a folder (not of folders within it) and the folder itself to the disk. */
mep_status mep_sync_folder(const char *path);

/* Rename the folder `from` to `to` in one step and sync the folder above. Where `to` exists the two change places, so
 * that `from` is then the old one. */
mep_status mep_rename_folder_atomic(const char *from, const char *to);

#endif
