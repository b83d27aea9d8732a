/* SPDX-License-Identifier: MIT */
/*
 * The journal as a JSON file. Unsigned 64-bit numbers are hexadecimal strings.
 */
#define _POSIX_C_SOURCE 200809L
#include "dataset/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json_keys.h"
#include "base/memory.h"
#include "dataset/dataset_format.h"

enum { VERSION = 3, VERSION_WITHOUT_SKIPPING = 2 };

mep_status mep_journal_path(const char *prefix, char **path)
{
    return mep_format(path, "%.*s.journal", mep_dataset_prefix_length(prefix), prefix);
}

/* A checksum of the names, sizes and times of the files that were read, completely or in part. */
static uint64_t checksum_files(const mep_corpus_files *files, const mep_journal_position *position)
{
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    for (int64_t i = 0; i < files->count && i < position->file + (position->record > 0 || position->offset > 0); ++i) {
        const mep_corpus_file *item = &files->items[i];
        mep_checksum_add(&checksum, item->path, (int64_t)strlen(item->path) + 1);
        mep_checksum_add(&checksum, &item->size, sizeof item->size);
        mep_checksum_add(&checksum, &item->modified, sizeof item->modified);
    }
    return mep_checksum_end(&checksum);
}

/* ---- Writing ---- */

static json_t *hexadecimal(uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, number);
    return json_string(text);
}

static json_t *position_json(const mep_journal_position *position, const mep_corpus_files *files)
{
    const mep_writer_state *w = &position->writer;
    return json_pack("{s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "file", (json_int_t)position->file,
                     "record", (json_int_t)position->record, "offset", (json_int_t)position->offset, "inputs",
                     hexadecimal(checksum_files(files, position)), "text_bytes", (json_int_t)position->text_bytes,
                     "skipped", (json_int_t)position->skipped, "documents", (json_int_t)w->documents, "tokens",
                     (json_int_t)w->tokens, "open", (json_int_t)w->open, "hash", hexadecimal(w->checksum.hash),
                     "hashed", hexadecimal(w->checksum.size), "pending", hexadecimal(w->checksum.pending));
}

/* The checksum of the tokenizer.json; for a built-in tokenizer that of no bytes. */
static uint64_t checksum_tokenizer(const mep_tokenizer *tokenizer)
{
    mep_checksum checksum;
    int64_t size = 0;
    const char *json = mep_tokenizer_json(tokenizer, &size);
    mep_checksum_begin(&checksum);
    if (json != NULL) mep_checksum_add(&checksum, json, size);
    return mep_checksum_end(&checksum);
}

static json_t *journal_json(const mep_journal *j, const mep_corpus_files *files, const mep_tokenizer *tokenizer,
                            int end_of_document)
{
    return json_pack("{s:i, s:s, s:I, s:o, s:b, s:b, s:b, s:s, s:o, s:o}", "version", VERSION, "tokenizer",
                     mep_tokenizer_name(tokenizer), "vocab_size", (json_int_t)mep_tokenizer_vocab_size(tokenizer),
                     "tokenizer_checksum", hexadecimal(checksum_tokenizer(tokenizer)), "end_of_document",
                     end_of_document, "finished", j->finished, "skip_bad_lines", j->skips, "first_skipped",
                     j->first_skipped, "now", position_json(&j->now, files), "file_begin",
                     position_json(&j->file_begin, files));
}

mep_status mep_journal_save(const char *path, const mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document)
{
    char *temporary = NULL;
    MEP_TRY(mep_format(&temporary, "%s.tmp", path));
    json_t *root = journal_json(journal, files, tokenizer, end_of_document);
    mep_status status = mep_write_json(temporary, root);
    if (status == MEP_OK && rename(temporary, path) != 0) status = mep_fail_errno("replace", path);
    if (status == MEP_OK)
        status = mep_sync_folder_of(path);
    else
        unlink(temporary);
    json_decref(root);
    mep_free(&temporary);
    return status;
}

/* ---- Reading ---- */

static int read_count(const json_t *root, const char *key, int64_t *value)
{
    const json_t *number = json_object_get(root, key);
    *value = json_integer_value(number);
    return json_is_integer(number) && *value >= 0;
}

static int read_hexadecimal(const json_t *root, const char *key, uint64_t *value)
{
    const char *text = json_string_value(json_object_get(root, key));
    char *end = NULL;
    *value = text != NULL ? strtoull(text, &end, 16) : 0;
    return text != NULL && *text != '\0' && *end == '\0';
}

