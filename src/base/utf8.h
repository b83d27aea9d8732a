/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 as tokenizers and messages need it: how far a text is valid, one code point in or out, and what a terminal
 * would obey rather than show. Valid is what the Unicode standard says (table 3-7): no overlong forms, no surrogates,
 * nothing above U+10FFFF.
 */
#ifndef MEP_BASE_UTF8_H
#define MEP_BASE_UTF8_H

#include <stdint.h>

/* Bytes of the code point that `text` begins with, 1 .. 4, and the code point; 0 where it begins with none that is
 * valid. size >= 1. */
int mep_utf8_decode(const char *text, int64_t size, uint32_t *code);

/* Bytes from the start of the text that are valid UTF-8. */
int64_t mep_utf8_valid(const char *text, int64_t size);

/* Write a code point, 1 .. 4 bytes; returns how many. */
int mep_utf8_encode(uint32_t code, char text[4]);

/* 1 for a code point that changes a terminal or the order of the text around it rather than being shown: controls (C0,
 * DEL and C1), separators of lines, marks of direction. */
int mep_utf8_is_control(uint32_t code);

#endif
