/* SPDX-License-Identifier: MIT */
/*
 * Reads the tokens of a spec. Every message of a failure points at a character.
 */
#ifndef MEP_BIAS_SPEC_READER_H
#define MEP_BIAS_SPEC_READER_H

#include <stddef.h>
#include <stdint.h>

#include "mep/status.h"

typedef struct mep_spec_reader {
    const char *text; /* the complete spec */
    const char *at;   /* the next character */
} mep_spec_reader;

/* Fail at `at`: position "TEXT", character N: PROBLEM; POSSIBLE. `possible` may be empty. */
mep_status mep_spec_fail(const mep_spec_reader *reader, const char *at, const char *possible, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A list of words for messages: "BEFOREWORD", each with what is written before it. */
typedef struct mep_word_list {
    char text[512];
    size_t used;
} mep_word_list;

void mep_word_list_add(mep_word_list *list, const char *before, const char *word);

void mep_spec_skip_space(mep_spec_reader *reader);

/* Step over `token` and the white space around it; 0 where the text does not have it here. */
int mep_spec_accept(mep_spec_reader *reader, const char *token);

/* The length of the word that starts here: letters, digits and underscores. */
int mep_spec_word(const mep_spec_reader *reader);
int mep_spec_is_word(const char *word, const char *start, int length);

int mep_spec_starts_number(const mep_spec_reader *reader);
mep_status mep_spec_number(mep_spec_reader *reader, double *value);

/* An integer from 1 to `most`; `name` is for messages. */
mep_status mep_spec_integer(mep_spec_reader *reader, const char *name, int64_t most, int64_t *value);

#endif
