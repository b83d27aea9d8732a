/* SPDX-License-Identifier: MIT */
/*
 * Translation of patterns. Supported are: literals, escapes of punctuation, \n \r \t \f \v, \s \S \d \D, \p and \P with
 * letters, marks, numbers, punctuation, symbols, separators and their subcategories, ^ and $ (of lines), classes (also
 * nested: Ruby forms their union), groups, (?i:..) around ASCII, look-ahead and look-behind, alternatives, quantifiers.
 * Every literal is written as its code point, so that PCRE2 sees no special character that was not checked here.
 */
#include "tokenizer/bpe_pattern.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe_unicode.h"

enum { DEPTH = 32, TRANSLATION = 1 << 16 };

/* Unicode's white space; PCRE2's \s would also contain U+180E. */
static const char SPACE[] = "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
                            "\\x{3000}";

typedef struct translation {
    const char *pattern, *at;
    char *out;
    int64_t used, size;
    int caseless; /* number of open groups (?i:..) */
    uint32_t previous;
} translation;

static mep_status refuse(const translation *t, const char *what)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the pattern \"%.200s\" has %s at character %lld, which is not supported",
                    t->pattern, what, (long long)(t->at - t->pattern));
}

__attribute__((format(printf, 2, 3))) static mep_status put(translation *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(t->out + t->used, (size_t)(t->size - t->used), format, args);
    va_end(args);
    if (length < 0 || t->used + length >= t->size)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the pattern \"%.60s...\" is too long", t->pattern);
    t->used += length;
    return MEP_OK;
}

/* Write a literal. Case-insensitive literals must be ASCII, and must not be a pair that a ligature matches too. */
static mep_status put_literal(translation *t, uint32_t code)
{
    static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st", NULL};
    for (int i = 0; t->caseless > 0 && pairs[i] != NULL; ++i)
        if ((t->previous | 32) == (uint32_t)pairs[i][0] && (code | 32) == (uint32_t)pairs[i][1])
            return refuse(t, "case-insensitive letters that match a ligature");
    if (t->caseless > 0 && code > 0x7f) return refuse(t, "a case-insensitive letter outside ASCII");
    t->previous = code;
    return put(t, "\\x{%x}", (unsigned)code);
}

/* ---- Classes of characters ---- */

/* Write the content of the brackets for a category such as "L" or "Lu". */
static mep_status put_category(translation *t, const char *name)
{
    MEP_TRY(put(t, "\\p{%s}", name));
    for (size_t i = 0; i < sizeof mep_unicode_new / sizeof *mep_unicode_new; ++i)
        if (strncmp(mep_unicode_new[i].category, name, strlen(name)) == 0)
            MEP_TRY(put(t, "\\x{%x}-\\x{%x}", (unsigned)mep_unicode_new[i].first, (unsigned)mep_unicode_new[i].last));
    return MEP_OK;
}

/* Read the name after \p or \P: {L}; {^L} is refused. */
static mep_status read_category(translation *t, char name[3])
{
    static const char *const known[] = {"L",  "N",  "M",  "P",  "S",  "Z",  "Lu", "Ll", "Lt", "Lm",
                                        "Lo", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
                                        "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", NULL};
    const char *end = *t->at == '{' ? strchr(t->at, '}') : NULL;
    for (int i = 0; end != NULL && known[i] != NULL; ++i) {
        if ((size_t)(end - t->at - 1) != strlen(known[i]) || strncmp(t->at + 1, known[i], strlen(known[i])) != 0)
            continue;
        snprintf(name, 3, "%s", known[i]);
        t->at = end + 1;
        return MEP_OK;
    }
    return refuse(t, "a property other than L, M, N, P, S, Z and their subcategories");
}

/* Translate the escape after a backslash. A class is written here, with brackets unless `inside` a class already; a
 * single character is returned in *code, which is UINT32_MAX otherwise. */
