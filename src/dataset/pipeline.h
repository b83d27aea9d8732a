/* SPDX-License-Identifier: MIT */
/*
 * A corpus to tokens with all cores: one thread reads and unpacks the files, several parse and tokenize, and the caller
 * takes the documents in the order of the corpus, which does not depend on the number of threads. What is on the way is
 * bounded in bytes.
 */
#ifndef MEP_DATASET_PIPELINE_H
#define MEP_DATASET_PIPELINE_H

#include "corpus/corpus.h"

/* The tokens of a record or of a slice of one; count is 0 and text_bytes 0 where it holds no document. */
typedef struct mep_piece {
    int32_t *tokens;
    int64_t count, text_bytes;
    int64_t next; /* where the record's document goes on in its text; 0: it ends here */
    int is_bad;   /* a line that cannot be parsed, which is left out */
} mep_piece;

/* Some records that follow each other in one file. Only the first may begin, and only the last end, inside a text. */
typedef struct mep_batch {
    const mep_piece *pieces;
    int64_t count;
    int64_t file, first; /* index of the file, and the number of the first record in it */
    int64_t position;    /* bytes of all files that were read behind the last record */
    const char *mistake; /* of the first bad line: FILE:LINE and the reason */
} mep_batch;

/* How the caller of mep_pipeline_run takes part. */
typedef struct mep_pipeline_hooks {
    void *context;
    mep_status (*take)(void *context, const mep_batch *batch); /* the next batch */
    mep_status (*idle)(void *context); /* some time has passed without one; may end the work by its status */
} mep_pipeline_hooks;

/* Read from `reading` on, and tokenize with its tokenizer and `threads` threads. A record that cannot be read or parsed
 * (unless it is a line, and bad lines are left out) ends the work with its error, after all batches before it have been
 * taken. */
mep_status mep_pipeline_run(const mep_corpus_reading *reading, int64_t threads, const mep_pipeline_hooks *hooks);

#endif
