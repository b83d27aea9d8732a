/* SPDX-License-Identifier: MIT */
/*
 * In place of libarchive in a build without it (MEP_OPTIONAL_LIBRARIES): what the sources name of it, so that they
 * compile. No archive can be made; callers fail before they call a function (MEP_NEED).
 */
#ifndef MEP_ABSENT_ARCHIVE_H
#define MEP_ABSENT_ARCHIVE_H

#include <stddef.h>
#include <sys/types.h>

typedef ssize_t la_ssize_t;
struct archive;
struct archive_entry;
typedef la_ssize_t archive_read_callback(struct archive *archive, void *source, const void **block);
enum { ARCHIVE_OK = 0, ARCHIVE_EOF = 1, ARCHIVE_RETRY = -10, ARCHIVE_WARN = -20, ARCHIVE_FATAL = -30 };
enum { ARCHIVE_FILTER_NONE = 0, ARCHIVE_FILTER_GZIP = 1, ARCHIVE_FILTER_XZ = 6, ARCHIVE_FILTER_ZSTD = 14 };
enum { AE_IFREG = 1 };

static inline struct archive *archive_read_new(void)
{
    return NULL;
}

#define MEP_ABSENT(result, ...) \
    {                           \
        (void)(__VA_ARGS__);    \
        return result;          \
    }
static inline int archive_read_free(struct archive *a) MEP_ABSENT(ARCHIVE_OK, a)
static inline int archive_read_open(struct archive *a, void *source, void *open, archive_read_callback *read, void *close)
    MEP_ABSENT(ARCHIVE_FATAL, a, source, open, read, close)
static inline int archive_read_next_header(struct archive *a, struct archive_entry **entry)
    MEP_ABSENT(ARCHIVE_FATAL, a, entry)
static inline la_ssize_t archive_read_data(struct archive *a, void *to, size_t size) MEP_ABSENT(-1, a, to, size)
static inline int archive_read_set_option(struct archive *a, const char *module, const char *option, const char *value)
    MEP_ABSENT(ARCHIVE_FATAL, a, module, option, value)
static inline int archive_read_support_filter_xz(struct archive *a) MEP_ABSENT(ARCHIVE_FATAL, a)
static inline int archive_read_support_filter_zstd(struct archive *a) MEP_ABSENT(ARCHIVE_FATAL, a)
static inline int archive_read_support_format_empty(struct archive *a) MEP_ABSENT(ARCHIVE_FATAL, a)
static inline int archive_read_support_format_raw(struct archive *a) MEP_ABSENT(ARCHIVE_FATAL, a)
static inline int archive_read_support_format_tar(struct archive *a) MEP_ABSENT(ARCHIVE_FATAL, a)
static inline int archive_filter_code(struct archive *a, int index) MEP_ABSENT(ARCHIVE_FILTER_NONE, a, index)
static inline int archive_errno(struct archive *a) MEP_ABSENT(0, a)
static inline const char *archive_error_string(struct archive *a) MEP_ABSENT(NULL, a)
static inline void archive_set_error(struct archive *a, int code, const char *format, ...) MEP_ABSENT(, a, code, format)

#endif
