/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions of tokenizer.json, which are written for Oniguruma with Ruby's syntax, as PCRE2 patterns that
 * match the same on the same text. A construct that the two would read differently, or that is not known here, is
 * refused rather than guessed.
 */
#ifndef MEP_TOKENIZER_BPE_PATTERN_H
#define MEP_TOKENIZER_BPE_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>

#include "mep/status.h"

/* Compile `pattern` (UTF-8), or with `literal` a string that stands for itself. *code is the caller's
 * (pcre2_code_free). MEP_ERROR_FORMAT for a pattern that is wrong, MEP_ERROR_UNSUPPORTED for one that is not known. */
mep_status mep_bpe_pattern_compile(const char *pattern, int literal, pcre2_code **code);

/* One character of a class of Hugging Face's library. */
typedef enum mep_bpe_class { MEP_BPE_DIGITS, MEP_BPE_PUNCTUATION } mep_bpe_class;
mep_status mep_bpe_pattern_compile_class(mep_bpe_class class, pcre2_code **code);

/* The next match from `start` in `text`, as offsets; *first = -1 where there is none. The text is valid UTF-8. */
mep_status mep_bpe_pattern_next(const pcre2_code *code, pcre2_match_data *match, const char *text, int64_t size,
                                int64_t start, int64_t *first, int64_t *last);

#endif
