/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the journal of a preparation to resume; then, if it is an object, the same as a
 * journal of this tokenizer and this input. If it is accepted, the dataset's temporary files are opened at its
 * position, and the corpus is read from there.
 */
#define _XOPEN_SOURCE 700
#include <inttypes.h>
#include <jansson.h>

#include "folder.h"
#include "dataset/journal.h"

static const char TEXT[] = "{\"text\": \"one two three\"}\n{\"text\": \"four\"}\n", DATA[64] = {1};
static mep_tokenizer *tokenizer;
static mep_corpus_files files;
static char input_path[64], journal_path[64], prefix[64];

static void end(void)
{
    mep_tokenizer_destroy(&tokenizer);
    mep_corpus_files_free(&files);
}

static void begin(void)
{
    const char *const input = input_path;
    file_path("a.jsonl", input_path);
    file_path("d.journal", journal_path);
    file_path("d", prefix);
    put_file("a.jsonl", TEXT, strlen(TEXT));
    if (mep_tokenizer_bytes(&tokenizer) != MEP_OK || mep_corpus_files_find(&files, &input, 1) != MEP_OK) abort();
    if (atexit(end) != 0) abort();
}

static mep_status take(void *context, const mep_corpus_record *record)
{
    int64_t *first = context;
    json_t *json = NULL;
    const char *text = NULL;
    int64_t size = 0;
    if (record->offset < 0 || record->next < 0 || record->number < 0) abort();
    if (*first < 0) *first = record->number;
    mep_status status = mep_corpus_record_text(record, &json, &text, &size);
    json_decref(json);
    return status;
}

static void go_on(const mep_journal *journal)
{
    const char *const input = input_path;
    const mep_journal_position *now = &journal->now;
    mep_dataset_writer *writer = NULL;
    int64_t first = -1;
    put_file("d.bin.tmp", DATA, sizeof DATA);
    put_file("d.sizes.tmp", DATA, sizeof DATA);
    mep_status status = mep_dataset_writer_continue(&writer, prefix, tokenizer, &now->writer);
    check_message(status);
    if (status == MEP_OK && (now->writer.tokens > 32 || now->writer.documents > 16)) abort();
    mep_dataset_writer_leave(&writer);
    const mep_corpus_reading reading = {.paths = &input,
                                        .files = &files,
                                        .tokenizer = tokenizer,
                                        .limit = 1 << 16,
                                        .slice = 4,
                                        .file = now->file,
                                        .number = now->record,
                                        .offset = now->offset};
    check_message(mep_corpus_read_records(&reading, take, &first));
    if (first >= 0 && first < now->record) abort();
}

static void load(const void *text, size_t size)
{
    mep_journal journal;
    put_file("d.journal", text, size);
    mep_status status = mep_journal_load(journal_path, &journal, &files, tokenizer, 1, 1);
    check_message(status);
    if (status == MEP_OK && !journal.finished) go_on(&journal);
}

static void set_checksum(json_t *object, const char *key, const mep_checksum *checksum)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, mep_checksum_end(checksum));
    json_object_set_new(object, key, json_string(text));
}

/* The correct checksum of the inputs of a position. */
static void set_inputs(json_t *place)
{
    mep_checksum checksum;
    const mep_corpus_file *item = &files.items[0];
    mep_checksum_begin(&checksum);
    int begun = json_integer_value(json_object_get(place, "file")) > 0 ||
                json_integer_value(json_object_get(place, "record")) > 0 ||
                json_integer_value(json_object_get(place, "offset")) > 0;
    if (begun) {
        mep_checksum_add(&checksum, item->path, (int64_t)strlen(item->path) + 1);
        mep_checksum_add(&checksum, &item->size, sizeof item->size);
        mep_checksum_add(&checksum, &item->modified, sizeof item->modified);
    }
    set_checksum(place, "inputs", &checksum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_checksum nothing;
    if (tokenizer == NULL) begin();
    load(data, size);
    mep_checksum_begin(&nothing);
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    json_object_set_new(root, "tokenizer", json_string(mep_tokenizer_name(tokenizer)));
    json_object_set_new(root, "vocab_size", json_integer((json_int_t)mep_tokenizer_vocab_size(tokenizer)));
    set_checksum(root, "tokenizer_checksum", &nothing);
    json_object_set_new(root, "end_of_document", json_true());
    set_inputs(json_object_get(root, "now"));
    set_inputs(json_object_get(root, "file_begin"));
    char *text = json_is_object(root) ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text != NULL) load(text, strlen(text));
    free(text);
    json_decref(root);
    return 0;
}
