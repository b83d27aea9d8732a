/* SPDX-License-Identifier: MIT */
/*
 * Checked, aligned allocation.
 */
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mep/types.h"

enum { ALIGNMENT = 64, LARGE = 64 << 20 /* bytes from which the available memory is checked first */ };
static atomic_llong allocations, failing;

int64_t mep_fail_allocation(int64_t n)
{
    failing = n;
    return atomic_exchange(&allocations, 0);
}

mep_status mep_multiply(int64_t a, int64_t b, int64_t c, int64_t *product)
{
    int64_t ab, abc;
    *product = 0;
    if (a < 0 || b < 0 || c < 0 || __builtin_mul_overflow(a, b, &ab) || __builtin_mul_overflow(ab, c, &abc))
        return mep_fail(MEP_ERROR_MEMORY, "a size of %lld x %lld x %lld does not fit 64 bits; use smaller sizes",
                        (long long)a, (long long)b, (long long)c);
    *product = abc;
    return MEP_OK;
}

int64_t mep_memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[256];
    long long kilobytes = 0, sum = 0;
    int found = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        int available = sscanf(line, "MemAvailable: %lld", &kilobytes) == 1;
        found |= available;
        if (available || sscanf(line, "SwapFree: %lld", &kilobytes) == 1) sum += kilobytes;
    }
    if (file != NULL) fclose(file);
    return found && sum <= INT64_MAX / 1024 ? sum * 1024 : INT64_MAX;
}

mep_status mep_alloc(void *pointer, int64_t count, size_t size)
{
    void *memory = NULL;
    memcpy(pointer, &memory, sizeof memory);
    int64_t bytes;
    MEP_TRY(mep_multiply(count, (int64_t)size, 1, &bytes));
    if (bytes > INT64_MAX - ALIGNMENT)
        return mep_fail(MEP_ERROR_MEMORY, "cannot allocate %lld bytes", (long long)bytes);
    size_t rounded = ((size_t)bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    int64_t available = bytes < LARGE ? INT64_MAX : mep_memory_available();
    if (bytes > available)
        return mep_fail(MEP_ERROR_MEMORY,
                        "cannot allocate %.1f MB more, of %.1f MB that are available; use a smaller batch, length or "
                        "model",
                        (double)bytes / 1e6, (double)available / 1e6);
    int64_t number = atomic_fetch_add(&allocations, 1) + 1;
    if (number != failing) memory = aligned_alloc(ALIGNMENT, rounded);
    if (memory == NULL)
        return mep_fail(MEP_ERROR_MEMORY, "cannot allocate %.1f MB of memory; use a smaller batch, length or model",
                        (double)bytes / 1e6);
    memset(memory, 0, rounded);
    memcpy(pointer, &memory, sizeof memory);
    return MEP_OK;
}

mep_status mep_grow(void *pointer, int64_t old_count, int64_t new_count, size_t size)
{
    void *old, *grown;
    memcpy(&old, pointer, sizeof old);
    MEP_TRY(mep_alloc(&grown, new_count, size));
    if (old != NULL && old_count > 0)
        memcpy(grown, old, (size_t)(old_count < new_count ? old_count : new_count) * size);
    free(old);
    memcpy(pointer, &grown, sizeof grown);
    return MEP_OK;
}

void(mep_free)(void *pointer)
{
    void *memory;
    memcpy(&memory, pointer, sizeof memory);
    free(memory);
    memory = NULL;
    memcpy(pointer, &memory, sizeof memory);
}

mep_status mep_copy_string(char **copy, const char *text)
{
    size_t size = strlen(text) + 1;
    MEP_TRY(MEP_ALLOC(copy, (int64_t)size));
    memcpy(*copy, text, size);
    return MEP_OK;
}

mep_status mep_format(char **text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return mep_fail(MEP_ERROR_ARGUMENT, "cannot format a string");
    MEP_TRY(MEP_ALLOC(text, (int64_t)length + 1));
    va_start(args, format);
    vsnprintf(*text, (size_t)length + 1, format, args);
    va_end(args);
    return MEP_OK;
}

void mep_text_free(char **text)
{
    if (text != NULL) mep_free(text);
}
