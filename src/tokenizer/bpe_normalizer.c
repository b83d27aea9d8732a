/* SPDX-License-Identifier: MIT */
/*
 * The "normalizer" section of a tokenizer.json as a list of steps: a normal form (bpe_normalize.c), a prefix, or the
 * replacement of a literal or of a pattern.
 */
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "tokenizer/bpe_pretokenizer.h"

/* ---- Reading ---- */

static mep_status read_form(mep_bpe_normalizer *step, const json_t *object)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static_assert(sizeof forms / sizeof *forms == MEP_BPE_NFKD + 1, "one name per form, in the same order");
    const char *type = json_string_value(json_object_get(object, "type"));
    MEP_NEED(UTF8PROC, "utf8proc", "tokenizers with a Unicode normalizer cannot be used");
    for (int i = 0; i <= MEP_BPE_NFKD; ++i)
        if (strcmp(type, forms[i]) == 0) step->form = (mep_bpe_form)i;
    return MEP_OK;
}

/* Copy a string of the section, which has no zero byte. */
static mep_status read_text(const json_t *value, const char *type, const char *key, char **text)
{
    const char *found = json_string_value(value);
    if (found == NULL) return mep_fail(MEP_ERROR_FORMAT, "the normalizer %s has no string \"%s\"", type, key);
    return mep_copy_string(text, found);
}

static mep_status read_prepend(mep_bpe_normalizer *step, const json_t *object)
{
    step->kind = MEP_BPE_PREPEND;
    return read_text(json_object_get(object, "prepend"), "Prepend", "prepend", &step->content);
}

static mep_status read_replace(mep_bpe_normalizer *step, const json_t *object)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    step->kind = MEP_BPE_REPLACE;
    MEP_TRY(read_text(json_object_get(object, "content"), "Replace", "content", &step->content));
    if (regex != NULL) return mep_bpe_pattern_compile(regex, 0, &step->code);
    MEP_TRY(read_text(json_object_get(pattern, "String"), "Replace", "pattern", &step->literal));
    if (step->literal[0] != '\0') return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the normalizer Replace has an empty pattern, which is not supported");
}

static const struct {
    const char *type;
    mep_status (*read)(mep_bpe_normalizer *step, const json_t *object);
} KNOWN[] = {{"NFC", read_form},  {"NFD", read_form},        {"NFKC", read_form},
             {"NFKD", read_form}, {"Prepend", read_prepend}, {"Replace", read_replace}};

/* Append a normalizer, or those of a sequence; sequences may be nested. */
static mep_status add_normalizer(mep_bpe_pretokenizer *pretokenizer, const json_t *object, int depth)
{
    const json_t *list = json_object_get(object, "normalizers");
    const char *type = json_string_value(json_object_get(object, "type"));
    if (object == NULL || json_is_null(object)) return MEP_OK;
    if (type == NULL) type = "(no type)";
    if (strcmp(type, "Sequence") == 0 && json_is_array(list) && depth < MEP_BPE_NORMALIZERS) {
        for (size_t i = 0; i < json_array_size(list); ++i)
            MEP_TRY(add_normalizer(pretokenizer, json_array_get(list, i), depth + 1));
        return MEP_OK;
    }
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; ++i) {
        if (strcmp(type, KNOWN[i].type) != 0) continue;
        if (pretokenizer->normalizer_count == MEP_BPE_NORMALIZERS)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "there are more than %d normalizers", MEP_BPE_NORMALIZERS);
        return KNOWN[i].read(&pretokenizer->normalizers[pretokenizer->normalizer_count++], object);
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the normalizer \"%s\" is not supported; the supported ones are NFC, NFD, NFKC, NFKD, Prepend, "
                    "Replace and sequences of these",
                    type);
}

mep_status mep_bpe_normalizers_init(mep_bpe_pretokenizer *pretokenizer, const json_t *normalizer)
{
    return add_normalizer(pretokenizer, normalizer, 0);
}

/* ---- Normalizing ---- */

typedef struct buffer {
    char *data;
    int64_t size, capacity;
} buffer;

