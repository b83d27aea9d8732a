/* SPDX-License-Identifier: MIT */
/*
 * The base of every tokenizer: a table of operations and the fields that all tokenizers share. A tokenizer is one file
 * (tokenizer_NAME.c) whose struct begins with a mep_tokenizer, and one row of the list in tokenizer_open.c.
 */
#ifndef MEP_TOKENIZER_TOKENIZER_H
#define MEP_TOKENIZER_TOKENIZER_H

#include "mep/data.h"

typedef struct mep_tokenizer_ops {
    /* Same contracts as mep_tokenizer_encode, mep_tokenizer_encode_rest and mep_tokenizer_decode; the arguments are
     * checked already (0 <= token < vocab_size). */
    mep_status (*encode)(const mep_tokenizer *tokenizer, const char *text, int64_t size, int is_rest, int32_t **tokens,
                         int64_t *count);
    mep_status (*decode)(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size);
    /* Remove what does not belong to a decoded text from its start: *size bytes of which `first` are the first token's.
     * NULL: nothing. */
    void (*begin)(const mep_tokenizer *tokenizer, int64_t first, char *text, int64_t *size);
    /* The tokens before and after a text, which belong to the tokenizer. NULL: there are none. */
    void (*around)(const mep_tokenizer *tokenizer, mep_special_tokens *special);
    /* Same contract as mep_tokenizer_split_point. */
    int64_t (*split_point)(const mep_tokenizer *tokenizer, const char *text, int64_t size);
    /* Same contract as mep_tokenizer_json; NULL for a tokenizer without a tokenizer.json. */
    const char *(*json)(const mep_tokenizer *tokenizer, int64_t *size);
    /* Free the tokenizer and everything it owns. */
    void (*destroy)(mep_tokenizer *tokenizer);
} mep_tokenizer_ops;

struct mep_tokenizer {
    const mep_tokenizer_ops *ops;
    const char *name;
    int64_t vocab_size; /* including the end-of-document token */
    int32_t end_of_document;
};

/* mep_tokenizer_encode of a text that continues another one, after a split point or after other tokens: it gets no
 * prefix, such as the blank that Llama 2's tokenizer puts before a text. */
mep_status mep_tokenizer_encode_rest(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                                     int64_t *count);

/* The last split point of a text that begins with these bytes: an offset in 1 .. size at which the text may be split,
 * because the tokens of the two halves, the second one encoded with mep_tokenizer_encode_rest, are those of the
 * complete text, whatever follows. `text` may itself begin at a split point. 0 if no split point is found. Thread-safe.
 */
int64_t mep_tokenizer_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size);

#endif
