/* SPDX-License-Identifier: MIT */
/*
 * The files of a token dataset, as Megatron-LM and GPT-NeoX define them (MMapIndexedDataset, version 1), little-endian.
 *
 *     PREFIX.bin    the tokens of all sequences, end to end
 *     PREFIX.idx    9 bytes magic | u64 version 1 | u8 token type | u64 sequences | u64 entries (documents + 1)
 *                   | i32 sizes[sequences]: tokens of each sequence
 *                   | i64 pointers[sequences]: its first byte in .bin
 *                   | i64 doc_idx[entries]: first sequence of each document, then the number of sequences
 *     PREFIX.tokenizer.json    ours too: the tokenizer, unless it is built in
 *     PREFIX.json   ours alone: {"tokenizer", "vocab_size", "documents", "tokens", "checksum" (checksum.h)}
 */
#ifndef MEP_DATASET_DATASET_FORMAT_H
#define MEP_DATASET_DATASET_FORMAT_H

#include "mep/data.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the dataset files are little-endian and are mapped as they are");

/* What PREFIX.json has as "tokenizer" where PREFIX.tokenizer.json is it. */
#define MEP_TOKENIZER_COPY "tokenizer.json"

#define MEP_INDEX_MAGIC "MMIDIDX\0" /* with the zero that ends the string: 9 bytes */

enum {
    MEP_INDEX_VERSION = 1,
    MEP_INDEX_VERSION_AT = 9, /* where the fields stand */
    MEP_INDEX_TYPE_AT = 17,
    MEP_INDEX_SEQUENCES_AT = 18,
    MEP_INDEX_ENTRIES_AT = 26,
    MEP_INDEX_HEADER = 34
};

/* Codes of token types; 6 and 7 are floating point, which tokens are not. */
enum {
    MEP_TOKEN_UINT8 = 1,
    MEP_TOKEN_INT8 = 2,
    MEP_TOKEN_INT16 = 3,
    MEP_TOKEN_INT32 = 4,
    MEP_TOKEN_INT64 = 5,
    MEP_TOKEN_UINT16 = 8
};

/* Bytes a token; 0 for a code that is no integer type. */
int64_t mep_token_type_size(int type);

/* Length of `prefix` without a ".bin" or ".idx" at its end. */
int mep_dataset_prefix_length(const char *prefix);

#endif
