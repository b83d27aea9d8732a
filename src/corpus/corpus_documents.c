/* SPDX-License-Identifier: MIT */
/*
 * Reads a complete corpus on one thread, document by document.
 */
#include "corpus/corpus.h"

#include "base/error.h"
#include "base/memory.h"

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
