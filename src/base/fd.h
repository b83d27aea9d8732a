/* SPDX-License-Identifier: MIT */
/*
 * System calls on files, repeated after EINTR: a host program can have signal handlers without SA_RESTART, which make
 * any of these calls fail with EINTR. They return what the system calls return, and set errno.
 */
#ifndef MEP_BASE_FD_H
#define MEP_BASE_FD_H

#include <stdint.h>

/* open(2) with O_CLOEXEC and the mode 0666. */
int mep_fd_open(const char *path, int flags);

/* Read up to `size` bytes in one call: fewer where there are no more at the moment, 0 at the end, -1 on failure. With
 * an offset of -1, from the current position. */
int64_t mep_fd_read(int fd, void *data, int64_t size, int64_t offset);

/* Read `size` bytes, or fewer at the end of the file. Returns how many, or -1. */
int64_t mep_fd_read_all(int fd, void *data, int64_t size, int64_t offset);

/* Write all bytes. Returns 0 or -1. */
int mep_fd_write_all(int fd, const void *data, int64_t size);

int mep_fd_sync(int fd);
int mep_fd_truncate(int fd, int64_t size);
/* Close. EINTR is not a failure: the file is closed then. */
int mep_fd_close(int fd);

/* A file that is written through a buffer; NULL where it is not open. */
typedef struct mep_output mep_output;

/* Open with O_WRONLY | O_CREAT | `flags`. Returns 0 or -1; *output is NULL on failure. */
int mep_output_open(mep_output **output, const char *path, int flags);
/* After a failure the content of the file is unknown: close it. */
int mep_output_write(mep_output *output, const void *data, int64_t size);
int mep_output_flush(mep_output *output);
/* Flush the buffer, then fsync. */
int mep_output_sync(mep_output *output);
/* Flush and close; *output becomes NULL. */
int mep_output_close(mep_output **output);

#endif
