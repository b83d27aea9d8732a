/* SPDX-License-Identifier: MIT */
/*
 * Reading a corpus in steps: finding the files (corpus_files.c), dividing them into records (corpus.c), and extracting
 * the document of a record (corpus_record.c). The last step is most of the work, and many threads can do it at once.
 * corpus_documents.c does all steps on one thread.
 */
#ifndef MEP_CORPUS_CORPUS_H
#define MEP_CORPUS_CORPUS_H

#include <jansson.h>

#include "mep/data.h"

/* The largest text that is passed on in one record, in bytes. */
#define MEP_DOCUMENT_LIMIT (INT64_C(1) << 30)
/* The longest line of JSON, and the longest text without a split point if a tokenizer is given, in bytes: a small
 * compressed file can hold such a line, and it must not exhaust the memory of a machine. */
#define MEP_LINE_LIMIT (INT64_C(1) << 27)
/* Texts of more bytes are split into slices of about this size, if a tokenizer allows it. */
#define MEP_SLICE (INT64_C(1) << 20)

typedef struct mep_corpus_file {
    char *path;
    int64_t size;     /* 0 for a file without a size, such as a pipe */
    int64_t modified; /* nanoseconds; 0 for a file without a size */
    int64_t input;    /* index of the input that the file belongs to */
} mep_corpus_file;

typedef struct mep_corpus_files {
    mep_corpus_file *items;
    int64_t count, capacity, inputs;
} mep_corpus_files;

/* Append the next input: `path` itself, or if it is a folder, the regular files in it and in the folders below it, in
 * byte order of their names. Hidden files and folders are skipped, and links to folders are not followed. */
mep_status mep_corpus_files_add(mep_corpus_files *files, const char *path);
/* Append all inputs of a call. */
mep_status mep_corpus_files_find(mep_corpus_files *files, const char *const *paths, int64_t count);
void mep_corpus_files_free(mep_corpus_files *files);

/* An unparsed part of a file: a line of JSON lines, a text, or a slice of a long text (of a file or of a line). The
 * slices of a record follow each other. */
typedef struct mep_corpus_record {
    const char *name; /* of the stream, for messages: FILE or FILE:MEMBER */
    int64_t line;     /* number of the JSON line, from 1; 0: the bytes are text */
    char *bytes;      /* the receiver may change them */
    int64_t size;
    int64_t offset, next;    /* offsets in the text: of the slice, and of the next slice (0 if this is the last) */
    int64_t file, number;    /* index of the file, and of the record in it */
    int64_t position, total; /* bytes read of all files, and their sum */
} mep_corpus_record;

/* Called for each record; its memory is valid during the call. A status other than MEP_OK ends the reading. */
typedef mep_status (*mep_record_fn)(void *context, const mep_corpus_record *record);

/* What to read, and from where. */
typedef struct mep_corpus_reading {
    const char *const *paths; /* of the inputs, for messages */
    const mep_corpus_files *files;
    const mep_tokenizer *tokenizer; /* long texts are split at its split points; NULL: records are complete */
    int64_t limit, slice;           /* bytes of a record, and of a slice */
    int skip_bad_lines;             /* pass invalid lines on to the receiver of the records */
    int64_t file, number, offset;   /* the first record and the offset in its text; what comes before is read but not
                                       passed on */
} mep_corpus_reading;

/* Pass on all records from the first one of `reading`. An input that has only blank lines, or nothing, is an error. */
mep_status mep_corpus_read_records(const mep_corpus_reading *reading, mep_record_fn record, void *context);

/* Extract the document of a record. *text points into the record, whose bytes may be changed, or into *json, which the
 * caller releases with json_decref in either case. *size is 0 for a blank line or an empty text. Thread-safe. */
mep_status mep_corpus_record_text(const mep_corpus_record *record, json_t **json, const char **text, int64_t *size);

/* 1 if the line contains only blanks. */
int mep_corpus_is_blank(const char *text, int64_t size);

/* mep_corpus_read with a limit other than MEP_DOCUMENT_LIMIT. */
mep_status mep_corpus_read_limited(const char *const *paths, int64_t count, int64_t limit, mep_document_fn document,
                                   void *context);

#endif
