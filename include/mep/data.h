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
/* The tokenizer of this name, as mep_dataset_tokenizer gives it: "bytes", or else the path of a byte-level BPE: a
 * tokenizer.json of Hugging Face's kind (GPT-2, GPT-NeoX, BLOOM), a vocab.json with merges.txt beside it, or a folder
 * with either. What would change ids and is not known is refused (MEP_ERROR_UNSUPPORTED). The caller owns *tokenizer.
 */
MEP_API mep_status mep_tokenizer_open(mep_tokenizer **tokenizer, const char *name);
/* Free *tokenizer and set it to NULL; NULL is allowed. */
MEP_API void mep_tokenizer_destroy(mep_tokenizer **tokenizer);

/* "bytes" or the path it was opened by; the largest token + 1, end-of-document token included; that token: of a BPE the
 * first of <|endoftext|>, </s>, <|end_of_text|>, <eos>, <|eos|> that it has, else one more behind its own. */
MEP_API const char *mep_tokenizer_name(const mep_tokenizer *tokenizer);
MEP_API int64_t mep_tokenizer_vocab_size(const mep_tokenizer *tokenizer);
MEP_API int32_t mep_tokenizer_end_of_document(const mep_tokenizer *tokenizer);

/* Tokens of `size` bytes of text, any bytes. *tokens is allocated, *count its length; free with mep_tokens_free.
 * Thread-safe. A BPE gives what Hugging Face's encode(text, add_special_tokens=False) does; a byte that is no UTF-8 is
 * the token of that byte, or those of U+FFFD where the vocabulary (GPT-NeoX's) has none for a byte that UTF-8 never
 * has.
 */
MEP_API mep_status mep_tokenizer_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size,
                                        int32_t **tokens, int64_t *count);
MEP_API void mep_tokens_free(int32_t **tokens);

/* The bytes of one token: *text points into the tokenizer, *size may be 0 (end of document). Fails on a token that is
 * none. Thread-safe. The bytes of all tokens of a text are the text again, unless the tokenizer normalizes, strips
 * blanks around an added token, puts one before the text, or has no token for a byte. */
MEP_API mep_status mep_tokenizer_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text,
                                        int64_t *size);

/* The tokenizer.json that the tokenizer is: *size bytes, which belong to it; the file it was read from, or one made of
 * its tables. NULL for "bytes". Written to a file, mep_tokenizer_open and Hugging Face's library read it. */
MEP_API const char *mep_tokenizer_json(const mep_tokenizer *tokenizer, int64_t *size);

/* The same for every tokenizer, "bytes" too, as a text of the caller's (mep_text_free). */
MEP_API mep_status mep_tokenizer_to_json(const mep_tokenizer *tokenizer, char **text, int64_t *size);

/* 1 where both are the same: of the same name without, or with the same bytes of a tokenizer.json. */
MEP_API int mep_tokenizer_equal(const mep_tokenizer *a, const mep_tokenizer *b);

/* ---- Training a tokenizer ---- */

typedef struct mep_tokenizer_trainer mep_tokenizer_trainer;

typedef struct mep_tokenizer_train_settings {
    int64_t vocab_size;         /* tokens at most, the 256 bytes and the special ones included: 16384 */
    int64_t min_frequency;      /* a pair that occurs less often becomes no token: 2 */
    const char *const *special; /* tokens 0, 1, ...: {"<|endoftext|>"}. They have to live as long as the trainer */
    int64_t special_count;
} mep_tokenizer_train_settings;

MEP_API void mep_tokenizer_train_defaults(mep_tokenizer_train_settings *settings);

/* Begin a byte-level BPE with GPT-2's pattern. The caller owns *trainer. */
MEP_API mep_status mep_tokenizer_trainer_create(mep_tokenizer_trainer **trainer,
                                                const mep_tokenizer_train_settings *settings);
/* Count the words of a text, any bytes. Memory grows with the distinct words. */
MEP_API mep_status mep_tokenizer_trainer_add(mep_tokenizer_trainer *trainer, const char *text, int64_t size);

/* Called every 64 merges with the tokens so far; a result other than 0 ends the training with MEP_INTERRUPTED. */
typedef int (*mep_tokenizer_train_fn)(void *context, int64_t tokens, int64_t vocab_size);

/* Merge, and make the tokenizer, whose tokenizer.json is mep_tokenizer_json. The result depends on the counts of words
 * alone and equals that of Hugging Face's BpeTrainer with the same settings and the whole byte alphabet. `progress` may
 * be NULL. The trainer is freed and *trainer NULL in either case. */
MEP_API mep_status mep_tokenizer_trainer_finish(mep_tokenizer_trainer **trainer, mep_tokenizer_train_fn progress,
                                                void *context, mep_tokenizer **tokenizer);
/* Give up. NULL is allowed. */
MEP_API void mep_tokenizer_trainer_destroy(mep_tokenizer_trainer **trainer);

/* ---- Corpora ---- */

