/* SPDX-License-Identifier: MIT */
/*
 * How library functions fail: mep_fail records a message for the calling thread and returns the status.
 */
#ifndef MEP_BASE_ERROR_H
#define MEP_BASE_ERROR_H

#include <stdint.h>

#include "mep/status.h"

/* Record the message (printf form, one line, says what to do) and return `status`. The message may quote a file, a path
 * or user input with any bytes: mep_one_line makes it printable. */
mep_status mep_fail(mep_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put a prefix ("FILE: ") before the message of the current failure; returns `status`. */
mep_status mep_fail_in(mep_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Replace control characters (mep_utf8_is_control) and bytes that are not UTF-8 by '?', in place, so that a text that
 * quotes others is one line of UTF-8 and has no effect on a terminal. */
void mep_one_line(char *text);

/* MEP_ERROR_IO with strerror(errno): "cannot open PATH: No such file or directory". */
mep_status mep_fail_errno(const char *action, const char *path);

/* MEP_ERROR_FORMAT where the first bytes of a file are those of a Git LFS pointer, which a clone made without git-lfs
 * contains instead of each large file; else MEP_OK. */
mep_status mep_refuse_pointer(const char *path, const void *start, int64_t size);

/* MEP_ERROR_ARGUMENT where one of `count` pointers is NULL: the message contains the function and the pointer's name,
 * from `names` separated by ", ". */
mep_status mep_check_pointers(const char *function, const char *names, const void *const *pointers, int count);

/* Return from a public function where one of these arguments is NULL. MEP_REQUIRE_AS takes their names where the header
 * has other ones. All are evaluated: a member of one of them needs a second line. */
#define MEP_REQUIRE(...) MEP_REQUIRE_AS(#__VA_ARGS__, __VA_ARGS__)
#define MEP_REQUIRE_AS(names, ...)                                                                                     \
    do {                                                                                                               \
        const void *const mep_pointers[] = {__VA_ARGS__};                                                              \
        MEP_TRY(mep_check_pointers(__func__, names, mep_pointers, (int)(sizeof mep_pointers / sizeof *mep_pointers))); \
    } while (0)

/* Return from the calling function when `call` fails. */
#define MEP_TRY(call)                                                                                                  \
    do {                                                                                                               \
        mep_status mep_try_status = (call);                                                                            \
        if (mep_try_status != MEP_OK) return mep_try_status;                                                           \
    } while (0)

/* Set `status`, and go to `label` when `call` fails; for functions that clean up. */
#define MEP_TRY_OR(status, call, label)                                                                                \
    do {                                                                                                               \
        (status) = (call);                                                                                             \
        if ((status) != MEP_OK) goto label;                                                                            \
    } while (0)

#endif
