/* SPDX-License-Identifier: MIT */
/*
 * What every tokenizer is made of: a table of operations and the sizes that all share. A tokenizer is one file
 * (tokenizer_NAME.c) whose struct begins with a mep_tokenizer, and one row of the list in tokenizer.c.
 */
#ifndef MEP_TOKENIZER_TOKENIZER_H
#define MEP_TOKENIZER_TOKENIZER_H

#include "mep/data.h"

typedef struct mep_tokenizer_ops {
    /* As mep_tokenizer_encode and mep_tokenizer_decode, with arguments already checked (0 <= token < vocab_size). */
    mep_status (*encode)(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                         int64_t *count);
    mep_status (*decode)(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size);
    /* As mep_tokenizer_split_point. */
    int64_t (*cut)(const mep_tokenizer *tokenizer, const char *text, int64_t size);
    /* As mep_tokenizer_json; NULL for a tokenizer that no tokenizer.json describes. */
    const char *(*json)(const mep_tokenizer *tokenizer, int64_t *size);
    /* Free the tokenizer with all that it holds. */
    void (*destroy)(mep_tokenizer *tokenizer);
} mep_tokenizer_ops;

struct mep_tokenizer {
    const mep_tokenizer_ops *ops;
    const char *name;
    int64_t vocab_size; /* end-of-document token included */
    int32_t end_of_document;
};

/* The last place, 1 .. size, where a text may be cut whose beginning these bytes are: the tokens of the two parts are
 * those of the whole, whatever follows. `text` may itself begin at such a place. 0 where there is none to be seen.
 * Thread-safe. */
int64_t mep_tokenizer_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size);

#endif
