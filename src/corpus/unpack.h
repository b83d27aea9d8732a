/* SPDX-License-Identifier: MIT */
/*
 * Decompression and tar: reads blocks of bytes (of a file, or of a member of a tar) as an archive of libarchive, with
 * the given compression. gzip is read with zlib, because libarchive does not verify gzip's checksum and length.
 */
#ifndef MEP_CORPUS_UNPACK_H
#define MEP_CORPUS_UNPACK_H

#include <archive.h>
#include <archive_entry.h>
#include <stdint.h>

#include "mep/status.h"

enum { MEP_UNPACK_BLOCK = 1 << 16 }; /* bytes per read */

/* libarchive's read callback: returns the size of the next block of `source`, 0 at the end, or -1 with the archive's
 * error set. */
typedef la_ssize_t (*mep_block_fn)(struct archive *archive, void *source, const void **block);

/* A source: the bytes of an open file. The caller closes the file. */
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

/* An archive that is being read; all zero if none is open. */
typedef struct mep_unpacker {
    struct archive *archive;
    struct mep_gzip *gzip; /* between the source and the archive, or NULL */
} mep_unpacker;

/* Open the archive. `filter` is ARCHIVE_FILTER_NONE, _GZIP, _ZSTD or _XZ; a stream with another compression is refused.
 * With `tar` the entries are the members of a tar; otherwise there is one entry, the stream. `name` is the stream's
 * name for messages. The caller closes the unpacker in either case. */
mep_status mep_unpacker_open(mep_unpacker *unpacker, mep_block_fn read, void *source, int filter, int tar,
                             const char *name);
void mep_unpacker_close(mep_unpacker *unpacker);

/* Go to the next entry; NULL at the end. A damaged header is an error. */
mep_status mep_unpacker_next(mep_unpacker *unpacker, const char *name, struct archive_entry **entry);

/* Read up to `capacity` bytes of the entry; *got is 0 only at its end. */
mep_status mep_unpacker_read(mep_unpacker *unpacker, const char *name, char *to, int64_t capacity, int64_t *got);

#endif
