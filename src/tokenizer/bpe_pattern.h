/* SPDX-License-Identifier: MIT */
/*
 * Translates the regular expressions of a tokenizer.json, which use Oniguruma's Ruby syntax, into PCRE2 patterns with
 * the same matches. A construct that the two libraries interpret differently, or that is not known here, is refused.
 */
#ifndef MEP_TOKENIZER_BPE_PATTERN_H
#define MEP_TOKENIZER_BPE_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>

#include "mep/status.h"

/* Compile `pattern` (UTF-8); with `literal` it is a string to match verbatim. The caller frees *code with
 * pcre2_code_free. MEP_ERROR_FORMAT for an invalid pattern, MEP_ERROR_UNSUPPORTED for an unsupported one. */
mep_status mep_bpe_pattern_compile(const char *pattern, int literal, pcre2_code **code);

/* Compile a pattern that matches one character of a class of Hugging Face's library. */
typedef enum mep_bpe_class { MEP_BPE_DIGITS, MEP_BPE_PUNCTUATION } mep_bpe_class;
mep_status mep_bpe_pattern_compile_class(mep_bpe_class class, pcre2_code **code);

/* Find the next match in `text`, which is valid UTF-8, from `start` on: the offsets *first and *last; *first = -1 if
 * there is none. */
mep_status mep_bpe_pattern_next(const pcre2_code *code, pcre2_match_data *match, const char *text, int64_t size,
                                int64_t start, int64_t *first, int64_t *last);

#endif
