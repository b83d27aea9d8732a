/* SPDX-License-Identifier: MIT */
/*
 * Unicode's normal forms with utf8proc, one cluster at a time. A cluster is a code point that the form may change (for
 * NFC above U+02FF, for the other forms any outside ASCII), the non-ASCII text around it, and the ASCII character
 * before, with which it may compose. All other text is its own normal form and is only scanned. Inert code points
 * (bpe_unicode.h) are copied and end a cluster.
 */
#include "tokenizer/bpe_pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe_unicode.h"

/* The lead byte of U+0300, below which NFC changes nothing, and of U+00A0, from which the other forms decompose. */
enum { FIRST_LEAD_NFC = 0xcc, FIRST_LEAD = 0xc2 };

static int composes(mep_bpe_form form)
{
    return form == MEP_BPE_NFC || form == MEP_BPE_NFKC;
}

static int is_compatible(mep_bpe_form form)
{
    return form == MEP_BPE_NFKC || form == MEP_BPE_NFKD;
}

typedef struct buffer {
    char *data;
    int64_t size, capacity;
} buffer;

static mep_status append(buffer *b, const void *data, int64_t size)
{
    if (size == 0) return MEP_OK;
    if (size > b->capacity - b->size) {
        int64_t capacity = 2 * b->capacity + size;
        MEP_TRY(MEP_GROW(&b->data, b->size, capacity));
        b->capacity = capacity;
    }
    memcpy(b->data + b->size, data, (size_t)size);
    b->size += size;
    return MEP_OK;
}

static int is_inert(uint32_t code)
{
    int64_t low = 0, high = sizeof mep_unicode_inert / sizeof *mep_unicode_inert;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (code > mep_unicode_inert[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < (int64_t)(sizeof mep_unicode_inert / sizeof *mep_unicode_inert) &&
           code >= mep_unicode_inert[low].first;
}

/* ---- One cluster ---- */

static int compare_words(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sort a sequence of marks stably by their combining classes. utf8proc's own sort takes quadratic time. */
static mep_status sort_marks(utf8proc_int32_t *codes, int64_t count)
{
    uint64_t *keys = NULL;
    MEP_TRY(MEP_ALLOC(&keys, count));
    for (int64_t i = 0; i < count; ++i) /* 8 bits of class, 35 of index, 21 of code point */
        keys[i] =
            (uint64_t)utf8proc_get_property(codes[i])->combining_class << 56 | (uint64_t)i << 21 | (uint64_t)codes[i];
    qsort(keys, (size_t)count, sizeof *keys, compare_words);
    for (int64_t i = 0; i < count; ++i) codes[i] = (utf8proc_int32_t)(keys[i] & 0x1fffff);
    mep_free(&keys);
    return MEP_OK;
}

/* Sort each range of combining marks by combining class (Unicode's canonical ordering). */
static mep_status order(utf8proc_int32_t *codes, int64_t count)
{
    for (int64_t first = 0, end = 0; first < count; first = end + 1) {
        int previous = 0, sorted = 1;
        for (end = first; end < count; ++end) {
            int class = utf8proc_get_property(codes[end])->combining_class;
            if (class == 0) break;
            sorted &= class >= previous;
            previous = class;
        }
        if (!sorted) MEP_TRY(sort_marks(codes + first, end - first));
    }
    return MEP_OK;
}

/* Decompose, reorder, compose if the form does, and append. */
static mep_status change(buffer *b, mep_bpe_form form, const char *text, int64_t size)
{
    utf8proc_int32_t *codes = NULL;
    int64_t capacity = 6 * size + 4, count = 0; /* at most 18 code points for 3 bytes (U+FDFA) */
    utf8proc_option_t options = UTF8PROC_STABLE | (composes(form) ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
    if (is_compatible(form)) options |= UTF8PROC_COMPAT;
    char bytes[4];
    if (size == 0) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&codes, capacity));
    for (int64_t at = 0; at < size;) {
        uint32_t code = 0;
        int boundary = 0;
        at += mep_utf8_decode(text + at, size - at, &code);
        count += utf8proc_decompose_char((utf8proc_int32_t)code, codes + count, (utf8proc_ssize_t)(capacity - count),
                                         options, &boundary);
    }
    mep_status status = order(codes, count);
    if (status == MEP_OK) {
        if (composes(form)) count = utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count, options);
        for (int64_t i = 0; i < count && status == MEP_OK; ++i)
            status = append(b, bytes, mep_utf8_encode((uint32_t)codes[i], bytes));
    }
    mep_free(&codes);
    return status;
}

/* Change one cluster; inert code points in it are copied. */
static mep_status change_cluster(buffer *b, mep_bpe_form form, const char *text, int64_t size)
{
    int64_t done = 0;
    uint32_t code = 0;
    int length = 0;
    for (int64_t at = 0; at < size; at += length) {
        length = mep_utf8_decode(text + at, size - at, &code);
        if (length == 0) return mep_fail(MEP_ERROR_ARGUMENT, "the text to normalize is not UTF-8");
        if (!is_inert(code)) continue;
        MEP_TRY(change(b, form, text + done, at - done));
        MEP_TRY(append(b, text + at, length));
        done = at + length;
    }
    return change(b, form, text + done, size - done);
}

/* Find the next cluster from `at` on: *first .. the returned end. Both are `size` if there is none. */
static int64_t next_cluster(mep_bpe_form form, const unsigned char *text, int64_t size, int64_t at, int64_t *first)
{
    unsigned char lead = form == MEP_BPE_NFC ? FIRST_LEAD_NFC : FIRST_LEAD;
    int64_t found = at;
    while (found < size && text[found] < lead) ++found;
    *first = found;
    while (found < size && at < *first && text[*first] >= 0x80) --*first; /* the ASCII character before it */
    while (found < size && text[found] >= 0x80) ++found;
    return found;
}

/* Set *out to the normal form of the text: the text itself where nothing changes, else *made, which the caller frees.
 */
mep_status mep_bpe_normal_form(mep_bpe_form form, const char *text, int64_t size, char **made, const char **out,
                               int64_t *out_size)
{
    buffer b = {0};
    int64_t first, end = next_cluster(form, (const unsigned char *)text, size, 0, &first);
    *made = NULL;
    *out = text;
    *out_size = size;
    if (first == size) return MEP_OK;
    mep_status status = MEP_OK;
    for (int64_t at = 0; at < size && status == MEP_OK;) {
        status = append(&b, text + at, first - at);
        if (status == MEP_OK) status = change_cluster(&b, form, text + first, end - first);
        at = end;
        end = next_cluster(form, (const unsigned char *)text, size, at, &first);
    }
    *made = b.data;
    *out = b.data;
    *out_size = b.size;
    if (status != MEP_OK) mep_free(made);
    return status;
}
