/* SPDX-License-Identifier: MIT */
/*
 * Extracts the document of a record: a line of JSON is parsed, and a text is used unchanged. Also reads a complete
 * corpus on one thread, document by document.
 */
#include "corpus/corpus.h"

#include <string.h>

#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
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

/* ---- Reading on one thread ---- */

typedef struct serial {
    const mep_corpus_files *files;
    mep_document_fn document;
    void *context;
    int64_t *documents; /* of each input */
} serial;

static mep_status take_record(void *context, const mep_corpus_record *record)
{
    serial *state = context;
    json_t *json = NULL;
    const char *text = NULL;
    int64_t size = 0;
    mep_status status = mep_corpus_record_text(record, &json, &text, &size);
    if (status == MEP_OK && size > 0) {
        ++state->documents[state->files->items[record->file].input];
        status = state->document(state->context, text, size, record->position, record->total);
    }
    json_decref(json);
    return status;
}

/* An input whose lines all have empty texts is an error. */
static mep_status check_documents(const char *const *paths, const serial *state)
{
    for (int64_t i = 0; i < state->files->inputs; ++i) {
        if (state->documents[i] == 0)
            return mep_fail(MEP_ERROR_FORMAT, "%s contains no text: all its documents are empty", paths[i]);
    }
    return MEP_OK;
}

mep_status mep_corpus_read_limited(const char *const *paths, int64_t count, int64_t limit, mep_document_fn document,
                                   void *context)
{
    if (count < 1 || document == NULL)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "reading a corpus needs at least one file or folder, and a function to call");
    mep_corpus_files files = {0};
    serial state = {.files = &files, .document = document, .context = context};
    const mep_corpus_reading reading = {.paths = paths, .files = &files, .limit = limit};
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(&state.documents, count), done);
    MEP_TRY_OR(status, mep_corpus_files_find(&files, paths, count), done);
    MEP_TRY_OR(status, mep_corpus_read_records(&reading, take_record, &state), done);
    status = check_documents(paths, &state);
done:
    mep_free(&state.documents);
    mep_corpus_files_free(&files);
    return status;
}

mep_status mep_corpus_read(const char *const *paths, int64_t count, mep_document_fn document, void *context)
{
    MEP_REQUIRE_AS("paths, document", paths, (const void *)document);
    return mep_corpus_read_limited(paths, count, MEP_DOCUMENT_LIMIT, document, context);
}
