/* SPDX-License-Identifier: MIT */
/*
 * The files of a token dataset, as defined by Megatron-LM and GPT-NeoX (MMapIndexedDataset, version 1), little-endian.
 *
 *     PREFIX.bin    the tokens of all sequences, end to end
 *     PREFIX.idx    9 bytes magic | u64 version 1 | u8 token type | u64 sequences | u64 entries (documents + 1)
 *                   | i32 sizes[sequences]: tokens of each sequence
 *                   | i64 pointers[sequences]: offset of its first byte in .bin
 *                   | i64 doc_idx[entries]: first sequence of each document, then the number of sequences
 *
 * libmep adds three files:
 *
 *     PREFIX.tokenizer.json    the tokenizer, unless it is built in
 *     PREFIX.mask   if not every token is trained: one byte per token, 1 for a target (dataset_mask.h)
 *     PREFIX.json   {"tokenizer", "vocab_size", "documents", "tokens", "checksum" (checksum.h)}, and "mask": true if
 *                   there is a mask, which the checksum then includes
 */
#ifndef MEP_DATASET_DATASET_FORMAT_H
#define MEP_DATASET_DATASET_FORMAT_H

#include "mep/data.h"
#include "base/assertion.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the dataset files are little-endian and are mapped without conversion");

/* The value of "tokenizer" in PREFIX.json if the tokenizer is PREFIX.tokenizer.json. */
#define MEP_TOKENIZER_COPY "tokenizer.json"

#define MEP_INDEX_MAGIC "MMIDIDX\0" /* 9 bytes, including the string's terminating 0 */

enum {
    MEP_INDEX_VERSION = 1,
    MEP_INDEX_VERSION_AT = 9, /* offsets of the fields */
    MEP_INDEX_TYPE_AT = 17,
    MEP_INDEX_SEQUENCES_AT = 18,
    MEP_INDEX_ENTRIES_AT = 26,
    MEP_INDEX_HEADER = 34
};

static_assert(sizeof MEP_INDEX_MAGIC == MEP_INDEX_VERSION_AT, "the version follows the magic bytes");
static_assert(MEP_INDEX_ENTRIES_AT + sizeof(uint64_t) == MEP_INDEX_HEADER, "the header ends with the entries");

/* Codes of token types; 6 and 7 are floating point and not valid for tokens. */
enum {
    MEP_TOKEN_UINT8 = 1,
    MEP_TOKEN_INT8 = 2,
    MEP_TOKEN_INT16 = 3,
    MEP_TOKEN_INT32 = 4,
    MEP_TOKEN_INT64 = 5,
    MEP_TOKEN_UINT16 = 8
};

/* Bytes per token; 0 for a code that is not an integer type. */
int64_t mep_token_type_size(int type);

/* The length of `prefix` without a final ".bin" or ".idx". */
int mep_dataset_prefix_length(const char *prefix);

#endif
