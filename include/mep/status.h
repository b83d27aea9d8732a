/* SPDX-License-Identifier: MIT */
/*
 * Status codes and error messages. Every function that can fail returns a mep_status; the message of the last failure
 * on the calling thread says what went wrong and what to do. The library never exits, aborts or prints (except builds
 * with the CMake option MEP_ASSERTIONS, which abort where the library itself is wrong). What it is built with can:
 * OpenMP ends the program where no thread can be created, and jansson can read JSON wrongly, or abort, where memory
 * runs out while it parses.
 *
 * A pointer may be NULL only where its function says so, and for an array or text of 0 elements. Any other NULL is
 * MEP_ERROR_ARGUMENT, and the message names the argument. Functions that do not return a status then return 0, NULL, ""
 * (texts of a handle) or -1 (a token, a position, an index), or do nothing.
 */
#ifndef MEP_STATUS_H
#define MEP_STATUS_H

#if defined(__GNUC__)
#define MEP_API __attribute__((visibility("default")))
#else
#define MEP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mep_status {
    MEP_OK = 0,
    MEP_ERROR_ARGUMENT,    /* a parameter of the call or of the command line is wrong */
    MEP_ERROR_MEMORY,      /* an allocation failed, or a size overflows 64 bits */
    MEP_ERROR_IO,          /* a file could not be read or written */
    MEP_ERROR_FORMAT,      /* a file was read, but its content is not valid */
    MEP_ERROR_UNSUPPORTED, /* valid, but not possible with this build or machine */
    MEP_ERROR_NUMERIC,     /* a loss or a gradient is not finite */
    MEP_INTERRUPTED        /* the caller asked to stop; finished work is saved */
} mep_status;

/* Message of the last failure on this thread: one line without a newline, "" where none has failed. The string belongs
 * to the library and is valid until the next failing call on the same thread. Thread-safe. */
MEP_API const char *mep_error_message(void);

/* Name of a status ("MEP_ERROR_IO"), a constant string for any value. Thread-safe. */
MEP_API const char *mep_status_name(mep_status status);

#ifdef __cplusplus
}
#endif

#endif
