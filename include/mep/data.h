/* SPDX-License-Identifier: MIT */
/*
 * From text to tokens: tokenizers, corpora, and the token dataset (.bin and .idx, Megatron's MMapIndexedDataset).
 */
#ifndef MEP_DATA_H
#define MEP_DATA_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tokenizers ---- */

typedef struct mep_tokenizer mep_tokenizer;

/* The built-in byte tokenizer: token t < 256 is the byte t, and token 256 ends a document. */
MEP_API mep_status mep_tokenizer_bytes(mep_tokenizer **tokenizer);
/* Open a tokenizer by a name as mep_dataset_tokenizer returns it: "bytes", or the path of a byte-level BPE, which is a
 * tokenizer.json of Hugging Face (GPT-2, GPT-NeoX, BLOOM, Llama, Mistral, Qwen, SmolLM, OLMo, Falcon), a vocab.json
 * with merges.txt next to it, or a folder with either. An unsupported setting that would change ids is refused
 * (MEP_ERROR_UNSUPPORTED). The caller owns *tokenizer.
 */
MEP_API mep_status mep_tokenizer_open(mep_tokenizer **tokenizer, const char *name);
/* Free *tokenizer and set it to NULL; NULL is allowed. */
MEP_API void mep_tokenizer_destroy(mep_tokenizer **tokenizer);

/* "bytes", or the path that was opened. */
MEP_API const char *mep_tokenizer_name(const mep_tokenizer *tokenizer);
/* The largest token + 1, including the end-of-document token. */
MEP_API int64_t mep_tokenizer_vocab_size(const mep_tokenizer *tokenizer);
/* The end-of-document token: of a BPE the first of <|endoftext|>, </s>, <|end_of_text|>, <eos>, <|eos|> and
 * DeepSeek's that it has, otherwise an additional token after its own. */
MEP_API int32_t mep_tokenizer_end_of_document(const mep_tokenizer *tokenizer);

/* Tokenize `size` bytes of text, which may be any bytes. *tokens is allocated and *count is its length; free it with
 * mep_tokens_free. A BPE gives the ids of Hugging Face's encode(text, add_special_tokens=False). A byte that is not
 * valid UTF-8 becomes the token of that byte, or the tokens of U+FFFD if the vocabulary has no token for it (GPT-NeoX
 * has none for bytes that UTF-8 never uses). Thread-safe. */
MEP_API mep_status mep_tokenizer_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size,
                                        int32_t **tokens, int64_t *count);
MEP_API void mep_tokens_free(int32_t **tokens);

/* The tokens that Hugging Face's encode(text) adds to those of a text, such as <s>. They belong to the tokenizer. */
typedef struct mep_special_tokens {
    const int32_t *before;
    int64_t before_count;
    const int32_t *after;
    int64_t after_count;
} mep_special_tokens;

/* Get the tokens that the tokenizer.json ("post_processor") or tokenizer_config.json ("add_bos_token") puts around a
 * text. mep_tokenizer_encode does not add them. The counts are 0 if there are none. */
MEP_API mep_status mep_tokenizer_special_tokens(const mep_tokenizer *tokenizer, mep_special_tokens *special);

/* The bytes of one token: *text points into the tokenizer; *size may be 0 (end of document). Fails if the token does
 * not exist. The bytes of all tokens of a text are the text again, unless the tokenizer normalizes, strips blanks
 * around an added token, puts a blank before the text, or has no token for a byte. Thread-safe. */
MEP_API mep_status mep_tokenizer_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text,
                                        int64_t *size);

/* The bytes of a text's tokens: those of mep_tokenizer_decode, except for the blank that the tokenizers of Llama 2 and
 * Mistral put before a text, which is removed again. *text has *size bytes and a zero byte after them; free it with
 * mep_text_free. Thread-safe. */
MEP_API mep_status mep_tokenizer_decode_text(const mep_tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                                             char **text, int64_t *size);

/* The tokenizer.json of the tokenizer: *size bytes, owned by the tokenizer. It is the file that was opened, or one
 * composed from its tables. NULL for "bytes". Written to a file, mep_tokenizer_open and Hugging Face's library read it.
 */
MEP_API const char *mep_tokenizer_json(const mep_tokenizer *tokenizer, int64_t *size);

/* The same for every tokenizer, including "bytes", as a copy: free *text with mep_text_free. */
MEP_API mep_status mep_tokenizer_to_json(const mep_tokenizer *tokenizer, char **text, int64_t *size);

