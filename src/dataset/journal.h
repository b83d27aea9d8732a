/* SPDX-License-Identifier: MIT */
/*
 * PREFIX.journal: how far a preparation has come. It is written after the tokens up to there are on the disk, as a new
 * file that replaces the old one in one step, and removed when the dataset is complete. From it a later call goes on,
 * whatever ended the one before.
 */
#ifndef MEP_DATASET_JOURNAL_H
#define MEP_DATASET_JOURNAL_H

#include "corpus/corpus.h"
#include "dataset/dataset_writer.h"

/* A place in the corpus and what had been written there. */
typedef struct mep_journal_place {
    int64_t file, record; /* the next record to be read, */
    int64_t offset;       /* and how much of its text is done */
    int64_t text_bytes;   /* of the documents so far */
    int64_t skipped;      /* bad lines so far */
    mep_writer_state writer;
} mep_journal_place;

typedef struct mep_journal {
    mep_journal_place now;
    mep_journal_place file_begin; /* where the file of `now` began: to go on from when that file has been mended */
    int skips;                    /* bad lines are left out */
    char first_skipped[MEP_SKIPPED_SIZE];
    int finished; /* the dataset is complete; kept where its owner has more to do with it */
} mep_journal;

/* "PREFIX.journal", to be freed with mep_free. */
mep_status mep_journal_path(const char *prefix, char **path);

/* Write the journal; `files`, `tokenizer` and `end_of_document` are noted in it too. */
mep_status mep_journal_save(const char *path, const mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document);

/* Read it. Where the file of `now` has changed since, `now` is `file_begin`. Fails where the journal was written with
 * another tokenizer, or leaves out bad lines and `skips` is 0, or files before that have changed (names, sizes, times).
 */
mep_status mep_journal_load(const char *path, mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document, int skips);

#endif
