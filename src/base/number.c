/* SPDX-License-Identifier: MIT */
/*
 * strtod and snprintf with the calling thread in the locale "C" during the call.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/number.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct visit {
    locale_t c, before;
} visit;

/* Without memory for a locale the thread stays in its own. */
static visit enter(void)
{
    visit v = {.c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (v.c != (locale_t)0) v.before = uselocale(v.c);
    return v;
}

static void leave(visit v)
{
    if (v.c == (locale_t)0) return;
    uselocale(v.before);
    freelocale(v.c);
}

double mep_number_parse(const char *text, char **end)
{
    visit v = enter();
    double value = strtod(text, end);
    leave(v);
    return value;
}

void mep_number_print(char text[MEP_NUMBER_SIZE], double value)
{
    char printed[MEP_NUMBER_SIZE]; /* a sanitizer of gcc assumes that `text` can be NULL here, and then warns */
    visit v = enter();
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(printed, sizeof printed, "%.*g", digits, value);
        if (strtod(printed, NULL) == value) break;
    }
    leave(v);
    memcpy(text, printed, sizeof printed);
}
