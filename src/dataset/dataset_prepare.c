/* SPDX-License-Identifier: MIT */
/*
 * Prepares a dataset from a corpus so that the work can be interrupted: the batches of the pipeline go to the dataset
 * writer, and at intervals the files are synced and the position is saved in the journal. pipeline.c handles the
 * threads, dataset_writer.c the files.
 */
#define _XOPEN_SOURCE 700
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "dataset/dataset_prepare.h"
#include "dataset/journal.h"
#include "dataset/pipeline.h"

enum { SAVE_BYTES = 1 << 28 };
static const double SAVE_SECONDS = 10;

typedef struct preparation {
    const mep_prepare_settings *settings;
    mep_prepare_limits limits;
    mep_prepare_fn progress;
    void *context;
    mep_corpus_files files;
    char *journal_path;
    mep_journal journal;
    mep_lock lock;
    mep_dataset_writer *writer;
    mep_prepare_progress state;
    double saved;         /* time of the last journal */
    int64_t saved_tokens; /* tokens in it */
    int64_t input;        /* index of the current input */
    int has_text;         /* the current input has a document that is not empty */
} preparation;

void mep_prepare_defaults(mep_prepare_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_prepare_settings){.end_of_document = 1, .save_bytes = SAVE_BYTES, .save_seconds = SAVE_SECONDS};
}

/* ---- The journal ---- */

static mep_status save(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    MEP_TRY(mep_dataset_writer_sync(p->writer));
    MEP_TRY(mep_journal_save(p->journal_path, &p->journal, &p->files, s->tokenizer, s->end_of_document));
    p->saved = mep_now();
    p->saved_tokens = p->state.tokens;
    return MEP_OK;
}

static mep_status save_when_due(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    int64_t width = mep_tokenizer_vocab_size(s->tokenizer) <= UINT16_MAX ? 2 : 4;
    if ((p->state.tokens - p->saved_tokens) * width < s->save_bytes && mep_now() - p->saved < s->save_seconds)
        return MEP_OK;
    return save(p);
}

/* ---- Batches ---- */

static void update_state(preparation *p)
{
    p->journal.now.writer = mep_dataset_writer_state(p->writer);
    p->state.documents = p->journal.now.writer.documents;
    p->state.tokens = p->journal.now.writer.tokens;
    p->state.text_bytes = p->journal.now.text_bytes;
    p->state.skipped_lines = p->journal.now.skipped;
}

static mep_status report(void *context)
{
    preparation *p = context;
    if (p->progress == NULL || p->progress(p->context, &p->state) == 0) return MEP_OK;
    return mep_fail(MEP_INTERRUPTED, "interrupted");
}

/* Every input must contain text, as for mep_corpus_read. The reader checks this except for lines whose texts are all
 * empty. */
static mep_status check_input(const preparation *p)
{
    if (p->has_text) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s contains no text: all its documents are empty",
                    p->settings->inputs[p->input]);
}

/* Begin the next file: check the input that ends here, and remember where the file begins. */
static mep_status enter_file(preparation *p, int64_t file)
{
    mep_journal_position *now = &p->journal.now;
    int64_t input = p->files.items[file].input;
    if (input != p->input) {
        MEP_TRY(check_input(p));
        p->input = input;
        p->has_text = 0;
    }
    now->file = file;
    now->record = now->offset = 0;
    p->journal.file_begin = *now;
    return MEP_OK;
}

static void record_bad_line(preparation *p, const char *mistake)
{
    if (p->journal.now.skipped++ > 0) return;
    snprintf(p->journal.first_skipped, sizeof p->journal.first_skipped, "%s", mistake);
    mep_one_line(p->journal.first_skipped); /* it may have been truncated inside a character */
    memcpy(p->state.first_skipped, p->journal.first_skipped, sizeof p->state.first_skipped);
}

