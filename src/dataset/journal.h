/* SPDX-License-Identifier: MIT */
/*
 * PREFIX.journal: the progress of a preparation. It is written after the tokens are on the disk, as a new file that
 * replaces the old one atomically, and is removed when the dataset is complete. A later call resumes from it, whatever
 * ended the call before.
 */
#ifndef MEP_DATASET_JOURNAL_H
#define MEP_DATASET_JOURNAL_H

#include "corpus/corpus.h"
#include "dataset/dataset_writer.h"

/* A position in the corpus, and the state of the writer at that position. */
typedef struct mep_journal_position {
    int64_t file, record; /* the next record to read */
    int64_t offset;       /* bytes of its text that are done */
    int64_t text_bytes;   /* bytes of all documents so far */
    int64_t skipped;      /* invalid lines so far */
    mep_writer_state writer;
} mep_journal_position;

typedef struct mep_journal {
    mep_journal_position now;
    mep_journal_position file_begin; /* the start of the file of `now`; resume here if that file has been corrected */
    int skips;                       /* invalid lines are skipped */
    char first_skipped[MEP_SKIPPED_SIZE];
    int finished; /* the dataset is complete; the journal is kept because the caller has more to do */
} mep_journal;

/* "PREFIX.journal"; free it with mep_free. */
mep_status mep_journal_path(const char *prefix, char **path);

/* Write the journal, which also describes `files`, `tokenizer` and `end_of_document`. */
mep_status mep_journal_save(const char *path, const mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document);

/* Read the journal. If the file of `now` has changed since it was written, `now` becomes `file_begin`. Fails if the
 * journal was written with another tokenizer, if it skips invalid lines and `skips` is 0, or if earlier files have
 * changed (names, sizes, times). */
mep_status mep_journal_load(const char *path, mep_journal *journal, const mep_corpus_files *files,
                            const mep_tokenizer *tokenizer, int end_of_document, int skips);

#endif