/* *matches is 1 if the files that were read are unchanged. */
static int read_position(const json_t *root, const mep_corpus_files *files, mep_journal_position *position,
                         int *matches)
{
    mep_checksum *checksum = &position->writer.checksum;
    uint64_t inputs = 0;
    int good = read_count(root, "file", &position->file) && read_count(root, "record", &position->record) &&
               read_count(root, "offset", &position->offset) && read_hexadecimal(root, "inputs", &inputs) &&
               read_count(root, "text_bytes", &position->text_bytes) &&
               read_count(root, "documents", &position->writer.documents) &&
               read_count(root, "tokens", &position->writer.tokens) &&
               read_count(root, "open", &position->writer.open) && position->writer.open <= position->writer.tokens &&
               read_hexadecimal(root, "hash", &checksum->hash) && read_hexadecimal(root, "hashed", &checksum->size) &&
               read_hexadecimal(root, "pending", &checksum->pending);
    *matches = good && position->file <= files->count && inputs == checksum_files(files, position);
    return good;
}

static mep_status check_tokenizer(const char *path, const json_t *root, const mep_tokenizer *tokenizer,
                                  int end_of_document)
{
    const char *name = json_string_value(json_object_get(root, "tokenizer"));
    int64_t vocab_size = 0;
    uint64_t checksum = 0;
    if (name != NULL && strcmp(name, mep_tokenizer_name(tokenizer)) == 0 &&
        read_count(root, "vocab_size", &vocab_size) && vocab_size == mep_tokenizer_vocab_size(tokenizer) &&
        read_hexadecimal(root, "tokenizer_checksum", &checksum) && checksum == checksum_tokenizer(tokenizer) &&
        json_is_true(json_object_get(root, "end_of_document")) == (end_of_document != 0))
        return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "%s: was begun with another tokenizer or other end-of-document tokens; use the same ones, or start "
                    "again",
                    path);
}

/* Read what is recorded about skipped lines; an older journal has no such members. */
static int read_skipped(const json_t *root, int64_t version, mep_journal *j)
{
    const char *first = json_string_value(json_object_get(root, "first_skipped"));
    if (version == VERSION_WITHOUT_SKIPPING) return 1;
    if (first == NULL || !read_count(json_object_get(root, "now"), "skipped", &j->now.skipped) ||
        !read_count(json_object_get(root, "file_begin"), "skipped", &j->file_begin.skipped))
        return 0;
    j->skips = json_is_true(json_object_get(root, "skip_bad_lines"));
    snprintf(j->first_skipped, sizeof j->first_skipped, "%s", first);
    return 1;
}

static mep_status check_keys(const char *path, json_t *root)
{
    static const char *const keys[] = {"version",         "tokenizer",     "vocab_size", "tokenizer_checksum",
                                       "end_of_document", "finished",      "now",        "file_begin",
                                       "skip_bad_lines",  "first_skipped", NULL},
                             *const position_keys[] = {"file",      "record",  "offset", "inputs", "text_bytes",
                                                       "documents", "tokens",  "open",   "hash",   "hashed",
                                                       "pending",   "skipped", NULL};
    MEP_TRY(mep_json_check_keys(root, path, keys));
    MEP_TRY(mep_json_check_keys(json_object_get(root, "now"), path, position_keys));
    return mep_json_check_keys(json_object_get(root, "file_begin"), path, position_keys);
}

static mep_status take_journal(const char *path, const json_t *root, const mep_corpus_files *files, mep_journal *j)
{
    int64_t version = 0;
    int now = 0, begin = 0;
    if (!read_count(root, "version", &version) || (version != VERSION && version != VERSION_WITHOUT_SKIPPING) ||
        !read_position(json_object_get(root, "now"), files, &j->now, &now) ||
        !read_position(json_object_get(root, "file_begin"), files, &j->file_begin, &begin) ||
        !read_skipped(root, version, j))
        return mep_fail(MEP_ERROR_FORMAT, "%s is not a journal of mep prepare; start again", path);
    j->finished = json_is_true(json_object_get(root, "finished"));
    if (!now && (!begin || j->finished))
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%s: inputs that were already read have changed; restore them, or start again", path);
    if (!now) j->now = j->file_begin;
    return MEP_OK;
}

mep_status mep_journal_load(const char *path, mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document, int skips)
{
    json_error_t error;
    *journal = (mep_journal){0};
    json_t *root = mep_json_load_fd(path, &error);
    mep_status status;
    MEP_TRY_OR(status, check_keys(path, root), done);
    MEP_TRY_OR(status, take_journal(path, root, files, journal), done);
    MEP_TRY_OR(status, check_tokenizer(path, root, tokenizer, end_of_document), done);
    if (journal->skips && !skips)
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s: was begun with --skip-bad-lines (skip_bad_lines); use it again, or start again", path);
    journal->skips = skips;
done:
    json_decref(root);
    return status;
}
