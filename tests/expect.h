/* SPDX-License-Identifier: MIT */
/*
 * Checks of a status and of the message of the last failure. Include it after cmocka.h.
 */
#ifndef MEP_TESTS_EXPECT_H
#define MEP_TESTS_EXPECT_H

#include <string.h>

#include "mep/status.h"

static inline void expect(mep_status status, mep_status expected)
{
    if (status != expected)
        fail_msg("%s, not %s: %s", mep_status_name(status), mep_status_name(expected), mep_error_message());
}

/* The message contains `text` and is one line. */
static inline void expect_message(const char *text)
{
    if (strstr(mep_error_message(), text) == NULL) fail_msg("no \"%s\" in: %s", text, mep_error_message());
    if (strchr(mep_error_message(), '\n') != NULL) fail_msg("more than one line: %s", mep_error_message());
}

#endif
