/* SPDX-License-Identifier: MIT */
/*
 * Added tokens: strings that become one token wherever they occur in a text; they are found before any pattern or merge
 * is applied. The order of the steps, and the handling of adjacent stripped blanks, are those of Hugging Face's
 * AddedVocabulary.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

mep_status mep_bpe_added_append(mep_bpe_added_set *set, const mep_bpe_added *item, const char *text, int64_t size)
{
    if (set->count == set->capacity) {
        MEP_TRY(MEP_GROW(&set->items, set->count, 2 * set->capacity + 16));
        set->capacity = 2 * set->capacity + 16;
    }
    mep_bpe_added *added = &set->items[set->count];
    *added = *item;
    added->text = NULL;
    MEP_TRY(MEP_ALLOC(&added->text, size + 1));
    memcpy(added->text, text, (size_t)size);
    added->size = size;
    set->count++;
    return MEP_OK;
}

void mep_bpe_added_free(mep_bpe_added_set *set)
{
    for (int64_t i = 0; i < set->count; ++i) mep_free(&set->items[i].text);
    mep_free(&set->items);
    pcre2_code_free(set->word);
    set->word = NULL;
    set->count = 0;
}

static int compare(const void *a, const void *b)
{
    const mep_bpe_added *x = a, *y = b;
    int order = memcmp(x->text, y->text, (size_t)min_i64(x->size, y->size));
    if (order != 0) return order;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* \w of Rust's regular expressions. */
static mep_status compile_word(pcre2_code **code)
{
    static const char word[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]";
    int error = 0;
    PCRE2_SIZE offset = 0;
    *code = pcre2_compile((PCRE2_SPTR)word, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                          &error, &offset, NULL);
    return *code != NULL ? MEP_OK
                         : mep_fail(MEP_ERROR_UNSUPPORTED, "added tokens with single_word need PCRE2 10.40 or newer");
}

/* If two tokens have the same normalized text, Hugging Face's library finds one or the other, depending on the order in
 * its hash table. */
static mep_status check_distinct(const mep_bpe_added_set *set)
{
    for (int64_t i = 1; i < set->count; ++i) {
        const mep_bpe_added *x = &set->items[i - 1], *y = &set->items[i];
        if (x->id != y->id && x->size == y->size && memcmp(x->text, y->text, (size_t)x->size) == 0)
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "added_tokens: %d and %d are both \"%.60s\" after normalization, so the id is ambiguous; "
                            "give one of them \"normalized\": false",
                            (int)x->id, (int)y->id, x->text);
    }
    return MEP_OK;
}

mep_status mep_bpe_added_sort(mep_bpe_added_set *set)
{
    int single_word = 0;
    int64_t at = 0;
    if (set->count > 0) qsort(set->items, (size_t)set->count, sizeof *set->items, compare);
    MEP_TRY(check_distinct(set));
    for (int byte = 0; byte <= 256; ++byte) {
        while (at < set->count && (unsigned char)set->items[at].text[0] < byte) ++at;
        set->first[byte] = at;
    }
    for (int64_t i = 0; i < set->count; ++i) single_word |= set->items[i].single_word;
    return single_word ? compile_word(&set->word) : MEP_OK;
}

/* The longest item that the text begins with, or NULL. Items low .. high - 1 match the bytes compared so far. */
static const mep_bpe_added *longest(const mep_bpe_added_set *set, const char *text, int64_t size)
{
    unsigned char byte = (unsigned char)text[0];
    int64_t low = set->first[byte], high = set->first[byte + 1];
    const mep_bpe_added *found = NULL;
    for (int64_t depth = 1; low < high; ++depth) {
        if (set->items[low].size == depth) found = &set->items[low];
        while (low < high && set->items[low].size == depth) ++low;
        if (depth == size || low == high) break;
        byte = (unsigned char)text[depth];
        while (low < high && (unsigned char)set->items[low].text[depth] < byte) ++low;
        while (low < high && (unsigned char)set->items[high - 1].text[depth] > byte) --high;
    }
    return found;
}

/* ---- The text around a match ---- */

static int is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

/* The offset of the character before `at`. */
static int64_t before(const char *text, int64_t at)
{
    do --at;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static int64_t skip_space_back(const char *text, int64_t at)
{
    uint32_t code = 0;
    while (at > 0) {
        int64_t previous = before(text, at);
        if (mep_utf8_decode(text + previous, at - previous, &code) == 0 || !is_space(code)) break;
        at = previous;
    }
    return at;
}

static int64_t skip_space(const char *text, int64_t size, int64_t at)
{
    uint32_t code = 0;
    while (at < size) {
        int length = mep_utf8_decode(text + at, size - at, &code);
        if (length == 0 || !is_space(code)) break;
        at += length;
    }
    return at;
}

static int is_word(const mep_bpe_added_set *set, const char *text, int64_t first, int64_t last)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (match == NULL) return 0;
    int found = pcre2_match(set->word, (PCRE2_SPTR)text + first, (PCRE2_SIZE)(last - first), 0, 0, match, NULL);
    pcre2_match_data_free(match);
    return found > 0;
}

/* 1 if there is no word character before `first` and none at `last`. */
static int stands_alone(const mep_bpe_added_set *set, const char *text, int64_t size, int64_t first, int64_t last)
{
    uint32_t code;
    int length = last < size ? mep_utf8_decode(text + last, size - last, &code) : 0;
    return (first == 0 || !is_word(set, text, before(text, first), first)) &&
           (last == size || !is_word(set, text, last, last + length));
}

mep_status mep_bpe_added_split(const mep_bpe_added_set *set, const char *text, int64_t size, mep_bpe_range_fn range,
                               void *context)
{
    int64_t done = 0, at = 0;
    while (set->count > 0 && at < size) {
        const mep_bpe_added *found = longest(set, text + at, size - at);
        if (found == NULL) {
            ++at;
            continue;
        }
        int64_t first = at, last = at + found->size;
        at = last;
        if (found->single_word && !stands_alone(set, text, size, first, last)) continue;
        if (found->lstrip) first = max_i64(skip_space_back(text, first), done);
        if (found->rstrip) last = skip_space(text, size, last);
        if (first > done) MEP_TRY(range(context, -1, text + done, first - done));
        if (last > first) MEP_TRY(range(context, found->id, text + first, last - first)); /* else it was stripped */
        done = last;
    }
    return done < size ? range(context, -1, text + done, size - done) : MEP_OK;
}
