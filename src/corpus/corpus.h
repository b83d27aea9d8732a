/* SPDX-License-Identifier: MIT */
/*
 * The steps of reading a corpus: finding the files (corpus_files.c), cutting them into records (corpus.c), and making
 * the document of a record (corpus_record.c), which is most of the work and can be done by many threads at once.
 */
#ifndef MEP_CORPUS_CORPUS_H
#define MEP_CORPUS_CORPUS_H

#include <jansson.h>

#include "mep/data.h"

/* Bytes that a text may have where it is handed out whole. */
#define MEP_DOCUMENT_LIMIT (INT64_C(1) << 30)
/* Bytes that a line of JSON may have, and a text that is to be cut but has no place for it: a small compressed file can
 * hold such a line, which must not take the memory of a machine. */
#define MEP_LINE_LIMIT (INT64_C(1) << 27)
/* Bytes of a text from which on it is cut into slices, of about so much each, where a tokenizer allows it. */
#define MEP_SLICE (INT64_C(1) << 20)

typedef struct mep_corpus_file {
    char *path;
    int64_t size;     /* 0 for what has none, such as a pipe */
    int64_t modified; /* nanoseconds; 0 for what has no size */
    int64_t input;    /* index of the input that it belongs to */
} mep_corpus_file;

typedef struct mep_corpus_files {
    mep_corpus_file *items;
    int64_t count, capacity, inputs;
} mep_corpus_files;

/* Append the next input: `path` itself, or, where it is a folder, the regular files below it in byte order of their
 * names, without hidden files and folders and without following links to folders. */
mep_status mep_corpus_files_add(mep_corpus_files *files, const char *path);
/* Append all inputs of a call. */
mep_status mep_corpus_files_find(mep_corpus_files *files, const char *const *paths, int64_t count);
void mep_corpus_files_free(mep_corpus_files *files);

/* What lies in a file before it is parsed: a line of JSON lines, a text, or a slice of a long one, be it a file's or
 * that of a line. The slices of a record follow each other. */
typedef struct mep_corpus_record {
    const char *name; /* of the stream, for messages: FILE or FILE:MEMBER */
    int64_t line;     /* of JSON, from 1; 0: the bytes are text */
    char *bytes;      /* may be changed by who takes the record */
    int64_t size;
    int64_t offset, next;    /* in the text: where the slice begins, and where the next one does; 0 for the last */
    int64_t file, number;    /* index of the file, and of the record in it */
    int64_t position, total; /* bytes of all files */
} mep_corpus_record;

/* Called for each record; its memory lasts until the return. A status other than MEP_OK ends the reading. */
typedef mep_status (*mep_record_fn)(void *context, const mep_corpus_record *record);

/* Where to read, and how. */
typedef struct mep_corpus_reading {
    const char *const *paths; /* of the inputs, for messages */
    const mep_corpus_files *files;
    const mep_tokenizer *tokenizer; /* by which long texts are cut; NULL: records are whole */
    int64_t limit, slice;           /* bytes of a record, and of a slice */
    int skip_bad_lines;             /* the reader leaves lines that it cannot parse to who takes the records */
    int64_t file, number, offset;   /* the record and place in its text to begin with; what lies before it is read, but
                                       not handed out */
} mep_corpus_reading;

/* Hand out all records from that of `reading` on. An input without any record but blank lines is an error. */
mep_status mep_corpus_read_records(const mep_corpus_reading *reading, mep_record_fn record, void *context);

/* The document of a record: *text points into the record, whose bytes may be changed, or into *json, which the caller
 * releases (json_decref) in either case. *size is 0 where there is none: a blank line or an empty text. Thread-safe. */
mep_status mep_corpus_record_text(const mep_corpus_record *record, json_t **json, const char **text, int64_t *size);

/* 1 when there is nothing but blanks in a line. */
int mep_corpus_is_blank(const char *text, int64_t size);

/* mep_corpus_read with another limit than MEP_DOCUMENT_LIMIT. */
mep_status mep_corpus_read_limited(const char *const *paths, int64_t count, int64_t limit, mep_document_fn document,
                                   void *context);

#endif
