/* SPDX-License-Identifier: MIT */
/*
 * Text in, tokens out: tokenizers, corpora, and the token dataset (.bin/.idx, Megatron's MMapIndexedDataset).
 */
#ifndef MEP_DATA_H
#define MEP_DATA_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tokenizers ---- */

typedef struct mep_tokenizer mep_tokenizer;

/* The built-in byte tokenizer: token t < 256 is the byte t, token 256 ends a document. */
MEP_API mep_status mep_tokenizer_bytes(mep_tokenizer **tokenizer);
/* The tokenizer of this name, as mep_dataset_tokenizer gives it: "bytes". Fails with the list of names. The caller owns
 * *tokenizer. */
MEP_API mep_status mep_tokenizer_open(mep_tokenizer **tokenizer, const char *name);
/* Free *tokenizer and set it to NULL; NULL is allowed. */
MEP_API void mep_tokenizer_destroy(mep_tokenizer **tokenizer);

/* "bytes"; number of tokens, end-of-document token included; that token. */
MEP_API const char *mep_tokenizer_name(const mep_tokenizer *tokenizer);
MEP_API int64_t mep_tokenizer_vocab_size(const mep_tokenizer *tokenizer);
MEP_API int32_t mep_tokenizer_end_of_document(const mep_tokenizer *tokenizer);

/* Tokens of `size` bytes of text. *tokens is allocated, *count its length; free with mep_tokens_free. Thread-safe. */
MEP_API mep_status mep_tokenizer_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size,
                                        int32_t **tokens, int64_t *count);
MEP_API void mep_tokens_free(int32_t **tokens);

/* The bytes of one token: *text points into the tokenizer, *size may be 0 (end of document). Fails on a token that is
 * none. Thread-safe. */
MEP_API mep_status mep_tokenizer_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text,
                                        int64_t *size);

/* ---- Corpora ---- */

/* Called for each document; a status other than MEP_OK ends the reading and is returned. `position` of `total` bytes of
 * the input files have been read (for progress). */
typedef mep_status (*mep_document_fn)(void *context, const char *text, int64_t size, int64_t position, int64_t total);

/* Read documents from files and folders: .jsonl and .json lines (the string "text" of each line is a document, UTF-8),
 * any other file is one document, taken as bytes; each of these also as .gz, .zst, .xz, or in a .tar (.tgz too) of
 * them. Folders are walked in byte order of the names, without hidden files and without following links to folders.
 * Text files that look binary (a zero byte among the first 8192) are left out in folders and tars, but read where
 * `paths` names them. Empty documents and blank lines are left out. Memory is bounded by the longest document, which
 * may have 1 GiB. Errors name the file, the member of a tar (FILE:MEMBER) and the line (FILE:LINE). An input without
 * any document is an error. */
MEP_API mep_status mep_corpus_read(const char *const *paths, int64_t count, mep_document_fn document, void *context);

/* ---- The token dataset ---- */

typedef struct mep_dataset mep_dataset;

/* Map PREFIX.bin and PREFIX.idx read-only; token types uint8, int8, int16, uint16, int32 and int64 are read. Everything
 * in the index is checked against the sizes of the files, and PREFIX.json, where there is one, against the index.
 * `prefix` may also be the name of either file. The caller owns *dataset. All reading is thread-safe. */
MEP_API mep_status mep_dataset_open(mep_dataset **dataset, const char *prefix);
/* Unmap, free and set to NULL; NULL is allowed. */
MEP_API void mep_dataset_close(mep_dataset **dataset);

/* Tokens in all, documents, the largest token id + 1 that occurs, and a checksum of .bin followed by .idx, the one in
 * PREFIX.json: 64-bit FNV-1a over words of 8 bytes with a fold, for accidents (src/text/checksum.h defines it). The
 * last two read the whole dataset at the first call. */
MEP_API int64_t mep_dataset_tokens(const mep_dataset *dataset);
MEP_API int64_t mep_dataset_documents(const mep_dataset *dataset);
MEP_API int64_t mep_dataset_vocab_size(const mep_dataset *dataset);
MEP_API uint64_t mep_dataset_checksum(const mep_dataset *dataset);

/* The tokenizer that the dataset was prepared with ("bytes"), from PREFIX.json beside it; "" where there is none. */
MEP_API const char *mep_dataset_tokenizer(const mep_dataset *dataset);

/* Copy `count` tokens from `start` of the documents packed end to end. Fails when they pass the end, and on a stored
 * number that is no token id (negative, or above 2^31 - 1). */
MEP_API mep_status mep_dataset_read(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *tokens);

/* First token of document `index`, 0 .. documents (the end); -1 for any other index. */
MEP_API int64_t mep_dataset_document_start(const mep_dataset *dataset, int64_t index);

typedef struct mep_dataset_writer mep_dataset_writer;

/* Begin PREFIX.bin, .idx and .json, written beside as temporary files (.bin.tmp, ...) and renamed in
 * mep_dataset_writer_finish, so that an interrupted run leaves what was there. Tokens are stored as Megatron does:
 * uint16 where vocab_size < 65500, else int32. A ".bin" or ".idx" at the end of `prefix` is left away. The caller owns
 * *writer. */
MEP_API mep_status mep_dataset_writer_create(mep_dataset_writer **writer, const char *prefix,
                                             const mep_tokenizer *tokenizer);
/* Append one document, one sequence of the format; the end-of-document token is added when `end_of_document` is not 0.
 * Fails on a token outside the vocabulary and on more than 2^31 - 1 tokens (nothing is written then), and when the disk
 * is full (the writer can then only be abandoned). */
MEP_API mep_status mep_dataset_writer_add(mep_dataset_writer *writer, const int32_t *tokens, int64_t count,
                                          int end_of_document);
/* Write the index, sync, rename. A dataset without tokens is an error. The writer is freed and *writer NULL in either
 * case. */
MEP_API mep_status mep_dataset_writer_finish(mep_dataset_writer **writer);
/* Give up: remove the temporary files. NULL is allowed. */
MEP_API void mep_dataset_writer_abandon(mep_dataset_writer **writer);

#ifdef __cplusplus
}
#endif

#endif
