/* SPDX-License-Identifier: MIT */
/*
 * Repeating system calls after EINTR, and a buffer before write(2).
 */
#define _POSIX_C_SOURCE 200809L
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum { BUFFER = 1 << 16 };

struct mep_output {
    int fd;
    int64_t used;
    char buffer[BUFFER];
};

/* Repeat `call` until it is not interrupted. */
#define AGAIN(result, call)                                                                                            \
    do {                                                                                                               \
        (result) = (call);                                                                                             \
    } while ((result) < 0 && errno == EINTR)

int mep_fd_open(const char *path, int flags)
{
    int fd;
    AGAIN(fd, open(path, flags | O_CLOEXEC, 0666));
    return fd;
}

int64_t mep_fd_read(int fd, void *data, int64_t size, int64_t offset)
{
    ssize_t got;
    if (offset < 0)
        AGAIN(got, read(fd, data, (size_t)size));
    else
        AGAIN(got, pread(fd, data, (size_t)size, (off_t)offset));
    return got;
}

int64_t mep_fd_read_all(int fd, void *data, int64_t size, int64_t offset)
{
    int64_t done = 0;
    while (done < size) {
        int64_t got = mep_fd_read(fd, (char *)data + done, size - done, offset < 0 ? -1 : offset + done);
        if (got < 0) return -1;
        if (got == 0) break;
        done += got;
    }
    return done;
}

int mep_fd_write_all(int fd, const void *data, int64_t size)
{
    const char *bytes = data;
    while (size > 0) {
        ssize_t put;
        AGAIN(put, write(fd, bytes, (size_t)size));
        if (put < 0) return -1;
        bytes += put;
        size -= put;
    }
    return 0;
}

int mep_fd_sync(int fd)
{
    int result;
    AGAIN(result, fsync(fd));
    return result;
}

int mep_fd_truncate(int fd, int64_t size)
{
    int result;
    AGAIN(result, ftruncate(fd, (off_t)size));
    return result;
}

int mep_fd_close(int fd)
{
    return close(fd) == 0 || errno == EINTR ? 0 : -1;
}

int mep_output_open(mep_output **output, const char *path, int flags)
{
    mep_output *opened = NULL;
    *output = NULL;
    if (MEP_ALLOC(&opened, 1) != MEP_OK) {
        errno = ENOMEM;
        return -1;
    }
    opened->fd = mep_fd_open(path, O_WRONLY | O_CREAT | flags);
    if (opened->fd < 0) {
        int error = errno;
        mep_free(&opened);
        errno = error;
        return -1;
    }
    *output = opened;
    return 0;
}

int mep_output_flush(mep_output *output)
{
    int64_t size = output->used;
    output->used = 0;
    return mep_fd_write_all(output->fd, output->buffer, size);
}

int mep_output_write(mep_output *output, const void *data, int64_t size)
{
    if (size > BUFFER - output->used && mep_output_flush(output) != 0) return -1;
    if (size > BUFFER) return mep_fd_write_all(output->fd, data, size);
    if (size > 0) memcpy(output->buffer + output->used, data, (size_t)size);
    output->used += size;
    return 0;
}

int mep_output_sync(mep_output *output)
{
    return mep_output_flush(output) == 0 ? mep_fd_sync(output->fd) : -1;
}

int mep_output_close(mep_output **output)
{
    if (*output == NULL) return 0;
    int result = mep_output_flush(*output), error = errno;
    if (mep_fd_close((*output)->fd) != 0 && result == 0) {
        result = -1;
        error = errno;
    }
    mep_free(output);
    errno = error;
    return result;
}