/* Called for each document; a status other than MEP_OK ends the reading and is returned. `position` of `total` bytes of
 * the input files have been read (for progress). */
typedef mep_status (*mep_document_fn)(void *context, const char *text, int64_t size, int64_t position, int64_t total);

/* Read documents from files and folders: .jsonl and .json lines (the string "text" of each line is a document, UTF-8),
 * any other file is one document, taken as bytes; each of these also as .gz, .zst, .xz, or in a .tar (.tgz too) of
 * them. Folders are walked in byte order of the names, without hidden files and without following links to folders.
 * Text files that look binary (a zero byte among the first 8192) are left out in folders and tars, but read where
 * `paths` names them. Empty documents and blank lines are left out. Memory is bounded by the longest document, which
 * may have 1 GiB, and a line of JSON 128 MiB. Errors name the file, the member of a tar (FILE:MEMBER) and the line
 * (FILE:LINE). An input without any document is an error. */
MEP_API mep_status mep_corpus_read(const char *const *paths, int64_t count, mep_document_fn document, void *context);

/* ---- The token dataset ---- */

/* Sizes of the texts that name data: a dataset prefix or a data mix, and a split. */
enum { MEP_DATA_SIZE = 4096, MEP_SPLIT_SIZE = 64 };

typedef struct mep_dataset mep_dataset;

/* Map PREFIX.bin and PREFIX.idx read-only; token types uint8, int8, int16, uint16, int32 and int64 are read. Everything
 * in the index is checked against the sizes of the files, and PREFIX.json, where there is one, against the index.
 * `prefix` may also be the name of either file. The caller owns *dataset. All reading is thread-safe. */
MEP_API mep_status mep_dataset_open(mep_dataset **dataset, const char *prefix);

/* Parts of a dataset's documents, as --split of Megatron and GPT-NeoX makes them. */
typedef enum mep_split { MEP_SPLIT_TRAIN, MEP_SPLIT_VALID, MEP_SPLIT_TEST } mep_split;

/* Divide `documents` by up to three shares, "949,50,1" (or with '/'; missing ones are 0): part i is the documents
 * bounds[i] .. bounds[i + 1] - 1. Rounded as GPT-NeoX does: each share to the nearest whole (halves to the even one),
 * and what is then too much or missing is taken from the first. Fails on what is no list of shares. */
MEP_API mep_status mep_split_documents(const char *proportions, int64_t documents, int64_t bounds[4]);
/* Open one part: all functions then know its documents alone, but mep_dataset_checksum, which is of the whole. */
MEP_API mep_status mep_dataset_open_split(mep_dataset **dataset, const char *prefix, const char *proportions,
                                          mep_split split);
/* Unmap, free and set to NULL; NULL is allowed. */
MEP_API void mep_dataset_close(mep_dataset **dataset);

/* Tokens in all, documents, the largest token id + 1 that occurs, and a checksum of .bin followed by .idx, the one in
 * PREFIX.json: 64-bit FNV-1a over words of 8 bytes with a fold, for accidents (src/base/checksum.h defines it). The
 * first question for one of the last two reads the whole dataset. */
MEP_API int64_t mep_dataset_tokens(const mep_dataset *dataset);
MEP_API int64_t mep_dataset_documents(const mep_dataset *dataset);
MEP_API int64_t mep_dataset_vocab_size(const mep_dataset *dataset);
MEP_API uint64_t mep_dataset_checksum(const mep_dataset *dataset);

/* Check the data itself: .bin and .idx have the checksum of PREFIX.json, where there is one, and every stored number is
 * a token id. MEP_ERROR_FORMAT names the file. Reads the whole dataset unless a question above has. */
MEP_API mep_status mep_dataset_verify(const mep_dataset *dataset);

/* The tokenizer that the dataset was prepared with, for mep_tokenizer_open, from PREFIX.json beside it: "bytes", or
 * the path of its copy, PREFIX.tokenizer.json. "" where it is not known. */
MEP_API const char *mep_dataset_tokenizer(const mep_dataset *dataset);

/* 1 if there is a dataset of this prefix, which may also be the name of one of its files. Thread-safe. */
MEP_API int mep_dataset_exists(const char *prefix);

/* The prefix of the dataset, without ".bin" or ".idx"; and the type of the stored tokens: "uint16". Both belong to the
 * dataset. */
MEP_API const char *mep_dataset_prefix(const mep_dataset *dataset);
MEP_API const char *mep_dataset_token_type(const mep_dataset *dataset);

/* Copy `count` tokens from `start` of the documents packed end to end. Fails when they pass the end, and on a stored
 * number that is no token id (negative, or above 2^31 - 1). */
MEP_API mep_status mep_dataset_read(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *tokens);

/* First token of document `index`, 0 .. documents (the end); -1 for any other index. */
MEP_API int64_t mep_dataset_document_start(const mep_dataset *dataset, int64_t index);

typedef struct mep_dataset_writer mep_dataset_writer;

