/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 for tokenizers and messages: how far a text is valid, reading and writing one code point, and which code points
 * a terminal interprets. Valid means valid by the Unicode standard (table 3-7): no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 */
#ifndef MEP_BASE_UTF8_H
#define MEP_BASE_UTF8_H

#include <stdint.h>

/* The code point at the start of `text`; returns its bytes, 1 .. 4, or 0 where it is not valid. size >= 1. */
int mep_utf8_decode(const char *text, int64_t size, uint32_t *code);

/* Number of bytes from the start of the text that are valid UTF-8. */
int64_t mep_utf8_valid(const char *text, int64_t size);

/* Write a code point, 1 .. 4 bytes; returns how many. */
int mep_utf8_encode(uint32_t code, char text[4]);

/* 1 for a code point that changes a terminal or the order of the text around it instead of being displayed: controls
 * (C0, DEL and C1), line separators, direction marks. */
int mep_utf8_is_control(uint32_t code);

#endif
