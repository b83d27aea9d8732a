/* SPDX-License-Identifier: MIT */
/*
 * Text that a model or a token stands for, on the standard output: a pipe or a file gets its bytes, a terminal gets no
 * byte that would act on it. There control characters, marks of direction and bytes that are not UTF-8 are written as
 * \x1b or \u202e; line feeds and tabs stay.
 */
#ifndef MEP_CLI_TERMINAL_TEXT_H
#define MEP_CLI_TERMINAL_TEXT_H

#include <stdint.h>
#include <stdio.h>

/* Text comes in pieces, which may end inside of a character. */
typedef struct mep_terminal_text {
    FILE *file;
    int is_terminal;
    char held[4]; /* the beginning of a character */
    int count;
} mep_terminal_text;

void mep_terminal_text_begin(mep_terminal_text *text, FILE *file);
void mep_terminal_text_write(mep_terminal_text *text, const char *bytes, int64_t size);
/* Write what is held. */
void mep_terminal_text_end(mep_terminal_text *text);

#endif