/* Begin PREFIX.bin, .idx and .json, written beside as temporary files (.bin.tmp, ...) and renamed in
 * mep_dataset_writer_finish, so that an interrupted run leaves what was there. Tokens are stored as Megatron does:
 * uint16 where vocab_size < 65500, else int32. A tokenizer that is not built in is copied to PREFIX.tokenizer.json, so
 * that the dataset needs nothing else. A ".bin" or ".idx" at the end of `prefix` is left away. The caller owns
 * *writer. */
MEP_API mep_status mep_dataset_writer_create(mep_dataset_writer **writer, const char *prefix,
                                             const mep_tokenizer *tokenizer);
/* Append a document, or the end of one that mep_dataset_writer_append has begun; the end-of-document token is added
 * when `end_of_document` is not 0. It is one sequence of the format; a document of more than 2^31 - 1 tokens becomes
 * several, which readers take for documents. Fails on a token outside the vocabulary and on more than 2^31 - 1 tokens
 * in one call (nothing is written then), and when the disk is full (the writer can then only be abandoned). */
MEP_API mep_status mep_dataset_writer_add(mep_dataset_writer *writer, const int32_t *tokens, int64_t count,
                                          int end_of_document);
/* Append tokens, 0 or more, to a document that goes on. Fails as mep_dataset_writer_add does, but for their number. */
MEP_API mep_status mep_dataset_writer_append(mep_dataset_writer *writer, const int32_t *tokens, int64_t count);
/* Write the index, sync, rename. A dataset without tokens is an error. The writer is freed and *writer NULL in either
 * case. */
MEP_API mep_status mep_dataset_writer_finish(mep_dataset_writer **writer);
/* Give up: remove the temporary files. NULL is allowed. */
MEP_API void mep_dataset_writer_abandon(mep_dataset_writer **writer);

/* ---- From a corpus to a dataset ---- */

typedef struct mep_prepare_settings {
    const char *const *inputs; /* files and folders, as mep_corpus_read takes them */
    int64_t input_count;
    const char *prefix;             /* of the dataset */
    const mep_tokenizer *tokenizer; /* used by several threads at once */
    int end_of_document;            /* its token behind each document */
    int64_t threads;                /* that tokenize; 0: OpenMP's number. The dataset does not depend on it */
    int resume;                     /* go on where an earlier call was stopped; begin where there was none */
    int skip_bad_lines;             /* leave out lines of JSON that cannot be parsed, rather than fail */
    int keep_journal;               /* PREFIX.journal stays at the end, for the caller to remove: a resume after it
                                       returns at once */
    int64_t save_bytes;             /* what was written is saved whenever it is so much more, */
    double save_seconds;            /* or after so long */
} mep_prepare_settings;

enum { MEP_SKIPPED_SIZE = 512 };

/* How far it is: bytes of the input files; bytes, documents and tokens of the dataset; with skip_bad_lines how many
 * lines were left out, and FILE:LINE and the reason of the first ("" where there is none). */
typedef struct mep_prepare_progress {
    int64_t position, total;
    int64_t text_bytes, documents, tokens;
    int64_t skipped_lines;
    char first_skipped[MEP_SKIPPED_SIZE];
} mep_prepare_progress;

/* Called several times a second; a return other than 0 saves what is there and ends with MEP_INTERRUPTED. */
typedef int (*mep_prepare_fn)(void *context, const mep_prepare_progress *progress);

/* End-of-document tokens, all cores, a save every 256 MiB and every 10 seconds. */
MEP_API void mep_prepare_defaults(mep_prepare_settings *settings);

/* Write the documents of a corpus as a dataset, in their order, by one thread that reads and several that parse and
 * tokenize. Memory grows neither with the corpus nor with a text file in it: some 200 MB, and three times the longest
 * line of JSON. Texts of more than 1 MiB are tokenized in slices, cut behind words such that the tokens are those of
 * the whole; where the tokenizer's pattern or added tokens are not known to allow that, and where a text has no such
 * place, a document may have 128 MiB, as a line of JSON may, and takes a multiple of it. How far it has come is noted
 * in PREFIX.journal, so that a call with `resume` and the same inputs goes on after a stop, a failure or a killed
 * process, and ends with the same bytes. A failure says how much was kept; where that is nothing, no files remain. With
 * `skip_bad_lines` a line that is no JSON object with a string "text" in UTF-8 is left out and counted; damaged
 * archives and lines that are too long fail as before. What was begun with it is resumed with it. A prefix in a
 * folder of the inputs, or below one, is refused (MEP_ERROR_ARGUMENT), and so is an input without any text
 * (MEP_ERROR_FORMAT). `progress` and `result` (the last progress) may be NULL. */
MEP_API mep_status mep_prepare(const mep_prepare_settings *settings, mep_prepare_fn progress, void *context,
                               mep_prepare_progress *result);

#ifdef __cplusplus
}
#endif

#endif