/* Write the tokens of a batch, and move the journal's position past it (a mep_pipeline_hooks.take). */
static mep_status take_batch(void *context, const mep_batch *batch)
{
    preparation *p = context;
    mep_journal_position *now = &p->journal.now;
    if (batch->file != now->file) MEP_TRY(enter_file(p, batch->file));
    for (int64_t i = 0; i < batch->count; ++i) {
        const mep_record_tokens *tokens = &batch->records[i];
        if (tokens->is_bad) record_bad_line(p, batch->mistake);
        if (tokens->next > 0)
            MEP_TRY(mep_dataset_writer_append(p->writer, tokens->tokens, tokens->count));
        else if (tokens->text_bytes > 0)
            MEP_TRY(mep_dataset_writer_add(p->writer, tokens->tokens, tokens->count, p->settings->end_of_document));
        p->has_text |= tokens->text_bytes > 0;
        now->text_bytes += tokens->text_bytes;
        now->record = batch->first + i + (tokens->next == 0);
        now->offset = tokens->next;
        update_state(p);
    }
    p->state.position = batch->position;
    MEP_TRY(report(p));
    return save_when_due(p);
}

/* ---- Start ---- */

static int64_t total_size(const mep_corpus_files *files, int64_t count)
{
    int64_t total = 0;
    for (int64_t i = 0; i < count && i < files->count; ++i) total += files->items[i].size;
    return total;
}

/* 1 if `folder` is `above` or a folder below it; 0 if one of the names cannot be resolved. */
static int is_within(const char *folder, const char *above)
{
    char *inner = realpath(folder, NULL), *outer = realpath(above, NULL);
    size_t size = outer != NULL ? strlen(outer) : 0;
    int is_root = size == 1;
    int within = inner != NULL && outer != NULL && strncmp(inner, outer, size) == 0 &&
                 (is_root || inner[size] == '\0' || inner[size] == '/');
    free(inner);
    free(outer);
    return within;
}

/* The dataset must not be in a folder of the inputs, where the next call would read its files as text. */
static mep_status check_apart(const mep_prepare_settings *s)
{
    const char *slash = strrchr(s->prefix, '/');
    char *folder = NULL;
    MEP_TRY(mep_format(&folder, "%.*s", slash != NULL ? (int)(slash - s->prefix) + 1 : 1, slash ? s->prefix : "."));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->input_count && status == MEP_OK; ++i)
        if (is_within(folder, s->inputs[i]))
            status = mep_fail(MEP_ERROR_ARGUMENT,
                              "%s would be in the input folder %s, whose files are read as text; choose another folder "
                              "for the dataset",
                              s->prefix, s->inputs[i]);
    mep_free(&folder);
    return status;
}

/* Find the input at the position of the journal. Whether earlier files of that input contained text is no longer known;
 * it is assumed. */
static void find_input(preparation *p)
{
    const mep_journal_position *now = &p->journal.now, *begin = &p->journal.file_begin;
    if (p->files.count == 0) return; /* an empty folder */
    int64_t file = now->file < p->files.count ? now->file : p->files.count - 1;
    p->input = p->files.items[file].input;
    p->has_text = now->text_bytes > begin->text_bytes || (file > 0 && p->files.items[file - 1].input == p->input);
}

/* Resume at the position of the journal, or start from the beginning. */
static mep_status open_writer(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    if (s->resume && access(p->journal_path, F_OK) == 0) {
        MEP_TRY(mep_journal_load(p->journal_path, &p->journal, &p->files, s->tokenizer, s->end_of_document,
                                 s->skip_bad_lines));
        if (!p->journal.finished)
            MEP_TRY(mep_dataset_writer_continue(&p->writer, s->prefix, s->tokenizer, &p->journal.now.writer));
    } else {
        unlink(p->journal_path);
        MEP_TRY(mep_dataset_writer_begin(&p->writer, s->prefix, s->tokenizer));
        p->journal.now.writer = p->journal.file_begin.writer = mep_dataset_writer_state(p->writer);
        p->journal.skips = s->skip_bad_lines;
    }
    find_input(p);
    if (p->writer != NULL) mep_dataset_writer_limit(p->writer, p->limits.sequence);
    p->state = (mep_prepare_progress){.position = total_size(&p->files, p->journal.now.file),
                                      .total = total_size(&p->files, p->files.count),
                                      .text_bytes = p->journal.now.text_bytes,
                                      .documents = p->journal.now.writer.documents,
                                      .tokens = p->journal.now.writer.tokens,
                                      .skipped_lines = p->journal.now.skipped};
    if (p->journal.now.skipped > 0)
        memcpy(p->state.first_skipped, p->journal.first_skipped, sizeof p->state.first_skipped);
    p->saved = mep_now();
    p->saved_tokens = p->state.tokens;
    return MEP_OK;
}

