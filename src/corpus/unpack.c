/* SPDX-License-Identifier: MIT */
/*
 * Sources of bytes, gzip, and the calls of libarchive with their errors.
 */
#define _POSIX_C_SOURCE 200809L
#define ZLIB_CONST
#include "corpus/unpack.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/libraries.h"
#include "base/memory.h"

/* ---- Sources ---- */

la_ssize_t mep_file_source_read(struct archive *archive, void *source, const void **block)
{
    mep_file_source *file = source;
    int64_t size = mep_fd_read(file->fd, file->block, sizeof file->block, -1);
    *block = file->block;
    if (size < 0)
        archive_set_error(archive, errno, "%s", strerror(errno));
    else
        file->bytes += size;
    return size;
}

la_ssize_t mep_member_source_read(struct archive *archive, void *source, const void **block)
{
    mep_member_source *member = source;
    *block = member->block;
    la_ssize_t size = archive_read_data(member->tar, member->block, sizeof member->block);
    if (size < 0) {
        const char *text = archive_error_string(member->tar);
        archive_set_error(archive, archive_errno(member->tar), "%s", text != NULL ? text : "the tar cannot be read");
    }
    return size;
}

/* ---- gzip ---- */

/* A source that decompresses another one: the content of its gzip members, one after the other. zlib verifies the
 * checksum and the length at the end of each member. */
typedef struct mep_gzip {
    mep_block_fn read;
    void *source;
    z_stream stream;
    int member;  /* 1 inside a member */
    int members; /* number of members begun so far */
    char block[MEP_UNPACK_BLOCK];
} mep_gzip;

static la_ssize_t fail_gzip(struct archive *archive, const char *reason)
{
    archive_set_error(archive, EILSEQ, "%s", reason);
    return -1;
}

/* Read input bytes if there are none; at the end of the source there are still none. */
static int fill(mep_gzip *gzip, struct archive *archive)
{
    const void *block;
    if (gzip->stream.avail_in > 0) return 0;
    la_ssize_t size = gzip->read(archive, gzip->source, &block);
    if (size < 0) return -1;
    gzip->stream.next_in = block;
    gzip->stream.avail_in = (uInt)size;
    return 0;
}

/* Begin the next member (returns 1), or detect the end, which may be padded with zeros (0), or fail (-1). */
static int begin_member(mep_gzip *gzip, struct archive *archive)
{
    z_stream *z = &gzip->stream;
    int padded = 0;
    for (;;) {
        if (fill(gzip, archive) != 0) return -1;
        if (z->avail_in == 0) return 0;
        if (gzip->members == 0 || *z->next_in != 0) break;
        padded = 1;
        ++z->next_in;
        --z->avail_in;
    }
    if (padded || *z->next_in != 0x1F) return (int)fail_gzip(archive, "bytes that are not gzip follow the gzip data");
    inflateReset(z);
    gzip->member = 1;
    ++gzip->members;
    return 1;
}

/* Report an error code of zlib. */
static la_ssize_t fail_inflate(const mep_gzip *gzip, struct archive *archive, int code)
{
    const char *text = gzip->stream.msg;
    if (code == Z_MEM_ERROR) return fail_gzip(archive, "out of memory");
    if (text != NULL && strcmp(text, "incorrect data check") == 0)
        return fail_gzip(archive, "its text does not have the checksum that gzip stored");
    if (text != NULL && strcmp(text, "incorrect length check") == 0)
        return fail_gzip(archive, "its text does not have the length that gzip stored");
    return fail_gzip(archive, text != NULL ? text : "the gzip data is not valid");
}

/* Decompress the next block (an archive_read_callback): its bytes, 0 at the end, -1 after an error. */
static la_ssize_t read_gzip(struct archive *archive, void *source, const void **block)
{
    mep_gzip *gzip = source;
    z_stream *z = &gzip->stream;
    *block = gzip->block;
    z->next_out = (unsigned char *)gzip->block;
    z->avail_out = sizeof gzip->block;
    while (z->avail_out == sizeof gzip->block) {
        if (!gzip->member) {
            int begun = begin_member(gzip, archive);
            if (begun <= 0) return begun;
        }
        if (fill(gzip, archive) != 0) return -1;
        if (z->avail_in == 0) return fail_gzip(archive, "the gzip data ends in the middle");
        int code = inflate(z, Z_NO_FLUSH);
        if (code == Z_STREAM_END)
            gzip->member = 0;
        else if (code != Z_OK)
            return fail_inflate(gzip, archive, code);
    }
    return (la_ssize_t)(sizeof gzip->block - z->avail_out);
}

