/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a file of a corpus. The first byte selects the ending of its name (.txt, .jsonl, .tar,
 * compressed or not), the second the length of slices. Read in slices, the file has the same texts as read in one go,
 * and a read that starts in the middle of a text returns the rest of them.
 */
#define _XOPEN_SOURCE 700
#include "folder.h"
#include "corpus/corpus.h"

enum { ROOM = 1 << 20, LIMIT = 1 << 16 };

/* The texts returned so far, each after the number of its record. */
typedef struct texts {
    char *bytes; /* [ROOM] */
    int64_t size, records, in_record;
    int64_t number, offset; /* the second read starts here: the last slice of the middle record */
    int64_t size_there;     /* bytes returned before it */
} texts;

static mep_status take(void *context, const mep_corpus_record *record)
{
    texts *t = context;
    json_t *json = NULL;
    const char *text = NULL;
    int64_t size = 0;
    mep_status status = mep_corpus_record_text(record, &json, &text, &size);
    if (status == MEP_OK && record->offset != t->in_record) abort();
    if (status == MEP_OK && record->next != 0 && record->next != record->offset + size) abort();
    if (status == MEP_OK && size > 0 && t->size + size + 1 <= ROOM) {
        if (record->offset > 0) {
            t->number = record->number;
            t->offset = record->offset;
            t->size_there = t->size;
        }
        memcpy(t->bytes + t->size, text, (size_t)size);
        t->size += size;
        if (record->next == 0) t->bytes[t->size++] = '\n';
    }
    t->in_record = record->next;
    t->records++;
    json_decref(json);
    return status;
}

static mep_status read_all(const char *path, const mep_tokenizer *tokenizer, int64_t slice, int64_t number,
                           int64_t offset, texts *t)
{
    mep_corpus_files files = {0};
    *t = (texts){.bytes = t->bytes, .in_record = offset};
    if (mep_corpus_files_find(&files, &path, 1) != MEP_OK) abort();
    const mep_corpus_reading reading = {.paths = &path,
                                        .files = &files,
                                        .tokenizer = tokenizer,
                                        .limit = LIMIT,
                                        .slice = slice,
                                        .number = number,
                                        .offset = offset};
    mep_status status = mep_corpus_read_records(&reading, take, t);
    mep_corpus_files_free(&files);
    check_message(status);
    return status;
}

static void check_reading(const char *path, int64_t slice, texts *whole, texts *parts, texts *rest)
{
    mep_tokenizer *tokenizer = NULL;
    if (mep_tokenizer_bytes(&tokenizer) != MEP_OK) abort();
    mep_status status = read_all(path, NULL, 0, 0, 0, whole), sliced = read_all(path, tokenizer, slice, 0, 0, parts);
    if (status == MEP_OK && sliced != MEP_OK) abort();
    if (status == MEP_OK && whole->size < ROOM / 2) {
        if (parts->size != whole->size || memcmp(parts->bytes, whole->bytes, (size_t)whole->size) != 0) abort();
    }
    if (sliced == MEP_OK && parts->offset > 0) {
        int64_t left = parts->size - parts->size_there;
        if (read_all(path, tokenizer, slice, parts->number, parts->offset, rest) != MEP_OK) abort();
        if (rest->size != left || memcmp(rest->bytes, parts->bytes + parts->size_there, (size_t)left) != 0) abort();
    }
    mep_tokenizer_destroy(&tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const NAMES[] = {"a.txt", "a.jsonl", "a.tar", "a.jsonl.gz", "a.tgz", "a.txt.zst", "a.tar.xz"};
    static char bytes[3][ROOM];
    texts whole = {.bytes = bytes[0]}, parts = {.bytes = bytes[1]}, rest = {.bytes = bytes[2]};
    char path[64];
    if (size < 2) return 0;
    const char *name = NAMES[data[0] % (sizeof NAMES / sizeof *NAMES)];
    file_path(name, path);
    put_file(name, data + 2, size - 2);
    check_reading(path, 1 + data[1] % 64, &whole, &parts, &rest);
    return 0;
}