/* ---- End ---- */

/* Write the index and description, and remove or close the journal. */
static mep_status complete(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    MEP_TRY(save(p)); /* if a later call fails, the inputs need not be read again */
    MEP_TRY(mep_dataset_writer_complete(p->writer));
    p->journal.finished = 1;
    if (s->keep_journal)
        MEP_TRY(mep_journal_save(p->journal_path, &p->journal, &p->files, s->tokenizer, s->end_of_document));
    else if (unlink(p->journal_path) != 0)
        return mep_fail_errno("remove", p->journal_path);
    mep_dataset_writer_abandon(&p->writer); /* removes the temporary files */
    return MEP_OK;
}

/* Keep what a later call can resume from, or nothing. If a file has an error, the user must correct it, so nothing of
 * that file is kept. */
static mep_status give_up(preparation *p, mep_status status)
{
    char message[1024];
    if (p->writer == NULL) return status;
    snprintf(message, sizeof message, "%s", mep_error_message());
    int is_mistake = status == MEP_ERROR_FORMAT || status == MEP_ERROR_ARGUMENT;
    const mep_journal_position *position = is_mistake ? &p->journal.file_begin : &p->journal.now;
    /* if no new journal can be written (the disk is full), the old one is still valid */
    if (position->writer.tokens > 0 && (save(p) == MEP_OK || access(p->journal_path, F_OK) == 0)) {
        mep_dataset_writer_leave(&p->writer);
        return mep_fail(status, "%s; the work done so far is kept, and --resume continues it", message);
    }
    unlink(p->journal_path);
    mep_dataset_writer_abandon(&p->writer);
    return mep_fail(status, "%s%s", message, status == MEP_INTERRUPTED ? "; nothing is kept" : "");
}

static mep_status run(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    const mep_journal_position *now = &p->journal.now;
    const mep_corpus_reading reading = {.paths = s->inputs,
                                        .files = &p->files,
                                        .tokenizer = s->tokenizer,
                                        .limit = MEP_LINE_LIMIT,
                                        .slice = p->limits.slice,
                                        .skip_bad_lines = s->skip_bad_lines,
                                        .file = now->file,
                                        .number = now->record,
                                        .offset = now->offset};
    const mep_pipeline_hooks hooks = {.context = p, .take = take_batch, .idle = report};
    int64_t threads = s->threads > 0 ? s->threads : mep_set_threads(0);
    MEP_TRY(mep_pipeline_run(&reading, threads, &hooks));
    MEP_TRY(check_input(p));
    p->state.position = p->state.total;
    MEP_TRY(report(p));
    return complete(p);
}

static mep_status prepare(preparation *p)
{
    const mep_prepare_settings *s = p->settings;
    MEP_TRY(check_apart(s));
    MEP_TRY(mep_corpus_files_find(&p->files, s->inputs, s->input_count));
    MEP_TRY(mep_journal_path(s->prefix, &p->journal_path));
    MEP_TRY(mep_dataset_lock(&p->lock, s->prefix));
    MEP_TRY(open_writer(p));
    return p->journal.finished ? MEP_OK : run(p);
}

mep_status mep_prepare_limited(const mep_prepare_settings *settings, const mep_prepare_limits *limits,
                               mep_prepare_fn progress, void *context, mep_prepare_progress *result)
{
    preparation p = {.settings = settings, .limits = *limits, .progress = progress, .context = context};
    if (settings->input_count < 1 || settings->inputs == NULL || settings->prefix == NULL ||
        settings->tokenizer == NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "a dataset needs at least one input, a prefix and a tokenizer");
    mep_status status = prepare(&p);
    if (status != MEP_OK) status = give_up(&p, status);
    if (status == MEP_OK && result != NULL) *result = p.state;
    mep_lock_release(&p.lock);
    mep_free(&p.journal_path);
    mep_corpus_files_free(&p.files);
    return status;
}

mep_status mep_prepare(const mep_prepare_settings *settings, mep_prepare_fn progress, void *context,
                       mep_prepare_progress *result)
{
    MEP_REQUIRE(settings);
    const mep_prepare_limits limits = {.slice = MEP_SLICE, .sequence = INT32_MAX};
    return mep_prepare_limited(settings, &limits, progress, context, result);
}