static mep_status escape(translation *t, int inside, uint32_t *code)
{
    static const char letters[] = "nrtfv", values[] = "\n\r\t\f\v";
    char kind = *t->at, name[3] = "Nd";
    const char *letter = kind == '\0' ? NULL : strchr(letters, kind);
    *code = UINT32_MAX;
    if (kind == '\0') return refuse(t, "a backslash");
    t->at++;
    if (letter != NULL) {
        *code = (uint32_t)values[letter - letters];
        return MEP_OK;
    }
    if (kind == 's' || kind == 'S' || kind == 'd' || kind == 'D' || kind == 'p' || kind == 'P') {
        int is_space = kind == 's' || kind == 'S', negated = kind < 'a';
        if (inside && negated) return refuse(t, "a negated class in a class");
        if (kind == 'p' || kind == 'P') MEP_TRY(read_category(t, name));
        if (!inside) MEP_TRY(put(t, negated ? "[^" : "["));
        MEP_TRY(is_space ? put(t, "%s", SPACE) : put_category(t, name));
        return inside ? MEP_OK : put(t, "]");
    }
    *code = (unsigned char)kind;
    if (*code > 0x7f || (kind >= '0' && kind <= '9') || ((kind | 32) >= 'a' && (kind | 32) <= 'z')) {
        t->at--;
        return refuse(t, "an unknown escape");
    }
    return MEP_OK;
}

static mep_status next_code(translation *t, uint32_t *code)
{
    int length = mep_utf8_decode(t->at, (int64_t)strlen(t->at), code);
    if (length == 0) return refuse(t, "a byte that is not UTF-8");
    t->at += length;
    return MEP_OK;
}

static mep_status class_member(translation *t, uint32_t *code)
{
    *code = UINT32_MAX;
    if (*t->at == '\0') return mep_fail(MEP_ERROR_FORMAT, "the pattern \"%.200s\" has an unclosed class", t->pattern);
    if (*t->at != '\\') return next_code(t, code);
    t->at++;
    return escape(t, 1, code);
}

/* Translate from after an opening bracket to after the closing one. Nested classes form a union, as in Ruby. */
static mep_status class_members(translation *t, int depth)
{
    uint32_t code, last;
    int first = 1;
    for (;; first = 0) {
        if (*t->at == ']') {
            if (first) return refuse(t, "an empty class");
            t->at++;
            return MEP_OK;
        }
        if (strncmp(t->at, "&&", 2) == 0) return refuse(t, "an intersection of classes");
        if (*t->at == '[') {
            if (t->at[1] == '^' || t->at[1] == ':' || depth >= DEPTH) return refuse(t, "a class in a class");
            t->at++;
            MEP_TRY(class_members(t, depth + 1));
            continue;
        }
        if (*t->at == '-' && !first && t->at[1] != ']') return refuse(t, "a hyphen in a class");
        MEP_TRY(class_member(t, &code));
        if (code == UINT32_MAX) continue;
        if (t->caseless > 0 && code > 0x7f) return refuse(t, "a case-insensitive letter outside ASCII");
        MEP_TRY(put(t, "\\x{%x}", (unsigned)code));
        if (*t->at != '-' || t->at[1] == ']') continue;
        t->at++;
        MEP_TRY(class_member(t, &last));
        if (last == UINT32_MAX || last < code) return refuse(t, "an invalid range");
        MEP_TRY(put(t, "-\\x{%x}", (unsigned)last));
    }
}

static mep_status class(translation *t)
{
    int negated = *t->at == '^';
    t->at += negated;
    MEP_TRY(put(t, negated ? "[^" : "["));
    MEP_TRY(class_members(t, 0));
    return put(t, "]");
}

/* ---- Groups and quantifiers ---- */

/* Translate the start of a group, after its parenthesis. *caseless is 1 for (?i:. */
static mep_status open_group(translation *t, int *caseless)
{
    static const char *const known[] = {"?:", "?i:", "?=", "?!", "?<=", "?<!", "?>", NULL};
    *caseless = 0;
    if (*t->at == '*') return refuse(t, "a verb");
    if (*t->at != '?') return put(t, "(?:");
    for (int i = 0; known[i] != NULL; ++i) {
        if (strncmp(t->at, known[i], strlen(known[i])) != 0) continue;
        *caseless = i == 1;
        t->at += strlen(known[i]);
        t->caseless += *caseless;
        return put(t, "(%s", known[i]);
    }
    return refuse(t, "a group of an unknown kind");
}

