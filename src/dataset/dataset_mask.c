/* SPDX-License-Identifier: MIT */
/*
 * Reading the mask of a dataset, by pread as the tokens are.
 */
#define _POSIX_C_SOURCE 200809L
#include "dataset/dataset_mask.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/integer.h"
#include "base/memory.h"

enum { CHUNK = 1 << 14 };

mep_status mep_dataset_mask_open(mep_dataset_mask *mask, const char *json_path, int64_t tokens)
{
    struct stat info;
    int length = (int)(strlen(json_path) - strlen(".json"));
    MEP_TRY(mep_format(&mask->path, "%.*s.mask", length, json_path));
    mask->fd = mep_fd_open(mask->path, O_RDONLY);
    if (mask->fd < 0) return mep_fail_errno("open", mask->path);
    if (fstat(mask->fd, &info) != 0) return mep_fail_errno("read", mask->path);
    if (info.st_size == tokens) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s has %lld bytes, not one for each of the %lld tokens; prepare the dataset again", mask->path,
                    (long long)info.st_size, (long long)tokens);
}

void mep_dataset_mask_close(mep_dataset_mask *mask)
{
    if (mask->path != NULL && mask->fd >= 0) close(mask->fd);
    mep_free(&mask->path);
}

mep_status mep_dataset_mask_apply(const mep_dataset_mask *mask, int64_t first, int64_t count, int32_t *targets)
{
    unsigned char bytes[CHUNK];
    if (mask->path == NULL) return MEP_OK;
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = min_i64(count - done, CHUNK), got = mep_fd_read_all(mask->fd, bytes, some, first + done);
        if (got < 0) return mep_fail_errno("read", mask->path);
        if (got < some)
            return mep_fail(MEP_ERROR_IO, "%s became shorter while it was in use; restore the file", mask->path);
        for (int64_t i = 0; i < some; i++) {
            if (bytes[i] > 1)
                return mep_fail(MEP_ERROR_FORMAT, "%s: byte %lld is %d, not 0 or 1; prepare the dataset again",
                                mask->path, (long long)(first + done + i), bytes[i]);
            if (bytes[i] == 0) targets[done + i] = MEP_TARGET_NONE;
        }
    }
    return MEP_OK;
}

void mep_dataset_mask_checksum(const mep_dataset_mask *mask, int64_t tokens, mep_checksum *checksum)
{
    unsigned char bytes[CHUNK];
    for (int64_t done = 0; mask->path != NULL && done < tokens; done += CHUNK) {
        int64_t some = min_i64(tokens - done, CHUNK);
        if (mep_fd_read_all(mask->fd, bytes, some, done) == some) mep_checksum_add(checksum, bytes, some);
    }
}
