/* SPDX-License-Identifier: MIT */
/*
 * Extracts the document of a record: a line of JSON is parsed, and a text is used unchanged.
 */
#include "corpus/corpus.h"

#include <string.h>

#include "base/error.h"
#include "base/libraries.h"
#include "corpus/json_line.h"

int mep_corpus_is_blank(const char *text, int64_t size)
{
    for (int64_t i = 0; i < size; ++i) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return 0;
    }
    return 1;
}

static mep_status parse_line(const mep_corpus_record *record, json_t **json, const char **text, int64_t *size)
{
    char *bytes = record->bytes, *found = NULL;
    int64_t length = record->size;
    json_error_t error;
    if (record->line == 1 && length >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
        bytes += 3;
        length -= 3;
    }
    if (mep_corpus_is_blank(bytes, length)) return MEP_OK;
    if (mep_json_line_text(bytes, length, &found, size)) {
        *text = found;
        return MEP_OK;
    }
    MEP_NEED(JANSSON, "jansson", "JSON lines with more than a simple text cannot be read");
    *json = json_loadb(bytes, (size_t)length, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (*json == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "%s:%lld: %s; each line must be a JSON object with a string \"text\"",
                        record->name, (long long)record->line, error.text);
    json_t *string = json_object_get(*json, "text");
    if (!json_is_string(string))
        return mep_fail(MEP_ERROR_FORMAT, "%s:%lld: no string \"text\"; each line must be a JSON object with one",
                        record->name, (long long)record->line);
    *text = json_string_value(string);
    *size = (int64_t)json_string_length(string);
    return MEP_OK;
}

mep_status mep_corpus_record_text(const mep_corpus_record *record, json_t **json, const char **text, int64_t *size)
{
    *json = NULL;
    *text = NULL;
    *size = 0;
    if (record->line > 0) return parse_line(record, json, text, size);
    *text = record->bytes;
    *size = record->size;
    return MEP_OK;
}