/* Translate {n}, {n,} or {n,m}. {n}? and {n}+ are refused: Ruby and PCRE2 interpret them differently. */
static mep_status braces(translation *t)
{
    int least = 0, most = 0, used = 0;
    if (sscanf(t->at, "{%4d}%n", &least, &used) != 1 || used == 0) {
        used = 0;
        if (sscanf(t->at, "{%4d,}%n", &least, &used) != 1 || used == 0) {
            used = 0;
            if (sscanf(t->at, "{%4d,%4d}%n", &least, &most, &used) != 2 || used == 0 || most < least)
                return refuse(t, "a brace");
        }
    }
    const char *end = t->at + used;
    if (*end == '+' || *end == '?' || least < 0) return refuse(t, "a quantifier after a quantifier");
    MEP_TRY(put(t, "%.*s", used, t->at));
    t->at = end;
    return MEP_OK;
}

static mep_status quantifier(translation *t)
{
    if (*t->at == '{') return braces(t);
    if (*t->at == '\0' || strchr("?*+", *t->at) == NULL) return MEP_OK;
    int length = t->at[1] != '\0' && strchr("?+", t->at[1]) != NULL ? 2 : 1;
    MEP_TRY(put(t, "%.*s", length, t->at));
    t->at += length;
    if (*t->at != '\0' && strchr("?*+{", *t->at) != NULL) return refuse(t, "a quantifier after a quantifier");
    t->previous = 0;
    return MEP_OK;
}

/* Translate one atom that is neither a group nor an alternative, with its quantifier. */
static mep_status atom(translation *t)
{
    uint32_t code = UINT32_MAX;
    char c = *t->at;
    if (c == '^' || c == '$') { /* of a line; a newline at the end of the text begins no line */
        t->at++;
        t->previous = 0;
        return put(t, c == '^' ? "(?:(?<=\\x0a)(?!\\z)|\\A)" : "(?=\\x0a|\\z)");
    }
    if (strchr("?*+{}", c) != NULL) return refuse(t, "a quantifier without an operand");
    if (c == '.' || c == '[' || c == '\\') t->at++;
    if (c == '.')
        MEP_TRY(put(t, "[^\\x0a]"));
    else if (c == '[')
        MEP_TRY(class(t));
    else
        MEP_TRY(c == '\\' ? escape(t, 0, &code) : next_code(t, &code));
    if (code != UINT32_MAX) MEP_TRY(put_literal(t, code));
    if (code == UINT32_MAX) t->previous = 0;
    return quantifier(t);
}

/* Translate a complete expression. `caseless` remembers which open groups began with (?i: . */
static mep_status expression(translation *t)
{
    int caseless[DEPTH], depth = 0;
    while (*t->at != '\0') {
        if (*t->at == '(') {
            if (depth == DEPTH) return refuse(t, "groups that are nested too deeply");
            t->at++;
            MEP_TRY(open_group(t, &caseless[depth++]));
        } else if (*t->at == ')') {
            if (depth == 0) return refuse(t, "an unmatched closing parenthesis");
            t->at++;
            t->caseless -= caseless[--depth];
            MEP_TRY(put(t, ")"));
            MEP_TRY(quantifier(t));
        } else if (*t->at == '|') {
            t->at++;
            t->previous = 0;
            MEP_TRY(put(t, "|"));
        } else {
            MEP_TRY(atom(t));
        }
    }
    return depth == 0 ? MEP_OK : refuse(t, "an unclosed group");
}

/* Translate `pattern` to `out`, which has `size` bytes. */
static mep_status translate(const char *pattern, int literal, char *out, int64_t size)
{
    translation t = {.pattern = pattern, .at = pattern, .out = out, .size = size};
    out[0] = '\0';
    if (!literal) return expression(&t);
    while (*t.at != '\0') {
        uint32_t code = 0;
        MEP_TRY(next_code(&t, &code));
        MEP_TRY(put_literal(&t, code));
    }
    return MEP_OK;
}

