/* SPDX-License-Identifier: MIT */
/*
 * The byte tokenizer as a tokenizer.json, for Hugging Face's library: a byte-level BPE without merges, whose token 256
 * is the special token <|endoftext|>. (That library takes this name in a text for the token, this one for bytes.)
 */
#ifndef MEP_TOKENIZER_TOKENIZER_BYTES_H
#define MEP_TOKENIZER_TOKENIZER_BYTES_H

#include "tokenizer/tokenizer.h"

/* *text is the caller's (mep_free). */
mep_status mep_bytes_json(char **text, int64_t *size);

/* Whether a tokenizer.json says the same, in whatever order of keys and white space. */
int mep_bytes_is_json(const char *text, int64_t size);

#endif