/* 1 if both are the same: both without a tokenizer.json and with the same name, or with the same bytes of a
 * tokenizer.json. */
MEP_API int mep_tokenizer_equal(const mep_tokenizer *a, const mep_tokenizer *b);

/* ---- Training a tokenizer ---- */

typedef struct mep_tokenizer_trainer mep_tokenizer_trainer;

typedef struct mep_tokenizer_train_settings {
    int64_t vocab_size;         /* maximum number of tokens, including the 256 bytes and the special tokens: 16384 */
    int64_t min_frequency;      /* a pair that occurs less often does not become a token: 2 */
    const char *const *special; /* tokens 0, 1, ...: {"<|endoftext|>"}; must outlive the trainer */
    int64_t special_count;
} mep_tokenizer_train_settings;

MEP_API void mep_tokenizer_train_defaults(mep_tokenizer_train_settings *settings);

/* Begin a byte-level BPE with GPT-2's pattern. The caller owns *trainer. */
MEP_API mep_status mep_tokenizer_trainer_create(mep_tokenizer_trainer **trainer,
                                                const mep_tokenizer_train_settings *settings);
/* Count the words of a text, which may be any bytes. Memory grows with the number of distinct words. */
MEP_API mep_status mep_tokenizer_trainer_add(mep_tokenizer_trainer *trainer, const char *text, int64_t size);

/* Called every 64 merges with the number of tokens so far; a result other than 0 ends the training with
 * MEP_INTERRUPTED. */
typedef int (*mep_tokenizer_train_fn)(void *context, int64_t tokens, int64_t vocab_size);

/* Merge, and create the tokenizer; mep_tokenizer_json returns its tokenizer.json. The result depends only on the counts
 * of words and equals that of Hugging Face's BpeTrainer with the same settings and the complete byte alphabet.
 * `progress` may be NULL. The trainer is freed and *trainer set to NULL in either case. */
MEP_API mep_status mep_tokenizer_trainer_finish(mep_tokenizer_trainer **trainer, mep_tokenizer_train_fn progress,
                                                void *context, mep_tokenizer **tokenizer);
/* Free the trainer without a result. NULL is allowed. */
MEP_API void mep_tokenizer_trainer_destroy(mep_tokenizer_trainer **trainer);

/* ---- Corpora ---- */

/* Called for each document; a status other than MEP_OK ends the reading and is returned. `position` of `total` bytes of
 * the input files have been read. */
typedef mep_status (*mep_document_fn)(void *context, const char *text, int64_t size, int64_t position, int64_t total);

/* Read documents from files and folders. In .jsonl and .json files each line is a JSON object whose string "text" is a
 * document (UTF-8); any other file is one document of any bytes. Each may be compressed (.gz, .zst, .xz) or in a .tar
 * (also .tgz). Folders are read in byte order of the names; hidden files are skipped, and links to folders are not
 * followed. Text files in folders and tars that look binary (a zero byte among the first 8192) are skipped, but a file
 * named in `paths` is always read. Empty documents and blank lines are skipped. Memory is bounded by the longest
 * document, at most 1 GiB, and by the longest line of JSON, at most 128 MiB. Messages name the file, the member of a
 * tar (FILE:MEMBER) and the line (FILE:LINE). An input without any document is an error. */
MEP_API mep_status mep_corpus_read(const char *const *paths, int64_t count, mep_document_fn document, void *context);

/* ---- The token dataset ---- */

/* Sizes of the strings that name data: a dataset prefix or a data mixture, and a split. */
enum { MEP_DATA_SIZE = 4096, MEP_SPLIT_SIZE = 64 };

typedef struct mep_dataset mep_dataset;

/* Map PREFIX.bin and PREFIX.idx read-only; the token types uint8, int8, int16, uint16, int32 and int64 are supported.
 * The index is checked completely against the sizes of the files, and PREFIX.json, if it exists, against the index.
 * `prefix` may also be the name of either file. The caller owns *dataset. All reading is thread-safe. */
MEP_API mep_status mep_dataset_open(mep_dataset **dataset, const char *prefix);

/* A split of a dataset's documents, as made by --split of Megatron and GPT-NeoX. */
typedef enum mep_split { MEP_SPLIT_TRAIN, MEP_SPLIT_VALID, MEP_SPLIT_TEST } mep_split;

