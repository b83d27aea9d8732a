/* SPDX-License-Identifier: MIT */
/*
 * Split points: offsets at which a text may be split without changing its tokens. A split point is between a letter
 * or number and an ASCII white space, if the tokenizer's pattern splits text there (bpe_pretokenizer.c) and
 * 1. UTF-8: both characters are complete, and an invalid byte never joins a valid character;
 * 2. NFC: ASCII composes with nothing before it, and a letter that is its own NFC is still a letter after it has
 *    composed with the character before it (Hangul);
 * 3. added tokens: none can span the split point, strip the blank after it, or test for a word character there;
 * 4. in a vocabulary of characters, merges: none joins a character and the mark of a blank after it.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

static const char BLANKS[] = " \t\n\v\f\r";

static int is_blank(char c)
{
    return c != '\0' && strchr(BLANKS, c) != NULL;
}

/* 1 if a white space, or the mark that a normalizer replaces it by, is at this offset of the token. */
static int begins_blank(const mep_bpe_added *item, int64_t at)
{
    static const char mark[] = MEP_BPE_WORD_MARK;
    const int64_t width = sizeof mark - 1;
    return is_blank(item->text[at]) || (item->size - at >= width && memcmp(item->text + at, mark, (size_t)width) == 0);
}

/* 1 if text[.. at) ends in a letter or number, which begins at *first. */
static int ends_in_letter(const pcre2_code *letter, pcre2_match_data *match, const char *text, int64_t at,
                          int64_t *first)
{
    uint32_t code = 0;
    int64_t begin = at - 1, end = -1;
    while (begin > 0 && at - begin < 4 && ((unsigned char)text[begin] & 0xc0) == 0x80) --begin;
    *first = begin;
    if (mep_utf8_decode(text + begin, at - begin, &code) != at - begin) return 0;
    if (code < 0x80) return (code >= '0' && code <= '9') || ((code | 32) >= 'a' && (code | 32) <= 'z');
    return mep_bpe_pattern_next(letter, match, text + begin, at - begin, 0, &begin, &end) == MEP_OK && begin == 0;
}

/* 1 if texts may be split whichever of these tokens they contain. */
static int allows_splits(const mep_bpe_added_set *set, const pcre2_code *letter, pcre2_match_data *match)
{
    int64_t first;
    for (int64_t i = 0; i < set->count; ++i) {
        const mep_bpe_added *item = &set->items[i];
        if (item->single_word && begins_blank(item, 0)) return 0;
        if (item->rstrip && ends_in_letter(letter, match, item->text, item->size, &first)) return 0;
        for (int64_t at = 1; at < item->size; ++at)
            if (begins_blank(item, at) && ends_in_letter(letter, match, item->text, at, &first)) return 0;
    }
    return 1;
}

mep_status mep_bpe_split_points_init(mep_bpe *bpe)
{
    if (mep_bpe_pretokenizer_split_characters(&bpe->pretokenizer)[0] == '\0') return MEP_OK;
    if (bpe->pretokenizer.byte_level < 0 && !bpe->splits_words) return MEP_OK;
    MEP_TRY(mep_bpe_pattern_compile("[\\p{L}\\p{N}]", 0, &bpe->letter));
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (match == NULL || !allows_splits(&bpe->raw, bpe->letter, match) ||
        !allows_splits(&bpe->normalized, bpe->letter, match)) {
        pcre2_code_free(bpe->letter);
        bpe->letter = NULL;
    }
    pcre2_match_data_free(match);
    return MEP_OK;
}

static int is_normal(const mep_bpe_pretokenizer *pretokenizer, const char *text, int64_t size)
{
    mep_bpe_normal normal = {.text = text, .size = size, .start = MEP_BPE_CONTINUED};
    int same = mep_bpe_normalize(pretokenizer, &normal) == MEP_OK && normal.out_size == size &&
               memcmp(normal.out, text, (size_t)size) == 0;
    mep_free(&normal.made);
    return same;
}

int64_t mep_bpe_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size)
{
    const mep_bpe *bpe = (const mep_bpe *)tokenizer;
    const char *blanks = mep_bpe_pretokenizer_split_characters(&bpe->pretokenizer);
    pcre2_match_data *match = bpe->letter != NULL ? pcre2_match_data_create(1, NULL) : NULL;
    int64_t at = match != NULL ? size - 1 : 0, first = 0;
    for (; at > 0; --at) {
        if (text[at] == '\0' || strchr(blanks, text[at]) == NULL) continue;
        if (!ends_in_letter(bpe->letter, match, text, at, &first)) continue;
        if (is_normal(&bpe->pretokenizer, text + first, at - first)) break;
    }
    pcre2_match_data_free(match);
    return at > 0 ? at : 0;
}
