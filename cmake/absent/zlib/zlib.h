/* SPDX-License-Identifier: MIT */
/*
 * In place of zlib in a build without it (MEP_OPTIONAL_LIBRARIES): what the sources name of it, so that they compile.
 * Callers fail before they call a function (MEP_NEED).
 */
#ifndef MEP_ABSENT_ZLIB_H
#define MEP_ABSENT_ZLIB_H

typedef unsigned uInt;
typedef struct z_stream {
    const unsigned char *next_in;
    unsigned char *next_out;
    uInt avail_in, avail_out;
    const char *msg;
} z_stream;
enum { Z_NO_FLUSH = 0, Z_OK = 0, Z_STREAM_END = 1, Z_STREAM_ERROR = -2, Z_MEM_ERROR = -4, MAX_WBITS = 15 };

static inline int inflateInit2(z_stream *stream, int window)
{
    (void)stream, (void)window;
    return Z_STREAM_ERROR;
}

static inline int inflateReset(z_stream *stream)
{
    (void)stream;
    return Z_STREAM_ERROR;
}

static inline int inflate(z_stream *stream, int flush)
{
    (void)stream, (void)flush;
    return Z_STREAM_ERROR;
}

static inline int inflateEnd(z_stream *stream)
{
    (void)stream;
    return Z_STREAM_ERROR;
}

#endif
