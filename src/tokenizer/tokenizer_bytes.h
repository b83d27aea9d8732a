/* SPDX-License-Identifier: MIT */
/*
 * The byte tokenizer as a tokenizer.json for Hugging Face's library: a byte-level BPE without merges whose token 256 is
 * the special token <|endoftext|>. (If a text contains this name, that library reads one token; the byte tokenizer
 * reads bytes.)
 */
#ifndef MEP_TOKENIZER_TOKENIZER_BYTES_H
#define MEP_TOKENIZER_TOKENIZER_BYTES_H

#include "tokenizer/tokenizer.h"

/* The caller frees *text with mep_free. */
mep_status mep_bytes_json(char **text, int64_t *size);

/* 1 if a tokenizer.json has the same content, whatever its white space and order of keys. */
int mep_bytes_is_json(const char *text, int64_t size);

#endif
