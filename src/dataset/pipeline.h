/* SPDX-License-Identifier: MIT */
/*
 * Tokenizes a corpus on all cores: one thread reads and decompresses the files, several threads parse and tokenize, and
 * the caller takes the documents in the order of the corpus, which does not depend on the number of threads. The amount
 * of data in flight is limited.
 */
#ifndef MEP_DATASET_PIPELINE_H
#define MEP_DATASET_PIPELINE_H

#include "corpus/corpus.h"

/* The tokens of a record or of a slice of a record. count and text_bytes are 0 if it contains no document. */
typedef struct mep_record_tokens {
    int32_t *tokens;
    int64_t count, text_bytes;
    int64_t next; /* the offset of the next slice in the record's text; 0: the document ends here */
    int is_bad;   /* an invalid line, which is skipped */
} mep_record_tokens;

/* Consecutive records of one file. Only the first may begin, and only the last may end, inside a text. */
typedef struct mep_batch {
    const mep_record_tokens *records;
    int64_t count;
    int64_t file, first; /* index of the file, and number of the first record in it */
    int64_t position;    /* bytes of all files that were read up to the last record */
    const char *mistake; /* the first invalid line: FILE:LINE and the reason */
} mep_batch;

/* Callbacks to the caller of mep_pipeline_run. */
typedef struct mep_pipeline_hooks {
    void *context;
    mep_status (*take)(void *context, const mep_batch *batch); /* takes the next batch */
    mep_status (*idle)(void *context); /* called when no batch has come for a while; a failure ends the work */
} mep_pipeline_hooks;

/* Read from the position of `reading` on, and tokenize with its tokenizer on `threads` threads. A record that cannot be
 * read or parsed ends the work with its error after all batches before it have been taken, unless it is a line and
 * invalid lines are skipped. */
mep_status mep_pipeline_run(const mep_corpus_reading *reading, int64_t threads, const mep_pipeline_hooks *hooks);

#endif
