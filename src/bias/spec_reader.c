/* SPDX-License-Identifier: MIT */
/*
 * Tokens of a spec, and messages about them.
 */
#include "bias/spec_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/number.h"

static const char SPACE[] = " \t\r\n";

mep_status mep_spec_fail(const mep_spec_reader *r, const char *at, const char *possible, const char *format, ...)
{
    char problem[256];
    va_list args;
    va_start(args, format);
    vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    enum { SHOWN = 200, BEFORE = 80 }; /* of a long text, the part around the character */
    int64_t offset = at - r->text, length = (int64_t)strlen(r->text);
    int64_t first = length > SHOWN ? max_i64(offset - BEFORE, 0) : 0, shown = min_i64(length - first, SHOWN);
    return mep_fail(MEP_ERROR_ARGUMENT, "position \"%s%.*s%s\", character %d: %s%s%s", first > 0 ? "..." : "",
                    (int)shown, r->text + first, first + shown < length ? "..." : "", (int)offset + 1, problem,
                    *possible == '\0' ? "" : "; ", possible);
}

void mep_word_list_add(mep_word_list *l, const char *before, const char *word)
{
    int added = snprintf(l->text + l->used, sizeof l->text - l->used, "%s%s", before, word);
    if (added > 0 && l->used + (size_t)added < sizeof l->text) l->used += (size_t)added;
}

void mep_spec_skip_space(mep_spec_reader *r)
{
    r->at += strspn(r->at, SPACE);
}

int mep_spec_accept(mep_spec_reader *r, const char *token)
{
    mep_spec_skip_space(r);
    size_t length = strlen(token);
    if (strncmp(r->at, token, length) != 0) return 0;
    r->at += length;
    mep_spec_skip_space(r);
    return 1;
}

int mep_spec_word(const mep_spec_reader *r)
{
    return (int)strspn(r->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
}

int mep_spec_is_word(const char *word, const char *start, int length)
{
    return strlen(word) == (size_t)length && memcmp(word, start, (size_t)length) == 0;
}

int mep_spec_starts_number(const mep_spec_reader *r)
{
    return *r->at != '\0' && strchr("0123456789.+-", *r->at) != NULL;
}

mep_status mep_spec_number(mep_spec_reader *r, double *value)
{
    char *end;
    *value = mep_number_parse(r->at, &end);
    if (!mep_spec_starts_number(r) || end == r->at || memchr(r->at, 'x', (size_t)(end - r->at)) != NULL ||
        !isfinite(*value))
        return mep_spec_fail(r, r->at, "", "expected a number");
    r->at = end;
    return MEP_OK;
}

mep_status mep_spec_integer(mep_spec_reader *r, const char *name, int64_t most, int64_t *value)
{
    const char *at = r->at;
    double number = 0;
    MEP_TRY(mep_spec_number(r, &number));
    if (!(number >= 1 && number <= (double)most) || number != floor(number))
        return mep_spec_fail(r, at, "", "\"%s\" must be an integer from 1 to %lld, but is %g", name, (long long)most,
                             number);
    *value = (int64_t)number;
    return MEP_OK;
}