/* Insert the gzip source between `source` and its reader. The caller refuses a stream that is not gzip. */
static mep_status insert_gzip(mep_unpacker *unpacker, mep_block_fn read, void *source, const char *name)
{
    enum { GZIP_ONLY = 16 };
    MEP_TRY(MEP_ALLOC(&unpacker->gzip, 1));
    mep_gzip *gzip = unpacker->gzip;
    gzip->read = read;
    gzip->source = source;
    if (inflateInit2(&gzip->stream, MAX_WBITS + GZIP_ONLY) != Z_OK) {
        mep_free(&unpacker->gzip);
        return mep_fail(MEP_ERROR_MEMORY, "cannot allocate a reader for %s", name);
    }
    return MEP_OK;
}

/* ---- libarchive ---- */

static mep_status fail_archive(struct archive *archive, const char *name)
{
    const char *text = archive_error_string(archive);
    if (text == NULL) text = "it cannot be decompressed";
    if (strstr(text, "too much memory") != NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "cannot read %s: it was compressed with a window of more than 128 MB (zstd --long or --ultra); "
                        "decompress it with zstd -d --long=31, or compress it again",
                        name);
    return mep_fail(MEP_ERROR_FORMAT,
                    "cannot read %s: %s; it is damaged, or the end of its name does not match its content", name, text);
}

static mep_status fail_name(const char *name)
{
    return mep_fail(MEP_ERROR_FORMAT,
                    "cannot read %s: it is not compressed as the end of its name says; rename it or compress it again",
                    name);
}

static mep_status support(struct archive *archive, int filter, int tar, const char *name)
{
    int code = ARCHIVE_OK;
    if (filter == ARCHIVE_FILTER_ZSTD) code = archive_read_support_filter_zstd(archive);
    if (filter == ARCHIVE_FILTER_XZ) code = archive_read_support_filter_xz(archive);
    if (code != ARCHIVE_OK)
        return mep_fail(
            MEP_ERROR_UNSUPPORTED,
            "cannot read %s: this system's libarchive does not support its compression; decompress it first", name);
    if (tar) {
        archive_read_support_format_tar(archive);
        /* The end of a tar may only be followed by another tar. So the stream is read to its end, where its checksum
         * is, and a range of zeros is not mistaken for the end. */
        archive_read_set_option(archive, "tar", "read_concatenated_archives", "1");
    } else {
        archive_read_support_format_raw(archive);
        archive_read_support_format_empty(archive);
    }
    return MEP_OK;
}

mep_status mep_unpacker_open(mep_unpacker *unpacker, mep_block_fn read, void *source, int filter, int tar,
                             const char *name)
{
    *unpacker = (mep_unpacker){0};
    MEP_NEED(LIBARCHIVE, "libarchive", "text files cannot be read");
    if (filter == ARCHIVE_FILTER_GZIP) MEP_NEED(ZLIB, "zlib", "files compressed by gzip cannot be read");
    unpacker->archive = archive_read_new();
    if (unpacker->archive == NULL) return mep_fail(MEP_ERROR_MEMORY, "cannot allocate a reader for %s", name);
    MEP_TRY(support(unpacker->archive, filter, tar, name));
    int is_gzip = filter == ARCHIVE_FILTER_GZIP;
    if (is_gzip) {
        MEP_TRY(insert_gzip(unpacker, read, source, name));
        read = read_gzip;
        source = unpacker->gzip;
    }
    if (archive_read_open(unpacker->archive, source, NULL, read, NULL) != ARCHIVE_OK) {
        int is_other = is_gzip && unpacker->gzip->members == 0 && archive_errno(unpacker->archive) == EILSEQ;
        return is_other ? fail_name(name) : fail_archive(unpacker->archive, name);
    }
    /* libarchive accepts an uncompressed stream too, but here the name must be right. */
    int found = is_gzip ? (unpacker->gzip->members > 0 ? filter : ARCHIVE_FILTER_NONE)
                        : archive_filter_code(unpacker->archive, 0);
    return found == filter ? MEP_OK : fail_name(name);
}

void mep_unpacker_close(mep_unpacker *unpacker)
{
    archive_read_free(unpacker->archive);
    if (unpacker->gzip != NULL) inflateEnd(&unpacker->gzip->stream);
    mep_free(&unpacker->gzip);
}

mep_status mep_unpacker_next(mep_unpacker *unpacker, const char *name, struct archive_entry **entry)
{
    int code = archive_read_next_header(unpacker->archive, entry);
    if (code == ARCHIVE_EOF) *entry = NULL;
    if (code == ARCHIVE_OK || code == ARCHIVE_WARN || code == ARCHIVE_EOF) return MEP_OK;
    return fail_archive(unpacker->archive, name); /* also for ARCHIVE_RETRY, which skips what it cannot read */
}

mep_status mep_unpacker_read(mep_unpacker *unpacker, const char *name, char *to, int64_t capacity, int64_t *got)
{
    la_ssize_t size = archive_read_data(unpacker->archive, to, (size_t)capacity);
    *got = size > 0 ? size : 0;
    return size >= 0 ? MEP_OK : fail_archive(unpacker->archive, name);
}
