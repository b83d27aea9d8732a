/* SPDX-License-Identifier: MIT */
/*
 * The tokens of bytes that every vocabulary needs, so that an input of a few bytes can be valid.
 */
#ifndef MEP_FUZZ_BYTE_VOCABULARY_H
#define MEP_FUZZ_BYTE_VOCABULARY_H

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/bpe.h"
#include "base/utf8.h"

/* Add the missing ones of a byte-level vocabulary, numbered from the object's size upward. */
static inline void add_bytes(json_t *vocab)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[5] = "";
        mep_utf8_encode(mep_bpe_code_of_byte(byte), name);
        if (json_object_get(vocab, name) == NULL)
            json_object_set_new(vocab, name, json_integer((json_int_t)json_object_size(vocab)));
    }
}

/* Add the missing ones of a vocabulary of characters with byte fallback, and the mark of a blank. */
static inline void add_fallback(json_t *vocab)
{
    for (int byte = 0; byte <= 256; byte++) {
        char name[8] = MEP_BPE_WORD_MARK;
        if (byte < 256) snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        if (json_object_get(vocab, name) == NULL)
            json_object_set_new(vocab, name, json_integer((json_int_t)json_object_size(vocab)));
    }
}

/* Encode a text. Every token has bytes; with `exact` they are the text. */
static inline void encode_and_decode(const mep_tokenizer *tokenizer, const void *text, int64_t size, int exact)
{
    int32_t *ids = NULL;
    int64_t count = 0, at = 0;
    if (mep_tokenizer_encode(tokenizer, text, size, &ids, &count) != MEP_OK) return;
    for (int64_t i = 0; i < count; i++) {
        const char *bytes = NULL;
        int64_t length = 0;
        if (mep_tokenizer_decode(tokenizer, ids[i], &bytes, &length) != MEP_OK) abort();
        if (exact && (length > size - at || memcmp(bytes, (const char *)text + at, (size_t)length) != 0)) abort();
        at += length;
    }
    if (exact && at != size) abort();
    char *all = NULL;
    int64_t length = 0;
    if (mep_tokenizer_decode_text(tokenizer, ids, count, &all, &length) != MEP_OK || length > at) abort();
    if (exact && length != size) abort();
    mep_text_free(&all);
    mep_tokens_free(&ids);
}

#endif
