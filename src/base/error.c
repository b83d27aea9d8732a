/* SPDX-License-Identifier: MIT */
/*
 * Error messages, one buffer per thread.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { MESSAGE_SIZE = 1024 };
static _Thread_local char message[MESSAGE_SIZE];

const char *mep_error_message(void)
{
    return message;
}

void mep_one_line(char *text)
{
    const char *from = text, *end = text + strlen(text);
    while (from < end) {
        uint32_t code = 0;
        int size = mep_utf8_decode(from, end - from, &code), is_shown = size > 0 && !mep_utf8_is_control(code);
        if (is_shown)
            memmove(text, from, (size_t)size);
        else
            *text = '?';
        text += is_shown ? size : 1;
        from += size > 0 ? size : 1;
    }
    *text = '\0';
}

mep_status mep_fail(mep_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    mep_one_line(message);
    return status;
}

mep_status mep_fail_in(mep_status status, const char *format, ...)
{
    char previous[MESSAGE_SIZE];
    memcpy(previous, message, sizeof previous);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (used >= 0 && used < MESSAGE_SIZE) snprintf(message + used, (size_t)(MESSAGE_SIZE - used), "%s", previous);
    mep_one_line(message);
    return status;
}

mep_status mep_fail_errno(const char *action, const char *path)
{
    return mep_fail(MEP_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

mep_status mep_refuse_pointer(const char *path, const void *start, int64_t size)
{
    static const char POINTER[] = "version https://git-lfs";
    int64_t length = (int64_t)strlen(POINTER);
    if (size < length || memcmp(start, POINTER, (size_t)length) != 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s is a pointer of Git LFS and not the file: fetch it with git lfs pull", path);
}

mep_status mep_check_pointers(const char *function, const char *names, const void *const *pointers, int count)
{
    for (int i = 0; i < count; i++) {
        size_t length = strcspn(names, ",");
        if (pointers[i] == NULL)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: the argument \"%.*s\" is NULL; give one that is not", function,
                            (int)length, names);
        names += length;
        names += strspn(names, ", ");
    }
    return MEP_OK;
}

const char *mep_status_name(mep_status status)
{
    switch (status) {
    case MEP_OK:
        return "MEP_OK";
    case MEP_ERROR_ARGUMENT:
        return "MEP_ERROR_ARGUMENT";
    case MEP_ERROR_MEMORY:
        return "MEP_ERROR_MEMORY";
    case MEP_ERROR_IO:
        return "MEP_ERROR_IO";
    case MEP_ERROR_FORMAT:
        return "MEP_ERROR_FORMAT";
    case MEP_ERROR_UNSUPPORTED:
        return "MEP_ERROR_UNSUPPORTED";
    case MEP_ERROR_NUMERIC:
        return "MEP_ERROR_NUMERIC";
    case MEP_INTERRUPTED:
        return "MEP_INTERRUPTED";
    }
    return "unknown status";
}
