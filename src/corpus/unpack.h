/* SPDX-License-Identifier: MIT */
/*
 * Unpacking: from blocks of bytes (a file's, or those of a member of a tar) to an archive of libarchive, through the
 * compression that is named. gzip is read here by zlib, because libarchive does not compare gzip's checksum and length.
 */
#ifndef MEP_CORPUS_UNPACK_H
#define MEP_CORPUS_UNPACK_H

#include <archive.h>
#include <archive_entry.h>
#include <stdint.h>

#include "mep/status.h"

enum { MEP_UNPACK_BLOCK = 1 << 16 }; /* bytes that are read at a time */

/* As libarchive asks for bytes: the next block of `source`, its size, 0 at the end, or -1 with the archive's error. */
typedef la_ssize_t (*mep_block_fn)(struct archive *archive, void *source, const void **block);

/* A source: the bytes of an open file, which its owner closes. */
typedef struct mep_file_source {
    int fd;
    int64_t bytes; /* read so far */
    char block[MEP_UNPACK_BLOCK];
} mep_file_source;

la_ssize_t mep_file_source_read(struct archive *archive, void *source, const void **block);

/* A source: the bytes of the member whose header was read last. */
typedef struct mep_member_source {
    struct archive *tar;
    char block[MEP_UNPACK_BLOCK];
} mep_member_source;

la_ssize_t mep_member_source_read(struct archive *archive, void *source, const void **block);

/* An archive that is read; all zero where none is open. */
typedef struct mep_unpacker {
    struct archive *archive;
    struct mep_gzip *gzip; /* between the source and the archive, or NULL */
} mep_unpacker;

/* Open the archive. `filter` is ARCHIVE_FILTER_NONE, _GZIP, _ZSTD or _XZ; what is not compressed so is refused. With
 * `tar` it has the members of a tar, else one entry: the stream. `name` is that of the stream, for messages. The caller
 * closes the unpacker in either case. */
mep_status mep_unpacker_open(mep_unpacker *unpacker, mep_block_fn read, void *source, int filter, int tar,
                             const char *name);
void mep_unpacker_close(mep_unpacker *unpacker);

/* Go to the next entry; NULL at the end. A header that is damaged is an error. */
mep_status mep_unpacker_next(mep_unpacker *unpacker, const char *name, struct archive_entry **entry);

/* Read up to `room` bytes of the entry; *got is 0 at its end only. */
mep_status mep_unpacker_read(mep_unpacker *unpacker, const char *name, char *to, int64_t room, int64_t *got);

#endif
