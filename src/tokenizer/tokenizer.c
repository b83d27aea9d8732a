/* SPDX-License-Identifier: MIT */
/*
 * The public functions of all tokenizers: argument checks, and calls of the tokenizer's own operations.
 * tokenizer_open.c makes a tokenizer by its name.
 */
#include "tokenizer/tokenizer.h"

#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_bytes.h"

void mep_tokenizer_destroy(mep_tokenizer **tokenizer)
{
    if (tokenizer == NULL || *tokenizer == NULL) return;
    (*tokenizer)->ops->destroy(*tokenizer);
    *tokenizer = NULL;
}

const char *mep_tokenizer_name(const mep_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return "";
    return tokenizer->name;
}

int64_t mep_tokenizer_vocab_size(const mep_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return 0;
    return tokenizer->vocab_size;
}

int32_t mep_tokenizer_end_of_document(const mep_tokenizer *tokenizer)
{
    if (tokenizer == NULL) return -1;
    return tokenizer->end_of_document;
}

mep_status mep_tokenizer_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                                int64_t *count)
{
    MEP_REQUIRE(tokenizer, tokens, count);
    *tokens = NULL;
    *count = 0;
    if (size > 0) MEP_REQUIRE(text);
    if (size < 0) return mep_fail(MEP_ERROR_ARGUMENT, "cannot encode a text of %lld bytes", (long long)size);
    return tokenizer->ops->encode(tokenizer, text, size, 0, tokens, count);
}

mep_status mep_tokenizer_encode_rest(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                                     int64_t *count)
{
    *tokens = NULL;
    *count = 0;
    MEP_ASSERT(size >= 0);
    return tokenizer->ops->encode(tokenizer, text, size, 1, tokens, count);
}

mep_status mep_tokenizer_special_tokens(const mep_tokenizer *tokenizer, mep_special_tokens *special)
{
    MEP_REQUIRE(tokenizer, special);
    *special = (mep_special_tokens){0};
    if (tokenizer->ops->around != NULL) tokenizer->ops->around(tokenizer, special);
    return MEP_OK;
}

int64_t mep_tokenizer_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size)
{
    int64_t point = tokenizer->ops->split_point(tokenizer, text, size);
    MEP_ASSERT(point >= 0 && point <= size);
    return point;
}

void mep_tokens_free(int32_t **tokens)
{
    if (tokens != NULL) mep_free(tokens);
}

mep_status mep_tokenizer_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size)
{
    MEP_REQUIRE(tokenizer, text, size);
    *text = NULL;
    *size = 0;
    if (token < 0 || token >= tokenizer->vocab_size)
        return mep_fail(MEP_ERROR_ARGUMENT, "token %ld does not exist: the tokenizer '%s' has the tokens 0 to %lld",
                        (long)token, tokenizer->name, (long long)tokenizer->vocab_size - 1);
    return tokenizer->ops->decode(tokenizer, token, text, size);
}

mep_status mep_tokenizer_decode_text(const mep_tokenizer *tokenizer, const int32_t *tokens, int64_t count, char **text,
                                     int64_t *size)
{
    MEP_REQUIRE(tokenizer, text, size);
    *text = NULL;
    *size = 0;
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "cannot decode %lld tokens", (long long)count);
    if (count > 0) MEP_REQUIRE(tokens);
    const char *bytes = NULL;
    int64_t length = 0, total = 0, first = 0;
    for (int64_t i = 0; i < count; ++i) {
        MEP_TRY(mep_tokenizer_decode(tokenizer, tokens[i], &bytes, &length));
        total += length;
        if (i == 0) first = length;
    }
    MEP_TRY(MEP_ALLOC(text, total + 1));
    for (int64_t i = 0; i < count; ++i) {
        (void)mep_tokenizer_decode(tokenizer, tokens[i], &bytes, &length); /* succeeded above */
        memcpy(*text + *size, bytes, (size_t)length);
        *size += length;
    }
    if (tokenizer->ops->begin != NULL) tokenizer->ops->begin(tokenizer, first, *text, size);
    (*text)[*size] = '\0';
    return MEP_OK;
}

const char *mep_tokenizer_json(const mep_tokenizer *tokenizer, int64_t *size)
{
    if (tokenizer == NULL || size == NULL) return NULL;
    *size = 0;
    return tokenizer->ops->json != NULL ? tokenizer->ops->json(tokenizer, size) : NULL;
}

mep_status mep_tokenizer_to_json(const mep_tokenizer *tokenizer, char **text, int64_t *size)
{
    MEP_REQUIRE(tokenizer, text, size);
    *text = NULL;
    const char *json = mep_tokenizer_json(tokenizer, size);
    if (json == NULL) return mep_bytes_json(text, size); /* the only tokenizer without a file */
    return mep_format(text, "%.*s", (int)*size, json);
}

int mep_tokenizer_equal(const mep_tokenizer *a, const mep_tokenizer *b)
{
    if (a == NULL || b == NULL) return 0;
    int64_t a_size, b_size;
    const char *a_json = mep_tokenizer_json(a, &a_size), *b_json = mep_tokenizer_json(b, &b_size);
    if (a_json == NULL || b_json == NULL) return a_json == b_json && strcmp(a->name, b->name) == 0;
    return a_size == b_size && memcmp(a_json, b_json, (size_t)a_size) == 0;
}
