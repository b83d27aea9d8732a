/* SPDX-License-Identifier: MIT */
/*
 * A scanner over the bytes of a line: 1. check everything and find "text"; 2. decode its escapes, which makes it
 * shorter. Functions that check return 1 and move `at` past what they have read, or return 0.
 */
#include "corpus/json_line.h"

#include <string.h>

#include "base/utf8.h"

enum { DEPTH = 32, DIGITS = 30, EXPONENT_DIGITS = 2 };

typedef struct scanner {
    char *at, *end;
} scanner;

/* A string without its quotes. */
typedef struct span {
    char *begin, *end;
    int has_escapes;
} span;

static void skip_blanks(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n')) ++s->at;
}

static int take(scanner *s, char c)
{
    if (s->at == s->end || *s->at != c) return 0;
    ++s->at;
    return 1;
}

/* Skip, eight bytes at a time, bytes of a string that are ASCII and not a quote, a backslash or a control character. */
static void skip_plain(scanner *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    for (; s->end - s->at >= 8; s->at += 8) {
        uint64_t word;
        memcpy(&word, s->at, sizeof word);
        uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
        /* The high bit of a byte is set if the byte is a quote, a backslash, below 32 or not ASCII. It may also be set
         * in the byte above such a byte, which only ends the skipping early. */
        if ((((quote - ones) | (backslash - ones) | (word - ones * 32) | word) & high) != 0) return;
    }
}

static int hexadecimal(const char *at, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; ++i) {
        char c = at[i], small = (char)(c | 32);
        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint32_t)(c - '0');
        else if (small >= 'a' && small <= 'f')
            *value = *value << 4 | (uint32_t)(small - 'a' + 10);
        else
            return 0;
    }
    return 1;
}

/* Read a \u escape, or a pair of them for one code point; `at` is after the backslash. Returns the number of bytes
 * read, 5 or 11, or 0. */
static int read_unicode(const char *at, const char *end, uint32_t *code)
{
    uint32_t low = 0;
    if (end - at < 5 || !hexadecimal(at + 1, code)) return 0;
    if (*code < 0xD800 || *code > 0xDFFF) return 5;
    if (*code > 0xDBFF || end - at < 11 || at[5] != '\\' || at[6] != 'u' || !hexadecimal(at + 7, &low)) return 0;
    if (low < 0xDC00 || low > 0xDFFF) return 0;
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return 11;
}

static int skip_escape(scanner *s)
{
    uint32_t code = 0;
    if (s->at == s->end) return 0;
    if (*s->at == 'u') {
        int size = read_unicode(s->at, s->end, &code);
        s->at += size;
        return size > 0;
    }
    return memchr("\"\\/bfnrt", *s->at++, 8) != NULL;
}

static int read_string(scanner *s, span *string)
{
    if (!take(s, '"')) return 0;
    string->begin = s->at;
    string->has_escapes = 0;
    for (;;) {
        skip_plain(s);
        if (s->at == s->end || (unsigned char)*s->at < 32) return 0;
        if (*s->at == '"') break;
        if (*s->at == '\\') {
            ++s->at;
            string->has_escapes = 1;
            if (!skip_escape(s)) return 0;
        } else {
            uint32_t code;
            int size = mep_utf8_decode(s->at, s->end - s->at, &code);
            if (size == 0) return 0;
            s->at += size;
        }
    }
    string->end = s->at++;
    return 1;
}

static int skip_digits(scanner *s, int most)
{
    const char *begin = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') ++s->at;
    return s->at > begin && s->at - begin <= most;
}

/* Skip a number that is far from the limits of a double. */
static int skip_number(scanner *s)
{
    take(s, '-');
    const char *begin = s->at;
    if (!skip_digits(s, DIGITS) || (*begin == '0' && s->at - begin > 1)) return 0;
    if (take(s, '.') && !skip_digits(s, DIGITS)) return 0;
    if (!take(s, 'e') && !take(s, 'E')) return 1;
    if (!take(s, '-')) take(s, '+');
    return skip_digits(s, EXPONENT_DIGITS);
}

static int skip_word(scanner *s, const char *word)
{
    int64_t size = (int64_t)strlen(word);
    if (s->end - s->at < size || memcmp(s->at, word, (size_t)size) != 0) return 0;
    s->at += size;
    return 1;
}

static int skip_value(scanner *s, int depth);

/* Read the members of an object from after its '{' to the '}'. If `text` is not NULL, it gets the last string named
 * "text", and *found is set; returns 0 if a member of that name is not a string. */
static int read_members(scanner *s, int depth, span *text, int *found)
{
    skip_blanks(s);
    if (take(s, '}')) return 1;
    do {
        span key;
        skip_blanks(s);
        if (!read_string(s, &key) || key.has_escapes) return 0;
        skip_blanks(s);
        if (!take(s, ':')) return 0;
        skip_blanks(s);
        if (text != NULL && key.end - key.begin == 4 && memcmp(key.begin, "text", 4) == 0) {
            if (!read_string(s, text)) return 0;
            *found = 1;
        } else if (!skip_value(s, depth)) {
            return 0;
        }
        skip_blanks(s);
    } while (take(s, ','));
    return take(s, '}');
}

static int skip_list(scanner *s, int depth)
{
    skip_blanks(s);
    if (take(s, ']')) return 1;
    do {
        skip_blanks(s);
        if (!skip_value(s, depth)) return 0;
        skip_blanks(s);
    } while (take(s, ','));
    return take(s, ']');
}

static int skip_value(scanner *s, int depth)
{
    span unused;
    if (s->at == s->end || depth == DEPTH) return 0;
    switch (*s->at) {
    case '"':
        return read_string(s, &unused);
    case '{':
        ++s->at;
        return read_members(s, depth + 1, NULL, NULL);
    case '[':
        ++s->at;
        return skip_list(s, depth + 1);
    case 't':
        return skip_word(s, "true");
    case 'f':
        return skip_word(s, "false");
    case 'n':
        return skip_word(s, "null");
    default:
        return skip_number(s);
    }
}

static char plain_escape(char c)
{
    static const char letters[] = "bfnrt", codes[] = "\b\f\n\r\t";
    const char *at = strchr(letters, c);
    return at != NULL ? codes[at - letters] : c;
}

/* Decode in place a string that read_string has accepted; returns its new end. */
static char *decode(char *begin, const char *end)
{
    char *from = begin, *to = begin;
    while (from < end) {
        char *backslash = memchr(from, '\\', (size_t)(end - from));
        size_t plain = (size_t)((backslash != NULL ? backslash : end) - from);
        if (to != from) memmove(to, from, plain);
        to += plain;
        from += plain;
        if (backslash == NULL) break;
        if (from[1] == 'u') {
            uint32_t code = 0;
            from += 1 + read_unicode(from + 1, end, &code);
            to += mep_utf8_encode(code, to);
        } else {
            *to++ = plain_escape(from[1]);
            from += 2;
        }
    }
    return to;
}

int mep_json_line_text(char *line, int64_t size, char **text, int64_t *text_size)
{
    scanner s = {line, line + size};
    span string = {NULL, NULL, 0};
    int found = 0;
    skip_blanks(&s);
    if (!take(&s, '{') || !read_members(&s, 0, &string, &found) || !found) return 0;
    skip_blanks(&s);
    if (s.at != s.end) return 0;
    if (string.has_escapes) string.end = decode(string.begin, string.end);
    *text = string.begin;
    *text_size = string.end - string.begin;
    return 1;
}
