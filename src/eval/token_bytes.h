/* SPDX-License-Identifier: MIT */
/*
 * How many bytes of text each token is, for bits per byte.
 */
#ifndef MEP_EVAL_TOKEN_BYTES_H
#define MEP_EVAL_TOKEN_BYTES_H

#include "mep/data.h"

typedef struct mep_token_bytes {
    int64_t count;  /* 0: the dataset does not name its tokenizer */
    int32_t *bytes; /* [count] of each token; 0 for the end of a document */
} mep_token_bytes;

mep_status mep_token_bytes_open(mep_token_bytes *table, const mep_dataset *data);
void mep_token_bytes_close(mep_token_bytes *table);

/* The bytes of a token; 0 for a token that the tokenizer does not have. */
static inline int64_t mep_token_bytes_of(const mep_token_bytes *table, int32_t token)
{
    return token >= 0 && token < table->count ? table->bytes[token] : 0;
}

#endif
