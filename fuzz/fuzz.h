/* SPDX-License-Identifier: MIT */
/*
 * Common parts of the fuzzers: the declaration of the target, the check of a message, and the input as a text. folder.h
 * is for parsers that read files.
 */
#ifndef MEP_FUZZ_FUZZ_H
#define MEP_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mep/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A message is one printable line. */
static inline void check_line(const char *text)
{
    if (*text == '\0') abort();
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F) abort();
}

/* A failure has a message. */
static inline void check_message(mep_status status)
{
    if (status != MEP_OK) check_line(mep_error_message());
}

/* The input as a zero-terminated text, to be freed. It ends at the first zero byte. */
static inline char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) abort();
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
