/* SPDX-License-Identifier: MIT */
/*
 * System calls on files that a signal does not end: a host may have handlers without SA_RESTART, and then any of them
 * can fail with EINTR, which only means that it is to be called again. They return what the calls return, with errno.
 */
#ifndef MEP_BASE_FD_H
#define MEP_BASE_FD_H

#include <stdint.h>

/* open(2) with O_CLOEXEC and the mode 0666. */
int mep_fd_open(const char *path, int flags);

/* Up to `size` bytes at once: fewer where there are no more at the moment, 0 at the end, -1 on failure. With an offset
 * of -1 from where the file stands. */
int64_t mep_fd_read(int fd, void *data, int64_t size, int64_t offset);

/* Exactly `size` bytes; fewer only at the end of the file. Returns how many, or -1. */
int64_t mep_fd_read_all(int fd, void *data, int64_t size, int64_t offset);

/* All bytes; 0, or -1. */
int mep_fd_write_all(int fd, const void *data, int64_t size);

int mep_fd_sync(int fd);
int mep_fd_truncate(int fd, int64_t size);
/* EINTR is no failure: the file is closed then. */
int mep_fd_close(int fd);

/* A file that is written through a buffer; NULL is one that is not open. */
typedef struct mep_output mep_output;

/* 0, or -1. Opened with O_WRONLY | O_CREAT and `flags` besides; *output is NULL on failure. */
int mep_output_open(mep_output **output, const char *path, int flags);
/* What a failure leaves in the file is not known: close it. */
int mep_output_write(mep_output *output, const void *data, int64_t size);
int mep_output_flush(mep_output *output);
/* Flush and sync. */
int mep_output_sync(mep_output *output);
/* Flush, close, and set to NULL. */
int mep_output_close(mep_output **output);

#endif
