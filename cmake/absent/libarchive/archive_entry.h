/* SPDX-License-Identifier: MIT */
/*
 * In place of libarchive's header of the same name (archive.h).
 */
#ifndef MEP_ABSENT_ARCHIVE_ENTRY_H
#define MEP_ABSENT_ARCHIVE_ENTRY_H

#include <archive.h>

static inline const char *archive_entry_pathname(struct archive_entry *entry) MEP_ABSENT(NULL, entry)
static inline const char *archive_entry_pathname_utf8(struct archive_entry *entry) MEP_ABSENT(NULL, entry)
static inline unsigned archive_entry_filetype(struct archive_entry *entry) MEP_ABSENT(0, entry)

#endif
