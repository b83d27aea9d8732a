/* SPDX-License-Identifier: MIT */
/*
 * What a failed assertion does. Only builds with MEP_ASSERTIONS call it.
 */
#include "base/assertion.h"

#include <stdio.h>
#include <stdlib.h>

void mep_assertion_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: the assertion \"%s\" failed; this is an error in libmep\n", file, line, condition);
    abort();
}