/* ---- Compiling and matching ---- */

static mep_status compile(const char *pattern, const char *translated, pcre2_code **code)
{
    int error = 0;
    uint32_t matches_empty = 0;
    PCRE2_SIZE offset = 0;
    *code = pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &offset, NULL);
    if (*code == NULL) {
        PCRE2_UCHAR text[256];
        pcre2_get_error_message(error, text, sizeof text);
        return mep_fail(MEP_ERROR_FORMAT, "the pattern \"%.200s\": %s", pattern, (const char *)text);
    }
    pcre2_pattern_info(*code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "the pattern \"%.200s\" matches the empty string, which is not supported", pattern);
    (void)pcre2_jit_compile(*code, PCRE2_JIT_COMPLETE); /* if this fails, pcre2_match interprets the pattern */
    return MEP_OK;
}

mep_status mep_bpe_pattern_compile(const char *pattern, int literal, pcre2_code **code)
{
    char *translated = NULL;
    *code = NULL;
    MEP_TRY(MEP_ALLOC(&translated, TRANSLATION));
    mep_status status = translate(pattern, literal, translated, TRANSLATION);
    if (status == MEP_OK) status = compile(pattern, translated, code);
    mep_free(&translated);
    if (status != MEP_OK) {
        pcre2_code_free(*code);
        *code = NULL;
    }
    return status;
}

/* Hugging Face's classes use other Unicode versions than its patterns: 17 for digits, and 8 for punctuation, which
 * contains all ASCII punctuation and symbols. */
#define DIGITS "[\\p{N}\xf0\x91\xb7\xa0-\xf0\x91\xb7\xa9\xf0\x96\xbf\xb4-\xf0\x96\xbf\xb6]"
#define LATER_PUNCTUATION                                                                                              \
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b4e}-\\x{1b4f}\\x{1b7d}-\\x{1b7f}\\x{2e43}-\\x{2e4f}\\x{2e52}-\\x{"  \
    "2e5d}\\x{10d6e}\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}"    \
    "\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145b}\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-\\x{"     \
    "11946}\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11a9c}\\x{11a9e}-\\x{11aa2}\\x{11b00}-\\x{11b09}\\x{11be1}"   \
    "\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}\\x{11f43}-\\x{11f4f}\\x{11fff}\\x{12ff1}-\\x{"    \
    "12ff2}\\x{16d6d}-\\x{16d6f}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e5ff}\\x{1e95e}-\\x{1e95f}"
#define PUNCTUATION "(?![" LATER_PUNCTUATION "])[!-/:-@\\[-`{-~\\p{P}\\x{166d}\\x{111c9}]"

mep_status mep_bpe_pattern_compile_class(mep_bpe_class class, pcre2_code **code)
{
    if (class == MEP_BPE_DIGITS) return mep_bpe_pattern_compile(DIGITS, 0, code);
    return compile(PUNCTUATION, PUNCTUATION, code);
}

mep_status mep_bpe_pattern_next(const pcre2_code *code, pcre2_match_data *match, const char *text, int64_t size,
                                int64_t start, int64_t *first, int64_t *last)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    PCRE2_SIZE length = (PCRE2_SIZE)size, from = (PCRE2_SIZE)start;
    *first = *last = -1;
    int found = pcre2_match(code, subject, length, from, PCRE2_NO_UTF_CHECK, match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* repeated groups in a long text; the interpreter has no such limit */
        found = pcre2_match(code, subject, length, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, NULL);
    if (found == PCRE2_ERROR_NOMATCH) return MEP_OK;
    if (found < 0) {
        PCRE2_UCHAR message[256];
        pcre2_get_error_message(found, message, sizeof message);
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the tokenizer's pattern fails on a text of %lld bytes: %s",
                        (long long)size, (const char *)message);
    }
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(match);
    *first = (int64_t)offsets[0];
    *last = (int64_t)offsets[1];
    return MEP_OK;
}