/* Divide `documents` documents by up to three proportions, "949,50,1" (or with '/'; missing ones are 0): split i has
 * the documents bounds[i] .. bounds[i + 1] - 1. Rounding is that of GPT-NeoX: each number is rounded to the nearest
 * integer (halves to even), and the difference from the total is taken from the first split. Fails if the string is not
 * a list of proportions. */
MEP_API mep_status mep_split_documents(const char *proportions, int64_t documents, int64_t bounds[4]);
/* Open one split: all functions then see only its documents, except mep_dataset_checksum, which covers the complete
 * files. */
MEP_API mep_status mep_dataset_open_split(mep_dataset **dataset, const char *prefix, const char *proportions,
                                          mep_split split);
/* Unmap, free and set *dataset to NULL; NULL is allowed. */
MEP_API void mep_dataset_close(mep_dataset **dataset);

/* The number of tokens and of documents. */
MEP_API int64_t mep_dataset_tokens(const mep_dataset *dataset);
MEP_API int64_t mep_dataset_documents(const mep_dataset *dataset);
/* The largest token id that occurs + 1, and a checksum of .bin followed by .idx, which is the one in PREFIX.json:
 * 64-bit FNV-1a over words of 8 bytes with a fold, against accidents only (src/base/checksum.h defines it). The first
 * call of either reads the complete dataset. */
MEP_API int64_t mep_dataset_vocab_size(const mep_dataset *dataset);
MEP_API uint64_t mep_dataset_checksum(const mep_dataset *dataset);

/* Check the data: .bin and .idx have the checksum in PREFIX.json, if it exists, and every stored number is a token id.
 * MEP_ERROR_FORMAT names the file. Reads the complete dataset unless a call above has done so. */
MEP_API mep_status mep_dataset_verify(const mep_dataset *dataset);

/* The tokenizer that the dataset was prepared with, for mep_tokenizer_open. It is read from PREFIX.json: "bytes", or
 * the path of the copy PREFIX.tokenizer.json. "" if it is not known. */
MEP_API const char *mep_dataset_tokenizer(const mep_dataset *dataset);

/* 1 if a dataset with this prefix exists; `prefix` may also be the name of one of its files. Thread-safe. */
MEP_API int mep_dataset_exists(const char *prefix);

/* The prefix of the dataset, without ".bin" or ".idx", and the type of the stored tokens, such as "uint16". Both
 * strings belong to the dataset. */
MEP_API const char *mep_dataset_prefix(const mep_dataset *dataset);
MEP_API const char *mep_dataset_token_type(const mep_dataset *dataset);

/* Copy `count` tokens from index `start` of the documents, which are stored end to end. Fails if the range passes the
 * end, or if a stored number is not a token id (negative, or above 2^31 - 1). */
MEP_API mep_status mep_dataset_read(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *tokens);

/* 1 if only some of the tokens are trained: PREFIX.mask has a byte for each token. */
MEP_API int mep_dataset_has_mask(const mep_dataset *dataset);

/* Like mep_dataset_read, with MEP_TARGET_NONE for each token that is not trained. */
MEP_API mep_status mep_dataset_read_targets(const mep_dataset *dataset, int64_t start, int64_t count, int32_t *targets);

/* The index of the first token of document `index`, 0 .. documents (the end); -1 for any other index. */
MEP_API int64_t mep_dataset_document_start(const mep_dataset *dataset, int64_t index);

typedef struct mep_dataset_writer mep_dataset_writer;

/* Begin PREFIX.bin, .idx and .json. They are written as temporary files (.bin.tmp, ...) and renamed by
 * mep_dataset_writer_finish, so that an interrupted run leaves existing files unchanged. Tokens are stored as in
 * Megatron: uint16 if vocab_size < 65500, otherwise int32. A tokenizer that is not built in is copied to
 * PREFIX.tokenizer.json, so that the dataset is self-contained. A final ".bin" or ".idx" of `prefix` is ignored. The
 * caller owns *writer. */
MEP_API mep_status mep_dataset_writer_create(mep_dataset_writer **writer, const char *prefix,
                                             const mep_tokenizer *tokenizer);
/* Append a document, or the end of one that mep_dataset_writer_append has begun; the end-of-document token is added if
 * `end_of_document` is not 0. A document is one sequence of the format; a document of more than 2^31 - 1 tokens becomes
 * several sequences, which readers treat as documents. Fails on a token outside the vocabulary and on more than 2^31 -
 * 1 tokens in one call (nothing is written then), and if the disk is full (the writer can then only be abandoned). */