static mep_status append(buffer *b, const char *data, int64_t size)
{
    if (size > b->capacity - b->size) {
        int64_t capacity = 2 * b->capacity + size + 64;
        MEP_TRY(MEP_GROW(&b->data, b->size, capacity));
        b->capacity = capacity;
    }
    if (size > 0) memcpy(b->data + b->size, data, (size_t)size);
    b->size += size;
    return MEP_OK;
}

static mep_status prepend(const mep_bpe_normalizer *step, const char *text, int64_t size, buffer *out)
{
    MEP_TRY(append(out, step->content, (int64_t)strlen(step->content)));
    return append(out, text, size);
}

/* Append the text after the last match. The result has data even if it is empty. */
static mep_status finish(buffer *out, const char *text, int64_t size)
{
    MEP_TRY(append(out, text, size));
    return out->data == NULL ? MEP_ALLOC(&out->data, 1) : MEP_OK;
}

/* The first occurrence of the literal in text[at .. size); `size` if there is none. */
static int64_t find_literal(const char *literal, int64_t width, const char *text, int64_t size, int64_t at)
{
    while (at + width <= size) {
        const char *found = memchr(text + at, literal[0], (size_t)(size - width + 1 - at));
        if (found == NULL) break;
        if (memcmp(found, literal, (size_t)width) == 0) return found - text;
        at = found - text + 1;
    }
    return size;
}

static mep_status replace_literal(const mep_bpe_normalizer *step, const char *text, int64_t size, buffer *out)
{
    int64_t width = (int64_t)strlen(step->literal), content = (int64_t)strlen(step->content), done = 0;
    int64_t at = find_literal(step->literal, width, text, size, 0);
    while (at < size) {
        MEP_TRY(append(out, text + done, at - done));
        MEP_TRY(append(out, step->content, content));
        done = at + width;
        at = find_literal(step->literal, width, text, size, done);
    }
    return done > 0 ? finish(out, text + done, size - done) : MEP_OK;
}

static mep_status replace_pattern(const mep_bpe_normalizer *step, const char *text, int64_t size, buffer *out)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (match == NULL) return mep_fail(MEP_ERROR_MEMORY, "cannot allocate memory for a match");
    mep_status status = MEP_OK;
    int64_t done = 0, first = 0, last = 0;
    while (status == MEP_OK && done < size) {
        status = mep_bpe_pattern_next(step->code, match, text, size, done, &first, &last);
        if (status != MEP_OK || first < 0) break;
        status = append(out, text + done, first - done);
        if (status == MEP_OK) status = append(out, step->content, (int64_t)strlen(step->content));
        done = last;
    }
    pcre2_match_data_free(match);
    return status == MEP_OK && done > 0 ? finish(out, text + done, size - done) : status;
}

/* Apply a step to n->out. The result is in `next`, which has no data if the step changed nothing. */
static mep_status apply(const mep_bpe_normalizer *step, const mep_bpe_normal *n, buffer *next)
{
    const char *out = n->out;
    switch (step->kind) {
    case MEP_BPE_FORM:
        return mep_bpe_normal_form(step->form, n->out, n->out_size, &next->data, &out, &next->size);
    case MEP_BPE_PREPEND:
        if (n->out_size == 0 || n->start == MEP_BPE_CONTINUED || step->content[0] == '\0') return MEP_OK;
        return prepend(step, n->out, n->out_size, next);
    case MEP_BPE_REPLACE:
        if (step->literal != NULL) return replace_literal(step, n->out, n->out_size, next);
        return replace_pattern(step, n->out, n->out_size, next);
    }
    return MEP_OK;
}

mep_status mep_bpe_normalize(const mep_bpe_pretokenizer *pretokenizer, mep_bpe_normal *n)
{
    n->made = NULL;
    n->out = n->text;
    n->out_size = n->size;
    mep_status status = MEP_OK;
    for (int i = 0; i < pretokenizer->normalizer_count && status == MEP_OK; ++i) {
        buffer next = {0};
        status = apply(&pretokenizer->normalizers[i], n, &next);
        if (status != MEP_OK) mep_free(&next.data);
        if (next.data == NULL) continue;
        mep_free(&n->made);
        n->made = next.data;
        n->out = next.data;
        n->out_size = next.size;
    }
    if (status != MEP_OK) mep_free(&n->made);
    return status;
}
