/* SPDX-License-Identifier: MIT */
/*
 * The two halves of reading a corpus: finding the files (corpus_files.c) and reading documents out of one (corpus.c).
 */
#ifndef MEP_TEXT_CORPUS_H
#define MEP_TEXT_CORPUS_H

#include "mep/data.h"

/* Bytes that one document, or one line of JSON, may have: it is held in memory whole, and its tokens too. */
#define MEP_DOCUMENT_LIMIT (INT64_C(1) << 30)

typedef struct mep_corpus_file {
    char *path;
    int64_t size; /* 0 for what has none, such as a pipe */
} mep_corpus_file;

typedef struct mep_corpus_files {
    mep_corpus_file *items;
    int64_t count, capacity;
} mep_corpus_files;

/* Append what `path` stands for: itself, or, where it is a folder, the regular files below it in byte order of their
 * names, without hidden files and folders and without following links to folders. */
mep_status mep_corpus_files_add(mep_corpus_files *files, const char *path);
void mep_corpus_files_free(mep_corpus_files *files);

/* mep_corpus_read with another limit than MEP_DOCUMENT_LIMIT. */
mep_status mep_corpus_read_limited(const char *const *paths, int64_t count, int64_t limit, mep_document_fn document,
                                   void *context);

#endif
