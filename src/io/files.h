/* SPDX-License-Identifier: MIT */
/*
 * Files and folders: reading complete files, atomic writes, and folders that appear and disappear atomically. After an
 * atomic write the file is the old one or the complete new one, whatever happens (a full disk, a kill, a power
 * failure). Nothing here knows the content of the files. Every failure is MEP_ERROR_IO with the path in the message
 * unless stated otherwise.
 */
#ifndef MEP_IO_FILES_H
#define MEP_IO_FILES_H

#include <stdint.h>

#include "mep/status.h"

/* Read a regular file of at most max_size bytes (MEP_ERROR_FORMAT if it is longer). *data is allocated and ends with a
 * 0 byte that *size does not count; free it with mep_free. On failure *data is NULL. */
mep_status mep_file_read(const char *path, int64_t max_size, char **data, int64_t *size);

/* Open a regular file for reading; *size in bytes. The caller closes *fd. */
mep_status mep_file_open(const char *path, int *fd, int64_t *size);

/* Create `path` with `size` bytes, or replace it, atomically. */
mep_status mep_file_write_atomic(const char *path, const void *data, int64_t size);

/* An atomic write in several calls: begin, write ..., then commit or abandon. The data goes to a temporary file in the
 * folder of `path`, which is removed if writing fails. Two threads of a process may not write the same path at once. */
typedef struct mep_atomic_file {
    char *path, *temporary;
    int fd;
} mep_atomic_file;

/* Fails if `path` exists and is not a regular file (a folder, a device); there is then nothing to abandon. */
mep_status mep_atomic_begin(mep_atomic_file *file, const char *path);
/* After a failure call only abandon. */
mep_status mep_atomic_write(mep_atomic_file *file, const void *data, int64_t size);
/* Sync the file, rename it to its path, sync the folder. Releases *file in either case. */
mep_status mep_atomic_commit(mep_atomic_file *file);
/* Remove the temporary file and release *file; `path` is unchanged. */
void mep_atomic_abandon(mep_atomic_file *file);

/* A file to which lines are appended; all zero if it is not open. It is created if it does not exist, and remains open
 * if it is renamed. A line and its newline are one write; they are not synced. Closing a file that is not open does
 * nothing. */
typedef struct mep_lines {
    char *path;
    int fd;
} mep_lines;

mep_status mep_lines_open(mep_lines *lines, const char *path);
mep_status mep_lines_append(mep_lines *lines, const char *line);
mep_status mep_lines_close(mep_lines *lines);

/* Truncate a file to its first `size` bytes, and sync it. */
mep_status mep_file_truncate(const char *path, int64_t size);

/* 1 if `path` is a regular file, or a folder; links are followed. */
int mep_file_exists(const char *path);
int mep_folder_exists(const char *path);

/* "folder/name", without a second slash if `folder` ends in one; free it with mep_free. */
mep_status mep_path_join(char **path, const char *folder, const char *name);

/* Create a folder, with `recursive` also its parents. It is not an error if it exists. */
mep_status mep_make_folder(const char *path, int recursive);

/* Remove a folder and everything in it. Links are removed, not followed; it is not an error if the path does not exist.
 * Only for temporary folders and old checkpoints. */
mep_status mep_remove_tree(const char *path);

/* Sync a file or a folder to the disk. */
mep_status mep_sync_path(const char *path);

/* Sync every regular file of a folder (not of folders within it) and the folder itself to the disk. */
mep_status mep_sync_folder(const char *path);

/* Rename the folder `from` to `to` atomically and sync the parent folder. If `to` exists, the two are exchanged, and
 * `from` is then the old folder. */
mep_status mep_rename_folder_atomic(const char *from, const char *to);

#endif
