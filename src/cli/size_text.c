/* SPDX-License-Identifier: MIT */
/*
 * Sizes in bytes and lengths in tokens as text.
 */
#include "cli/size_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Units of sizes: the letters after the number, which a "B" may follow. */
static const struct {
    const char *name;
    int64_t bytes;
} UNITS[] = {{"T", 1000000000000},     {"G", 1000000000}, {"M", 1000000},  {"K", 1000}, {"Ti", INT64_C(1) << 40},
             {"Gi", INT64_C(1) << 30}, {"Mi", 1 << 20},   {"Ki", 1 << 10}, {"", 1}};

enum { UNIT_COUNT = sizeof UNITS / sizeof *UNITS };

int mep_bytes_read(const char *text, int64_t *bytes)
{
    char *end;
    if (!isdigit((unsigned char)*text)) return 0;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    size_t length = strlen(end);
    if (length > 0 && (end[length - 1] == 'B' || end[length - 1] == 'b')) length--;
    for (int i = 0; i < UNIT_COUNT; i++)
        if (strlen(UNITS[i].name) == length && strncasecmp(UNITS[i].name, end, length) == 0)
            return errno == 0 && value > 0 && !__builtin_mul_overflow((int64_t)value, UNITS[i].bytes, bytes);
    return 0;
}

void mep_bytes_text(int64_t bytes, char text[24])
{
    int i = 0;
    while (bytes % UNITS[i].bytes != 0) i++;
    snprintf(text, 24, "%lld%s%s", (long long)(bytes / UNITS[i].bytes), UNITS[i].name, *UNITS[i].name ? "B" : "");
}

void mep_length_text(int64_t length, char text[24])
{
    static const char *const suffixes[] = {"", "K", "M", "G"};
    int power = 0;
    for (; power < 3 && length != 0 && length % 1024 == 0; power++) length /= 1024;
    snprintf(text, 24, "%lld%s", (long long)length, suffixes[power]);
}
