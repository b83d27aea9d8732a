/* SPDX-License-Identifier: MIT */
/*
 * Output of text from a model or a token. A pipe or a file gets the bytes. A terminal gets no byte that would control
 * it: control characters, direction marks and bytes that are not UTF-8 are written as \x1b or \u202e; line feeds and
 * tabs are kept.
 */
#ifndef MEP_CLI_TERMINAL_TEXT_H
#define MEP_CLI_TERMINAL_TEXT_H

#include <stdint.h>
#include <stdio.h>

/* The text is written in blocks, which may end within a character. */
typedef struct mep_terminal_text {
    FILE *file;
    int is_terminal;
    char held[4]; /* the beginning of a character */
    int count;
} mep_terminal_text;

void mep_terminal_text_begin(mep_terminal_text *text, FILE *file);
void mep_terminal_text_write(mep_terminal_text *text, const char *bytes, int64_t size);
/* Write the bytes that are held. */
void mep_terminal_text_end(mep_terminal_text *text);

#endif