MEP_API mep_status mep_dataset_writer_add(mep_dataset_writer *writer, const int32_t *tokens, int64_t count,
                                          int end_of_document);
/* Append tokens, 0 or more, to a document that continues. Fails like mep_dataset_writer_add, except that `count` has no
 * upper limit. */
MEP_API mep_status mep_dataset_writer_append(mep_dataset_writer *writer, const int32_t *tokens, int64_t count);
/* Append a document of which only the tokens with mask[i] = 1 are trained, and the others (0) only read. All documents
 * of a dataset have a mask, or none has. */
MEP_API mep_status mep_dataset_writer_add_masked(mep_dataset_writer *writer, const int32_t *tokens, const uint8_t *mask,
                                                 int64_t count);
/* Write the index, sync and rename. A dataset without tokens is an error. The writer is freed and *writer set to NULL
 * in either case. */
MEP_API mep_status mep_dataset_writer_finish(mep_dataset_writer **writer);
/* Remove the temporary files and free the writer. NULL is allowed. */
MEP_API void mep_dataset_writer_abandon(mep_dataset_writer **writer);

/* ---- Preparing a dataset from a corpus ---- */

typedef struct mep_prepare_settings {
    const char *const *inputs; /* files and folders, as for mep_corpus_read */
    int64_t input_count;
    const char *prefix;             /* of the dataset */
    const mep_tokenizer *tokenizer; /* used by several threads at once */
    int end_of_document;            /* add the end-of-document token after each document */
    int64_t threads;                /* that tokenize; 0: OpenMP's number. The dataset does not depend on it */
    int resume;                     /* continue an earlier call that was stopped; start if there was none */
    int skip_bad_lines;             /* skip invalid lines of JSON instead of failing */
    int keep_journal;               /* keep PREFIX.journal at the end; the caller removes it. A later call with `resume`
                                       then returns at once */
    int64_t save_bytes;             /* save the work after so many bytes of output, */
    double save_seconds;            /* or after so many seconds */
} mep_prepare_settings;

enum { MEP_SKIPPED_SIZE = 512 };

/* Progress: bytes of the input files; bytes, documents and tokens of the dataset; with skip_bad_lines the number of
 * skipped lines, and FILE:LINE and the reason of the first one ("" if there is none). */
typedef struct mep_prepare_progress {
    int64_t position, total;
    int64_t text_bytes, documents, tokens;
    int64_t skipped_lines;
    char first_skipped[MEP_SKIPPED_SIZE];
} mep_prepare_progress;

/* Called several times per second; a result other than 0 saves the work and ends the call with MEP_INTERRUPTED. */
typedef int (*mep_prepare_fn)(void *context, const mep_prepare_progress *progress);

/* End-of-document tokens, all cores, a save every 256 MiB and every 10 seconds. */
MEP_API void mep_prepare_defaults(mep_prepare_settings *settings);

/* Write the documents of a corpus, in their order, as a dataset. One thread reads, and several parse and tokenize.
 *
 * Memory grows neither with the corpus nor with a text file: about 200 MB, and three times the longest line of JSON.
 * Texts of more than 1 MiB are tokenized in slices; they are split after words, at points where this does not change
 * the tokens. If a text has no such point, or the tokenizer's pattern or added tokens may not allow splitting, a
 * document may have up to 128 MiB, as a line of JSON may, and needs a multiple of that in memory.
 *
 * The position is saved in PREFIX.journal. A call with `resume` and the same inputs continues after a stop, a failure
 * or a killed process, and ends with the same bytes. The message of a failure says that the work is kept; otherwise no
 * files remain. With `skip_bad_lines` a line that is not a JSON object with a string "text" in UTF-8 is skipped and
 * counted; damaged archives and lines that are too long still fail. Work begun with it must be resumed with it. A
 * prefix in a folder of the inputs, or in a folder below one, is refused (MEP_ERROR_ARGUMENT), as is an input without
 * any text (MEP_ERROR_FORMAT). `progress` and `result` (the last progress) may be NULL. */
MEP_API mep_status mep_prepare(const mep_prepare_settings *settings, mep_prepare_fn progress, void *context,
                               mep_prepare_progress *result);

#ifdef __cplusplus
}
#endif

#endif
