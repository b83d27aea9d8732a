/* SPDX-License-Identifier: MIT */
/*
 * The first symbols of a text for vocabularies of characters, as SentencePiece makes them (Llama 2, Mistral): the token
 * of each character, otherwise the tokens <0x00> .. <0xFF> of its bytes ("byte_fallback"), otherwise the unknown token.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

enum { PAGE = 256, CODES = 0x110000, PAGES = CODES / PAGE };

mep_status mep_bpe_characters_init(mep_bpe_characters *characters)
{
    characters->unknown = -1;
    return MEP_ALLOC(&characters->page_of, PAGES);
}

void mep_bpe_characters_free(mep_bpe_characters *characters)
{
    mep_free(&characters->page_of);
    mep_free(&characters->ids);
}

mep_status mep_bpe_characters_add(mep_bpe_characters *characters, uint32_t code, int32_t id)
{
    int32_t *page = &characters->page_of[code / PAGE];
    if (*page == 0) {
        MEP_TRY(MEP_GROW(&characters->ids, characters->pages * PAGE, (characters->pages + 1) * PAGE));
        *page = (int32_t)++characters->pages;
    }
    characters->ids[(*page - 1) * PAGE + (int32_t)(code % PAGE)] = id + 1;
    return MEP_OK;
}

int32_t mep_bpe_character_id(const mep_bpe_characters *characters, uint32_t code)
{
    int32_t page = characters->page_of[code / PAGE];
    return page > 0 ? characters->ids[(page - 1) * PAGE + (int32_t)(code % PAGE)] - 1 : -1;
}

/* Write the tokens of the bytes of a character; 0 if one of them has none. */
static int put_bytes(const int32_t bytes[256], const char *text, int length, int32_t *ids)
{
    for (int i = 0; i < length; ++i) {
        ids[i] = bytes[(unsigned char)text[i]];
        if (ids[i] < 0) return 0;
    }
    return 1;
}

/* An unknown character is held back until the next known one, as in Hugging Face's library: tokens of bytes in between
 * come before it. With "fuse_unk" the unknown characters held back at the same time are one token. */
int64_t mep_bpe_characters_of(const mep_bpe_characters *characters, const int32_t bytes[256], const char *text,
                              int64_t size, int32_t *ids)
{
    int64_t count = 0;
    int held = 0, length;
    for (int64_t at = 0; at < size; at += length) {
        uint32_t code = 0;
        length = mep_utf8_decode(text + at, size - at, &code);
        if (length == 0) break; /* the text is valid UTF-8 */
        int32_t id = mep_bpe_character_id(characters, code);
        if (id >= 0) {
            if (held) ids[count++] = characters->unknown;
            held = 0;
            ids[count++] = id;
        } else if (put_bytes(bytes, text + at, length, ids + count)) {
            count += length;
        } else if (characters->unknown >= 0) {
            if (held && !characters->fuses_unknown) ids[count++] = characters->unknown;
            held = 1;
        }
    }
    if (held) ids[count++] = characters->unknown;
    return count;
}

int64_t mep_bpe_word_end(const char *text, int64_t size)
{
    static const char mark[] = MEP_BPE_WORD_MARK;
    const int64_t width = sizeof mark - 1;
    int64_t at = 0;
    while (at + width <= size && memcmp(text + at, mark, (size_t)width) == 0) at += width;
    while (at + width <= size) {
        const char *found = memchr(text + at, mark[0], (size_t)(size - width + 1 - at));
        if (found == NULL) break;
        if (memcmp(found, mark, (size_t)width) == 0) return found - text;
        at = found - text + 1;
    }
    return size;
}
